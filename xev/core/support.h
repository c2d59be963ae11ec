/* Internal: what the core does for the libraries above it, besides the public interface. */
#ifndef XEV_CORE_SUPPORT_H
#define XEV_CORE_SUPPORT_H

#include <stddef.h>

#include "xev/core/chunks.h"
#include "xev/loop.h"
#include "xev/os/thread.h"
#include "xev/signal.h"

/* ---- signals (watchers/signal.c) ---- */

/* Which dispositions a catcher replaces; where it does not, the signal is left as it is. Other
 * catchers of the same number are none: it is caught already, and they share it. */
enum xev__catch_when {
    XEV__CATCH_ALWAYS,
    XEV__CATCH_UNLESS_IGNORED,
    XEV__CATCH_IF_DEFAULT,
};

/* From now on c->caught runs in the signal's handler, on any thread. It may do what a handler may.
 * c->caught is set by the caller; c stays at one address until xev__uncatch. 0 or a code, as of
 * xev_signal_init; then, and where the disposition was left alone, c->catching is false. */
int xev__catch(xev__catcher *c, int signal_number, enum xev__catch_when when);

/* No longer; where it is not caught, nothing. When it returns no handler is in c any more. */
void xev__uncatch(xev__catcher *c);

/* ---- the callback that a loop is in ---- */

/* A function pointer, as a number. */
#define XEV__CODE(function) ((uintptr_t)(function))

/* Note what is about to be called on the loop's thread, for other threads to see. */
static inline void xev__note_call(xev_loop *loop, uintptr_t code) {
    __atomic_store_n(&loop->last_call, code, __ATOMIC_RELAXED);
}

/* The function that was called last, and that may still be running; 0: none yet; xev_loop_run or
 * xev_loop_deinit: no callback, the loop itself is at work. Any thread. */
static inline uintptr_t xev__last_call(const xev_loop *loop) {
    return __atomic_load_n(&loop->last_call, __ATOMIC_RELAXED);
}

/* Whether it waits for the kernel at this moment. Any thread. */
static inline bool xev__loop_sleeps(const xev_loop *loop) {
    return __atomic_load_n(&loop->sleeping_since_ns, __ATOMIC_RELAXED) != 0;
}

/* Some wake of a loop has been refused by the system in this process (core/loop.c). Who waits for a
 * loop to react repeats its call now and then. */
bool xev__wakes_refused(void);

/* ---- completions without a time ---- */

/* So much of a completion is used by an operation on a descriptor that is neither a close nor a
 * sendfile, and never gets a time-out. The memory behind it may be anything else's. */
#define XEV__COMPLETION_UNTIMED offsetof(xev_completion, deadline_ns)

/* ---- loans ---- */

/* As xev_buf_data, in the callback of a loaning receive with a result above 0. */
static inline const void *xev__loan(const xev_loop *loop) { return loop->loan; }

/* ---- joint sends (joint.c) ---- */

/* A send of one piece over a stream socket, on which nothing else is being sent. It goes out
 * together with others of the same turn. sent is called once, with the number of bytes that the
 * socket took, or a code: before the next events are delivered, or inside xev__settle. It may start
 * operations, and runs no handler. */
struct xev__joint_send {
    void *owner;
    void (*sent)(const struct xev__joint_send *send, int result);
    const void *data; /* stays as it is until sent was called */
    uint32_t len_bytes;
    xev_fd fd;
};

/* Whether the loop has joint sends. */
bool xev__joins(const xev_loop *loop);
/* Where it has. loaned: data is in the loan of the callback that is running, which is kept
 * meanwhile. False: it is better sent now. */
bool xev__send_joint(xev_loop *loop, const struct xev__joint_send *send, bool loaned);
/* Have the joint send of an owner, or all (NULL), carried out now; where the loop has any. */
void xev__settle(xev_loop *loop, const void *owner);
/* Whether data is in the loan of the callback that is running. */
bool xev__is_loaned(const xev_loop *loop, const void *data);

/* ---- errors (error.c) ---- */

/* XEV_EINVAL, of which xev_err_why says why (static storage); and of what, where value is not NULL,
 * which is copied. */
int xev__refuse(const char *why, const char *value);

/* ---- memory (memory.c) ---- */
void *xev__alloc(const xev_allocator *a, size_t bytes, size_t alignment);
/* So many bytes and more are whole pages where the program gives no allocator. */
#define XEV__PAGES_FROM_BYTES (32u * 1024)
void *xev__alloc_zeroed(const xev_allocator *a, size_t bytes, size_t alignment);
/* A larger array, what is added being zero, aligned for any type. On NULL old is as it was. */
void *xev__grow(const xev_allocator *a, void *old, size_t old_bytes, size_t bytes);
/* The lengths of a table that grows are powers of two, without those with which it would take more
 * than a page of the heap: whole pages take memory only where they are written to. Returns the
 * first such length from a power of two on. */
static inline uint32_t xev__table_len(uint32_t from, size_t item_bytes) {
    size_t bytes = from * item_bytes;
    return bytes > 4096 && bytes < XEV__PAGES_FROM_BYTES
               ? (uint32_t)(XEV__PAGES_FROM_BYTES / item_bytes)
               : from;
}
/* The length before len. */
static inline uint32_t xev__table_len_before(uint32_t len, size_t item_bytes) {
    return len * item_bytes == XEV__PAGES_FROM_BYTES ? (uint32_t)(4096 / item_bytes) : len / 2;
}
void xev__free(const xev_allocator *a, void *memory, size_t bytes); /* NULL: nothing */
/* Memory of the system's heap with an alignment, for what belongs to no loop; free does not take
 * it. */
void *xev__heap(size_t bytes, size_t alignment);
void xev__heap_free(void *memory);

/* ---- memory in blocks (blocks.c) ---- */

#define XEV__BLOCK_CLASSES 27
#define XEV__BLOCK_SMALL 9 /* the first classes, up to 16 KiB: their blocks stand in chunks */
#define XEV__BLOCK_MIN 64u

/* All zero but for the loop, whose allocator is used: empty. For the loop's thread. It stays at its
 * address until the loop has ended. */
struct xev__blocks {
    xev_loop *loop;
    struct xev__chunks small[XEV__BLOCK_SMALL];
    struct xev__block *kept[XEV__BLOCK_CLASSES]; /* large free blocks, by class */
    uint64_t kept_bytes, fewest_kept;            /* fewest: since the trimmer was called last */
    uint64_t large_bytes;                        /* of large blocks, kept ones included */
    struct xev__trimmer trimmer;                 /* of large ones */
};

/* At least bytes; *block_bytes is what it has, to be told to put. NULL: no memory. */
void *xev__blocks_get(struct xev__blocks *b, size_t bytes, uint32_t *block_bytes);
void xev__blocks_put(struct xev__blocks *b, void *block, uint32_t block_bytes);
/* What is taken from the allocator. */
uint64_t xev__blocks_bytes(const struct xev__blocks *b);
/* Give all memory of small blocks and of free ones back. Large blocks that are in use stay. */
void xev__blocks_free(struct xev__blocks *b);

/* What a block for bytes has. */
static inline uint32_t xev__block_size(size_t bytes) {
    uint32_t size = XEV__BLOCK_MIN;
    while (size < bytes) {
        size *= 2;
    }
    return size;
}

/* ---- the loop (loop.c, core.c) ---- */

/* The loop belongs to the calling thread, or to none yet, or to one that has ended. Else the
 * program ends, with a line that names the call and both threads. Only without NDEBUG. */
#if defined(NDEBUG)
static inline void xev__check_thread(const char *call, const xev_loop *loop) {
    (void)call;
    (void)loop;
}
#else
void xev__check_other_thread(const char *call, const xev_loop *loop);
static inline void xev__check_thread(const char *call, const xev_loop *loop) {
    if (loop->thread != 0 && loop->thread != xev__os_thread_id()) {
        xev__check_other_thread(call, loop);
    }
}
#endif

/* SIGPIPE and SIGXFSZ stay out of the thread that is now the loop's, for writes that cannot ask for
 * that. */
void xev__block_write_signals(xev_loop *loop);

/* Whether this is a child of the process that made the loop, also when the loop has ended. */
static inline bool xev__forked(const xev_loop *loop) { return loop->forks != xev__os_forks; }

/* Something is to be done in the next turn that is no operation: a run goes on for it. As often
 * unhold as hold. */
void xev__hold(xev_loop *loop);
void xev__unhold(xev_loop *loop);

/* As xev_tcp_close, but the descriptor stays open: the loop has let go of it when c is reported,
 * and it may be given to another loop, or to nobody. */
void xev__release(xev_loop *loop, xev_completion *c, xev_fd fd, void *userdata, xev_cb cb);

#endif
