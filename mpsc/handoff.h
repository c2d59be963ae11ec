/* handoff.h: the one place that tells ThreadSanitizer about hand-offs it cannot see.
 *
 * Memory passes between threads here in ways ThreadSanitizer does not observe: through Concurrency
 * Kit's atomics (inline assembly) and through the kernel (an io_uring submission and its
 * completion). The hand-off itself is ordered by fences or by the kernel; only the tool must be
 * told. The giving thread says XEV_HANDOFF_RELEASE(addr) before it gives the object away, the
 * receiving thread says XEV_HANDOFF_ACQUIRE(addr) after it got it and before it touches it, both
 * with the same address, best that of the object itself. The pair orders everything the giver did
 * before against everything the receiver does after.
 *
 * These are notes to a tool, not synchronisation: without ThreadSanitizer they expand to nothing
 * and evaluate nothing, so never put one where a fence is missing.
 *
 * Between XEV_RACY_READS_BEGIN and _END the tool overlooks reads: a system call that looks at what
 * another thread may be changing at that moment, and whose caller expects either answer.
 *
 * XEV_HANDOFF_ENABLED is 1 in a ThreadSanitizer build, else 0, for code that has to visit several
 * objects to annotate them. C only, for .c files and private headers.
 */
#ifndef XEV_MPSC_HANDOFF_H
#define XEV_MPSC_HANDOFF_H

/* gcc defines __SANITIZE_THREAD__, clang answers __has_feature(thread_sanitizer). */
#if defined(__SANITIZE_THREAD__)
#define XEV_HANDOFF_ENABLED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define XEV_HANDOFF_ENABLED 1
#endif
#endif

#ifndef XEV_HANDOFF_ENABLED
#define XEV_HANDOFF_ENABLED 0
#endif

#if XEV_HANDOFF_ENABLED
/* As in <sanitizer/tsan_interface.h>, which not every compiler package brings along. */
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define XEV_HANDOFF_RELEASE(addr) __tsan_release((void *)(addr))
#define XEV_HANDOFF_ACQUIRE(addr) __tsan_acquire((void *)(addr))
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
#define XEV_RACY_READS_BEGIN() AnnotateIgnoreReadsBegin(__FILE__, __LINE__)
#define XEV_RACY_READS_END() AnnotateIgnoreReadsEnd(__FILE__, __LINE__)
#else
#define XEV_HANDOFF_RELEASE(addr) ((void)sizeof(addr))
#define XEV_HANDOFF_ACQUIRE(addr) ((void)sizeof(addr))
#define XEV_RACY_READS_BEGIN() ((void)0)
#define XEV_RACY_READS_END() ((void)0)
#endif

#endif /* XEV_MPSC_HANDOFF_H */
