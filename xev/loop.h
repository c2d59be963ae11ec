/* The event loop: one per thread, complete in itself.
 *
 * A loop is initialised by any thread, and belongs to nobody until it is run. From its first run on
 * it belongs to the thread that runs it: calls with "Loop's thread" in their comments are made on
 * that thread. When that thread has ended, another may look after what is left and deinitialise the
 * loop. Builds of the library without NDEBUG look at each such call, and one from another thread
 * ends the program with a line that names the call and both threads. Operations are begun,
 * cancelled and closed on the loop's thread only; xev_loop_stop and xev_async_notify reach it from
 * any other.
 *
 * fork: the child's copy of a loop shares the kernel's side with the parent's, which goes on as if
 * nothing had happened. In the child xev_loop_run answers XEV_EFORKED, submitting ends the program,
 * xev_loop_stop and xev_async_notify do nothing, and xev_loop_deinit (in a callback too) gives
 * memory and descriptors back: completions are dead then, without a callback. A child made in a
 * callback must not return from it (it would go on with its parent's events): it ends by exec or
 * _exit, and may run a loop of its own until then; returning ends the program. A loop made in the
 * child is the child's own. (A child made by vfork or clone is not told apart.)
 */
#ifndef XEV_LOOP_H
#define XEV_LOOP_H

#include <stdio.h>

#include "xev/completion.h"
#include "xev/error.h"

typedef enum {
    XEV_RUN_NO_WAIT = 0,    /* one turn that does not block; reaps what is ready */
    XEV_RUN_ONCE = 1,       /* turns until at least one callback has run */
    XEV_RUN_UNTIL_DONE = 2, /* turns until nothing referenced is active, or stopped */
} xev_run_mode_t;

typedef enum {
    XEV_BACKEND_AUTO = 0, /* the environment's XEV_BACKEND, or else the platform's best */
    XEV_BACKEND_IO_URING = 1,
    XEV_BACKEND_EPOLL = 2,
} xev_backend_kind;

/* Kinds of operations, as counted by xev_loop_metrics, with room for more. */
#define XEV_OPS 32

/* Features of a backend that can be switched off one by one, by xev_loop_options.disable or by the
 * environment: XEV_DISABLE=defer_taskrun,multishot_recv (names as here, lower case). */
enum xev_feature {
    XEV_FEATURE_DEFER_TASKRUN = 1u << 0,   /* with SINGLE_ISSUER */
    XEV_FEATURE_SUBMIT_ALL = 1u << 1,      /* one bad request does not stop the batch */
    XEV_FEATURE_REGISTERED_RING = 1u << 2, /* ring descriptor registered */
    XEV_FEATURE_MULTISHOT_ACCEPT = 1u << 3,
    XEV_FEATURE_MULTISHOT_RECV = 1u << 4,
    XEV_FEATURE_BUFFER_RING = 1u << 5, /* kernel picks the loaned buffer */
    XEV_FEATURE_ALL = (1u << 6) - 1,
};

/* Where a loop's own memory comes from: its tables, rings and loaned buffers, taken by init and as
 * they grow to the peak of what is in use, given back by deinit (what it knows of descriptors, also
 * a while after they are closed); no operation takes any. Called by
 * the thread that calls init or deinit, and by the loop's. */
typedef struct xev_allocator {
    /* bytes (> 0) at a multiple of alignment (a power of two up to 4096), or NULL: the loop then
     * reports XEV_ENOMEM, or does with what it has. */
    void *(*allocate)(size_t bytes, size_t alignment, void *userdata);
    void (*release)(void *memory, size_t bytes, void *userdata); /* as allocated; not NULL */
    void *userdata;
} xev_allocator;

/* All zero means all defaults. */
typedef struct xev_loop_options {
    xev_backend_kind backend;
    uint32_t disable;      /* XEV_FEATURE_* not to use */
    uint32_t entries;      /* submissions per kernel entry; power of two, 1 to 4096; 256 */
    uint32_t cq_entries;   /* completion queue; power of two, >= entries; 8 x entries */
    uint32_t buffer_bytes; /* size of a loaned buffer, 64 to 1 MiB; 32 KiB */
    uint32_t buffers;      /* loaned buffers offered at a time; power of two, 1 to 32768; 64 */
    uint32_t buffers_max;  /* loaned buffers in existence at most, to 32768; 2048 */
    uint64_t spin_ns;      /* look for work this long before sleeping; 0: sleep at once */
    bool time_callbacks;   /* keep longest_callback_ns: two clock reads per callback */
    xev_threadpool *thread_pool; /* for blocking work; borrowed until deinit; NULL: none */
    xev_allocator allocator;     /* both functions or neither: malloc and free */
} xev_loop_options;

/* What a loop has done since it was made. */
typedef struct xev_loop_metrics {
    uint64_t turns;
    uint64_t callbacks;     /* the caller's */
    uint64_t events;        /* results that came from the kernel */
    uint64_t submissions;   /* operations begun, repeats by XEV_REARM included */
    uint64_t syscalls;      /* on the I/O path: waiting, registering, trying */
    uint64_t sleeps;        /* waits that could block */
    uint64_t wakes;         /* system calls other threads made to end one: at most one per sleep */
    uint64_t buffers_taken; /* now: by xev_buf_take, and not released */
    uint64_t starved;       /* times an operation had to wait for a loaned buffer */
    uint64_t paused;        /* times one waited a little: no descriptors, memory or room */
    uint64_t asleep_ns, awake_ns; /* awake: in xev_loop_run and not asleep */
    uint64_t longest_turn_ns;     /* between two looks at the kernel: all callbacks of a turn */
    uint64_t longest_callback_ns; /* 0 without the option time_callbacks */
    struct {
        const char *name; /* "recv"; "" where there is none */
        uint64_t count;   /* submissions */
    } ops[XEV_OPS];
} xev_loop_metrics;

typedef enum {
    XEV_HOOK_BEFORE_POLL = 0, /* before the loop looks for events */
    XEV_HOOK_AFTER_POLL = 1,  /* when the turn's callbacks have run */
    XEV_HOOK_FLUSH = 2,       /* last thing before the loop waits, after all BEFORE_POLL hooks */
} xev_hook_when;

#define XEV_HOOK_TIMES 3

/* A callback of the loop itself, in caller-owned memory, run on every turn. */
typedef struct xev_hook {
    void (*callback)(xev_loop *loop, struct xev_hook *hook);
    struct xev_hook *next, *prev;
} xev_hook;

/* Timers and deadlines, as they stand in core/timers.c. */
#define XEV__FOREST_RANKS 32
struct xev__timers {
    xev_completion *first; /* of the forest; NULL: none, or not known */
    xev_completion *nursery;
    uint64_t nursery_from_ns; /* no deadline in the nursery is before it */
    uint32_t nursery_len;
    struct xev__forest {
        uint32_t used; /* a bit per rank that has a heap */
        xev_completion *roots[XEV__FOREST_RANKS];
    } forest;
};

struct xev__list {
    xev_completion *head, *tail;
};

/* What was found out about a file, for its next operations; see watchers/file.c. Stands at its
 * descriptor's number, modulo how many there are. */
#define XEV__FILE_HINTS 32
struct xev__file_hint {
    xev_fd fd;
    uint8_t left;          /* how often it may still be asked; 0: it means nothing */
    uint8_t misses;        /* reads in a row whose data was not in memory */
    uint8_t skip;          /* as many reads go to a thread without a try */
    bool can_read : 1;     /* tries of reads are worth it */
    bool can_write : 1;    /* ... and of writes */
    bool writes_wait : 1;  /* tries of writes have shown that they are not */
    bool writes_known : 1; /* a try has succeeded, and the file system was asked */
};

/* All fields are private, but for userdata, which is the caller's and starts as NULL. */
struct xev_loop {
    void *userdata;
    const struct xev_backend_ops *ops;
    void *backend; /* the backend's own state */
    uint64_t now_ns;
    struct xev__timers timers;
    uint32_t timer_seq;
    uint32_t active;     /* completions not dead */
    uint32_t referenced; /* of these, the ones that keep the loop going */
    uint32_t internal;   /* ... and the loop's own */
    bool running, deinit;
    uint64_t write_signals_thread; /* where SIGPIPE and SIGXFSZ are blocked, 0: no need yet */
    /* Finished, callback not yet run; and those of them whose turn it is. */
    struct xev__list pending, delivering;
    struct xev__list tries; /* file operations that are tried without waiting first */
    struct xev__file_hint file_hints[XEV__FILE_HINTS];
    /* What is active: see actives.c. */
    const void **actives;
    uint32_t actives_len, actives_free, actives_missing;
    uint32_t loops_place;  /* in the process's table of loops */
    xev_completion *works; /* on the thread pool and without a deadline */
    xev_watcher *asyncs;   /* watchers bound to this loop */
    struct xev__fds *fds;
    struct xev__buffers *buffers;
    xev_mpsc *inbox; /* from other threads: notified asyncs, finished work */
    /* Of other threads; apart from what the loop writes at every callback. */
    uint8_t apart_before[64];
    uint32_t stop;      /* atomic */
    uint32_t notifiers; /* atomic: threads in the middle of waking us */
    uint64_t wakes;     /* atomic */
    uint8_t apart_behind[64];
    struct {
        uint64_t turns, callbacks, events, syscalls, sleeps, asleep_ns, awake_ns;
        uint64_t longest_turn_ns, longest_callback_ns;
        uint64_t buffers_taken, starved, paused;
        uint64_t ops[XEV_OPS];
    } count;                    /* atomic for readers, one writer */
    uint64_t sleeping_since_ns; /* 0: awake */
    uint64_t awake_since_ns;
    uint64_t looked_ns;             /* when the kernel was asked last; 0: not in this run */
    uintptr_t last_call;            /* atomic: the callback that was called last */
    xev_hook hooks[XEV_HOOK_TIMES]; /* list heads, by xev_hook_when */
    xev_hook *next_hook;            /* to call in this turn; a hook may remove any */
    bool waited_for;                /* the inbox is parked: a host waits in our stead */
    bool hosted;                    /* ... or has done so */
    uint32_t forks;             /* how often the process had been forked when the loop was made */
    uint64_t thread;            /* that runs the loop, 0: none yet */
    uint64_t thread_number;     /* the system's, of the same */
    struct xev__starts *starts; /* debug builds: where operations were started; may be NULL */
    const char *failed_call;    /* see xev_loop_failed_call; set by the backend */
    uint64_t failing_since_ns;  /* when the first of failing_tries polls failed */
    uint32_t failing_tries;     /* polls in a row that failed; 0: the last one worked */
    xev_completion retry;       /* timer for what exhaustion of descriptors has paused */
    xev_loop_options options;
    char fallback[160];
};

XEV_BEGIN_DECLS

/* Initialise with the defaults. 0, or a negative code: XEV_ENOMEM, XEV_EMFILE, XEV_EINVAL (bad
 * option or environment value), or why a backend that was asked for by name cannot be had:
 * XEV_EPERM, XEV_ENOSYS, XEV_ENOLOCKMEM (io_uring: `ulimit -l` is too low), ... Where none was
 * asked for, one that cannot be had, for whatever reason, is passed over; the code is that of the
 * last. On failure nothing needs deinit. */
XEV_NODISCARD int xev_loop_init(xev_loop *loop);
XEV_NODISCARD int xev_loop_init_options(xev_loop *loop, const xev_loop_options *options);

/* Stop everything: each active completion gets its callback with XEV_ECANCELED (or its real result
 * where one had arrived), from inside this call; what these callbacks submit is cancelled as well,
 * but a close is carried out. So a callback that submits again whenever it is cancelled keeps this
 * call from ending. Descriptors the loop was not told to close stay open, for xev_tcp_close_now and
 * its like. Waits for work running on the pool. By the thread that ran the loop, or by another once
 * that thread has ended; not from a callback. */
void xev_loop_deinit(xev_loop *loop);

/* Run. Returns at once where nothing referenced is active. 0, or XEV_EFORKED in a forked
 * child, XEV_EBUSY for a nested run, XEV_EINVAL (mode), or the code of a kernel wait that failed
 * for good; xev_loop_failed_call names the system call then. A wait that failed for want of memory
 * (XEV_ENOMEM, XEV_ENOBUFS, XEV_EAGAIN, XEV_EBUSY) is tried again for a second, at once and then
 * after 1, 2, 4 ms and so on, while timers and other threads' work are served; one that was
 * interrupted (XEV_EINTR) for ever. The calling thread is the loop's from now on. */
int xev_loop_run(xev_loop *loop, xev_run_mode_t mode);

/* The system call whose failure the last run reported ("io_uring_enter", "epoll_pwait2"), or NULL:
 * it reported none. Static storage. Loop's thread. */
const char *xev_loop_failed_call(const xev_loop *loop);

/* End the run in progress after the callbacks of its current turn, or the next run before its
 * first. The loop can be run again afterwards. Any thread; wakes a sleeping loop. */
void xev_loop_stop(xev_loop *loop);

/* Monotonic time as of the last turn or update, in ms and ns; above 0. Loop's thread. */
int64_t xev_loop_now(xev_loop *loop);
uint64_t xev_loop_now_ns(xev_loop *loop);
void xev_loop_update_now(xev_loop *loop);

/* Whether something referenced is active, that is, whether XEV_RUN_UNTIL_DONE would go on. Loop's
 * thread. */
bool xev_loop_alive(const xev_loop *loop);

/* Number of completions that are not dead. Loop's thread. */
uint32_t xev_loop_active(const xev_loop *loop);

/* Always counted. Any thread, until deinit begins, and the one that deinitialised it afterwards,
 * while the loop's memory is there; the counters are read one by one. */
void xev_loop_metrics_get(const xev_loop *loop, xev_loop_metrics *out);

/* "io_uring" or "epoll"; static storage. Any thread, until deinit. */
const char *xev_loop_backend(const xev_loop *loop);

/* The XEV_FEATURE_* in use. Any thread, until deinit. */
uint32_t xev_loop_features(const xev_loop *loop);

/* Why the preferred backend is not in use ("io_uring: io_uring_setup: operation not permitted
 * ..."), though none was asked for by name; or NULL. Valid until deinit. */
const char *xev_loop_fallback_reason(const xev_loop *loop);

/* Call hook->callback on every turn, in order of adding. The hook does not keep the loop going; it
 * may submit operations, and add and remove hooks. The caller owns it, at one address until it is
 * removed; adding it twice, or removing one that is not there, is misuse. Loop's thread.
 *
 * FLUSH hooks hand on what callbacks and other hooks have gathered. They run in reverse order of
 * adding: a lower layer adds its hook first, so it runs after the layers that write to it. A
 * shard's mailbox is flushed by such a hook, the first one of its loop. */
void xev_loop_hook_add(xev_loop *loop, xev_hook_when when, xev_hook *hook);
void xev_loop_hook_remove(xev_loop *loop, xev_hook *hook);

/* ---- inside a host's own poll loop ----
 *
 * A host (a GUI, a language runtime, another event library) drives the loop from its thread:
 *
 *     once              fd = xev_loop_backend_fd(loop);
 *     before it waits   ns = xev_loop_prepare_wait_ns(loop);
 *     its wait          fd for reading, with the rest; at most ns
 *     after it          xev_loop_run(loop, XEV_RUN_NO_WAIT);
 *
 * What happens between a run and the next xev_loop_prepare_wait_ns (an operation submitted by the
 * host, say) is noticed by that call, so it comes before every wait. The wait may end with EINTR,
 * as any may. Hooks are called by the run, and not before the host's wait. Spinning and the times
 * of sleep in the metrics are of the loop's own waits only.
 */

/* A descriptor that is readable (level-triggered) when a run has something to do: to be polled
 * only, and not before xev_loop_prepare_wait_ns. It is the loop's and stays the same until deinit.
 * Or a code: XEV_EMFILE, XEV_ENFILE, XEV_ENOMEM, XEV_EFORKED. Loop's thread. */
xev_fd xev_loop_backend_fd(xev_loop *loop);

/* Hand what was submitted to the kernel and have other threads wake the descriptor. Returns how
 * many ns the host may wait: 0 is not at all, UINT64_MAX without limit. Loop's thread, outside a
 * run. */
uint64_t xev_loop_prepare_wait_ns(xev_loop *loop);

/* ---- what keeps this loop going? ---- */

typedef struct xev_active {
    xev_completion *completion;
    const char *op;    /* as in xev_loop_metrics: "recv" */
    const char *state; /* "in the kernel", "on the thread pool", ... */
    xev_fd fd;         /* XEV_INVALID_FD: on none */
    bool referenced;
    uint64_t due_ns; /* a timer, or an operation with a deadline: from now; UINT64_MAX: neither */
    /* Debug builds of the library (no NDEBUG), else NULL: the call that started it
     * ("xev_tcp_recv"), and the address of code it returned to. */
    const char *call;
    const void *from;
} xev_active;

typedef void (*xev_walk_cb)(const xev_active *active, void *userdata);

/* Call back for each completion that is not dead, in no order; it may read but not submit, cancel
 * or close anything. Loop's thread, from callbacks too. */
void xev_loop_walk(const xev_loop *loop, void *userdata, xev_walk_cb cb);

/* The same as text, a line each; debug builds say where it was started as FILE+OFFSET, which is
 * what `addr2line -fie FILE OFFSET` takes. */
void xev_loop_print_active(const xev_loop *loop, FILE *to);

XEV_END_DECLS

#endif
