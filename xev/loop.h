/* The event loop: one per thread, complete in itself.
 *
 *     xev_loop loop;
 *     int rc = xev_loop_init(&loop);
 *     if (rc < 0) return rc;
 *     (submit operations)
 *     rc = xev_loop_run(&loop, XEV_RUN_UNTIL_DONE);
 *     xev_loop_deinit(&loop);
 *
 * Threads. Any thread may initialise a loop. The loop belongs to no thread until it is run; from
 * its first run on it belongs to the thread that runs it. Calls with "Loop's thread" in their
 * comments are made on that thread; so operations are begun, cancelled and closed there only.
 * xev_loop_stop and xev_async_notify reach the loop from any thread. When the loop's thread has
 * ended, another thread may look after what is left, and deinitialise the loop. In builds of the
 * library without NDEBUG a call from a wrong thread ends the program, with a line that names the
 * call and both threads.
 *
 * fork. The child's copy of a loop shares the kernel's side with the parent, which goes on as if
 * nothing had happened. In the child xev_loop_run returns XEV_EFORKED, submitting ends the program,
 * and xev_loop_stop and xev_async_notify do nothing. xev_loop_deinit, also in a callback, gives
 * memory and descriptors back; completions are then dead, without a callback. A child that was
 * forked in a callback must not return from it, because it would go on with its parent's events:
 * returning ends the program. It ends by exec or _exit, and may run a loop of its own until then. A
 * loop that the child makes is its own. Children of vfork and clone are not noticed.
 */
#ifndef XEV_LOOP_H
#define XEV_LOOP_H

#include <stdio.h>

#include "xev/completion.h"
#include "xev/error.h"
#include "xev/histogram.h"

typedef enum {
    XEV_RUN_NO_WAIT = 0,    /* one turn, which does not block: handles what is ready */
    XEV_RUN_ONCE = 1,       /* turns until at least one callback has run */
    XEV_RUN_UNTIL_DONE = 2, /* turns until nothing referenced is active, or stopped */
} xev_run_mode_t;

typedef enum {
    /* as the environment's XEV_BACKEND says, else the best of the platform */
    XEV_BACKEND_AUTO = 0,
    XEV_BACKEND_IO_URING = 1,
    XEV_BACKEND_EPOLL = 2,
    XEV_BACKEND_KQUEUE = 3, /* this and the next ones: of other systems */
    XEV_BACKEND_IOCP = 4,
    XEV_BACKEND_WASI_POLL = 5,
    XEV_BACKEND_LAST = XEV_BACKEND_WASI_POLL,
} xev_backend_kind;

/* Kinds of operations, as counted by xev_loop_metrics; with room for more. */
#define XEV_OPS 32

/* Features of io_uring that can be switched off one by one: by xev_loop_options.disable, or by the
 * environment, as in XEV_DISABLE=defer_taskrun,multishot_recv (the names below in lower case).
 * docs/backends.md says what each one does. */
enum xev_feature {
    XEV_FEATURE_DEFER_TASKRUN = 1u << 0,   /* with SINGLE_ISSUER */
    XEV_FEATURE_SUBMIT_ALL = 1u << 1,      /* one bad request does not end the batch */
    XEV_FEATURE_REGISTERED_RING = 1u << 2, /* the ring's descriptor is looked up once */
    XEV_FEATURE_MULTISHOT_ACCEPT = 1u << 3,
    XEV_FEATURE_MULTISHOT_RECV = 1u << 4,
    XEV_FEATURE_BUFFER_RING = 1u << 5, /* the kernel picks the loaned buffer */
    XEV_FEATURE_ALL = (1u << 6) - 1,
};

/* Where a loop's own memory comes from: its tables, rings and loaned buffers. They are taken by
 * init, and later as the loop grows to the peak of what is in use. What a peak has left is given
 * back some seconds after it was last needed, the rest by deinit. No operation takes memory for
 * itself. Both functions are called by the thread that calls init or deinit, and by the loop's.
 */
typedef struct xev_allocator {
    /* Returns bytes (> 0) of memory at a multiple of alignment, a power of two up to 4096; or NULL:
     * the loop then reports XEV_ENOMEM, or goes on with the memory that it has. */
    void *(*allocate)(size_t bytes, size_t alignment, void *userdata);
    /* not NULL; bytes as allocated */
    void (*release)(void *memory, size_t bytes, void *userdata);
    void *userdata;
} xev_allocator;

/* All zero means all defaults. */
typedef struct xev_loop_options {
    xev_backend_kind backend;
    uint32_t disable; /* XEV_FEATURE_* that are not used */
    uint32_t entries; /* submissions per system call; power of two, 1 to 4096; default 256 */
    /* completion queue; power of two, from entries on; default 8 x entries */
    uint32_t cq_entries;
    uint32_t buffer_bytes; /* size of a loaned buffer, 64 to 1 MiB; default 32 KiB */
    /* loaned buffers that the kernel has at a time, at most; power of two, 1 to 32768; default 256.
     * It has 64 until many connections are answered in one turn, and then keeps what it got. */
    uint32_t buffers;
    uint32_t buffers_max; /* loaned buffers that exist at most, to 32768; default 2048 */
    /* how long the loop looks for work before it sleeps; 0: it sleeps at once */
    uint64_t spin_ns;
    bool time_callbacks; /* measure longest_callback_ns: two clock reads per callback */
    /* In ns: how long each turn was awake, between two polls of the kernel; and each callback,
     * which implies time_callbacks. The caller's until deinit, and no other loop's; NULL: none. */
    xev_histogram *turn_times, *callback_times;
    xev_threadpool *thread_pool; /* the caller's until deinit; NULL: none */
    xev_allocator allocator;     /* both functions, or neither: malloc and free */
} xev_loop_options;

/* What a loop has done since it was initialised. Counters never fall, except buffers_taken. */
typedef struct xev_loop_metrics {
    uint64_t turns;
    uint64_t callbacks;     /* the caller's */
    uint64_t events;        /* results that came from the kernel */
    uint64_t submissions;   /* operations begun; repeats by XEV_REARM count, too */
    uint64_t syscalls;      /* of the I/O path: those that wait, register and try */
    uint64_t sleeps;        /* waits that were allowed to block */
    uint64_t wakes;         /* system calls of other threads that ended a sleep: at most one each */
    uint64_t buffers_taken; /* buffers that the program holds now, by xev_buf_take */
    uint64_t starved;       /* how often an operation had to wait for a loaned buffer */
    uint64_t paused;        /* how often one was paused for lack of descriptors, memory or room */
    uint64_t asleep_ns, awake_ns; /* awake: inside xev_loop_run, and not asleep */
    uint64_t longest_turn_ns;     /* between two polls of the kernel: all callbacks of a turn */
    uint64_t longest_callback_ns; /* 0 without the option time_callbacks */
    struct {
        const char *name; /* "recv", ...; "" for a kind that does not exist */
        uint64_t count;   /* submissions */
    } ops[XEV_OPS];
} xev_loop_metrics;

typedef enum {
    XEV_HOOK_BEFORE_POLL = 0, /* before the loop polls the kernel */
    XEV_HOOK_AFTER_POLL = 1,  /* after the callbacks of the turn */
    XEV_HOOK_FLUSH = 2,       /* after all BEFORE_POLL hooks, last of all before the loop waits */
} xev_hook_when;

#define XEV_HOOK_TIMES 3

/* A function that the loop calls on every turn. The memory is the caller's. */
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

/* What gives back memory that a peak has left; see core/chunks.h. */
enum xev__trim {
    XEV__TRIM_DONE,  /* until xev__trim_soon is called again */
    XEV__TRIM_LATER, /* call again when this is a second ago */
    XEV__TRIM_MORE,  /* call again soon: the next piece */
};

struct xev__trimmer {
    struct xev__trimmer *next;
    uint64_t due_ns; /* 0: nothing is due */
    enum xev__trim (*trim)(xev_loop *loop, struct xev__trimmer *t);
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

/* All fields are private except userdata, which is the caller's, and NULL at first. */
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
    struct xev__list tries;   /* file operations that are tried without waiting first */
    struct xev__list to_pool; /* what the turn gives to the thread pool when it is over */
    uint32_t to_pool_len;
    struct xev__file_hint file_hints[XEV__FILE_HINTS];
    /* What is active: see actives.c. */
    uint32_t **actives;
    uint32_t actives_len, actives_free, actives_missing, actives_used;
    uint32_t actives_made; /* places from here on were never free */
    uint32_t actives_peak; /* of actives_used at the beginning of a turn, lately */
    uint32_t actives_low;  /* below so many the table may be too large */
    struct xev__trimmer actives_trimmer;
    uint32_t loops_place;  /* in the process's table of loops */
    xev_completion *works; /* on the thread pool and without a deadline */
    xev_watcher *asyncs;   /* watchers bound to this loop */
    struct xev__fds *fds;
    struct xev__buffers *buffers;
    void *loan;      /* the data that the running callback has received; NULL: none */
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
    uint64_t sleeping_since_ns; /* 0: awake; atomic for readers */
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
    struct xev__trimmer *trimmers; /* what may give memory back: chunks.h */
    xev_completion trim;           /* their timer */
    xev_loop_options options;
    char fallback[160];
};

XEV_BEGIN_DECLS

/* Initialise a loop, with the defaults or with options. 0, or XEV_ENOMEM, XEV_EMFILE, XEV_EINVAL (a
 * bad option or value of the environment: xev_err_why says it), or the reason why a backend that
 * was asked for by name cannot be had: XEV_EPERM, XEV_ENOSYS, XEV_ENOLOCKMEM (io_uring: `ulimit -l`
 * is too low), ... If no backend was asked for by name, one that cannot be had is passed over,
 * whatever the reason, and a code is that of the last one. After an error there is nothing to
 * deinitialise. Any thread. */
XEV_NODISCARD int xev_loop_init(xev_loop *loop);
XEV_NODISCARD int xev_loop_init_options(xev_loop *loop, const xev_loop_options *options);

/* End the loop. Each active completion gets its callback from inside this call, with XEV_ECANCELED,
 * or with its real result if one had arrived. What these callbacks submit is cancelled, too, except
 * that a close is carried out; so a callback that submits again whenever it is cancelled keeps this
 * call from ending. Descriptors that the loop was not told to close stay open, for
 * xev_tcp_close_now and the like. Waits for work that runs on the pool. By the thread that ran the
 * loop, or by another once that thread has ended; not from a callback of the loop. */
void xev_loop_deinit(xev_loop *loop);

/* Run the loop; the calling thread is the loop's from now on. Returns at once if nothing referenced
 * is active. 0, or XEV_EBUSY (the loop is running: a nested run), XEV_EFORKED (in a forked child),
 * XEV_EINVAL (mode), or the code of a kernel wait that has failed for good; xev_loop_failed_call
 * then names the system call. A wait that fails for want of memory (XEV_ENOMEM, XEV_ENOBUFS,
 * XEV_EAGAIN, XEV_EBUSY) is tried again for 1 s, at once and then after 1, 2, 4 ms and so on;
 * timers and the work of other threads are served meanwhile. A wait that was interrupted
 * (XEV_EINTR) is always tried again. */
int xev_loop_run(xev_loop *loop, xev_run_mode_t mode);

/* The system call whose failure ended the last run ("io_uring_enter", "epoll_pwait2"); NULL: none
 * did. Static storage. Loop's thread. */
const char *xev_loop_failed_call(const xev_loop *loop);

/* End the run in progress after the callbacks of its current turn; without one, end the next run
 * before its first. The loop can be run again afterwards. Wakes a sleeping loop. Any thread. */
void xev_loop_stop(xev_loop *loop);

/* Monotonic time (CLOCK_MONOTONIC) of the last turn or update; xev_loop_now in ms, xev_loop_now_ns
 * in ns; above 0. update_now reads the clock. Loop's thread. */
int64_t xev_loop_now(xev_loop *loop);
uint64_t xev_loop_now_ns(xev_loop *loop);
void xev_loop_update_now(xev_loop *loop);

/* Whether something referenced is active, and so XEV_RUN_UNTIL_DONE would go on. Loop's thread. */
bool xev_loop_alive(const xev_loop *loop);

/* How many completions are active. Loop's thread. */
uint32_t xev_loop_active(const xev_loop *loop);

/* Read the counters, one by one: they need not be of one moment. They are always kept. Any thread
 * until deinit begins; the thread that deinitialised the loop afterwards, too, while the memory of
 * the loop is there. */
void xev_loop_metrics_get(const xev_loop *loop, xev_loop_metrics *out);

/* The backend: "io_uring", "epoll", "kqueue", "iocp" or "wasi_poll". Static storage. Any thread,
 * until deinit. */
const char *xev_loop_backend(const xev_loop *loop);

/* The XEV_FEATURE_* that are in use. Any thread, until deinit. */
uint32_t xev_loop_features(const xev_loop *loop);

/* Why the preferred backend is not in use, though no other was asked for by name, such as
 * "io_uring: io_uring_setup: operation not permitted ..."; NULL: it is in use, or was not
 * preferred. Valid until deinit. Any thread, until deinit. */
const char *xev_loop_fallback_reason(const xev_loop *loop);

/* The thread pool of its options; a shard's loop has that of the runtime. NULL: it has none. It is
 * what xev_threadpool_stats takes. Any thread, until deinit. */
xev_threadpool *xev_loop_thread_pool(const xev_loop *loop);

/* Call hook->callback on every turn; hooks of one time are called in the order of adding. A hook
 * does not keep the loop going. It may submit operations, and add and remove hooks. The caller owns
 * it and keeps it at one address until it is removed. Adding a hook twice, or removing one that was
 * not added, is misuse. Loop's thread.
 *
 * FLUSH hooks pass on what callbacks and other hooks have gathered. They run in the reverse order
 * of adding: a lower layer adds its hook first, so it runs after the layers that write to it. The
 * mailbox of a shard is flushed by such a hook, the first one of its loop. */
void xev_loop_hook_add(xev_loop *loop, xev_hook_when when, xev_hook *hook);
void xev_loop_hook_remove(xev_loop *loop, xev_hook *hook);

/* ---- inside the poll loop of a host ----
 *
 * A host (a GUI, the runtime of a language, another event library) drives the loop from its thread:
 *
 *     once              fd = xev_loop_backend_fd(loop);
 *     before it waits   ns = xev_loop_prepare_wait_ns(loop);
 *     its wait          fd for reading, with the rest; at most ns
 *     after it          xev_loop_run(loop, XEV_RUN_NO_WAIT);
 *
 * xev_loop_prepare_wait_ns comes before every wait: it notices what happened since the last run,
 * such as an operation that the host submitted. The wait may end with EINTR, as any may. Hooks are
 * called by the run, and FLUSH hooks also by xev_loop_prepare_wait_ns. Spinning and the times of
 * sleep in the metrics concern only the loop's own waits. */

/* A descriptor that is readable (level-triggered) when a run has something to do. It is only to be
 * polled, and not before xev_loop_prepare_wait_ns. It belongs to the loop, and is the same until
 * deinit. Or a code: XEV_EMFILE, XEV_ENFILE, XEV_ENOMEM, XEV_EFORKED. Loop's thread. */
xev_fd xev_loop_backend_fd(xev_loop *loop);

/* Submit to the kernel what is queued, and have other threads wake the descriptor from now on.
 * Returns for how many ns the host may wait: 0: not at all; UINT64_MAX: without limit. Loop's
 * thread, outside a run (else misuse). */
uint64_t xev_loop_prepare_wait_ns(xev_loop *loop);

/* ---- what keeps this loop going? ---- */

typedef struct xev_active {
    xev_completion *completion;
    const char *op;    /* as in xev_loop_metrics: "recv", ... */
    const char *state; /* "in the kernel", "on the thread pool", ... */
    xev_fd fd;         /* XEV_INVALID_FD: it has none */
    bool referenced;
    uint64_t due_ns; /* time left, of a timer or a time-out; UINT64_MAX: it has neither */
    /* In builds of the library without NDEBUG, else NULL: the call that started the operation
     * ("xev_tcp_recv"), and the address of code that this call returned to. */
    const char *call;
    const void *from;
} xev_active;

typedef void (*xev_walk_cb)(const xev_active *active, void *userdata);

/* Call back for each active completion, in no order. The callback may read; it must not submit,
 * cancel or close. Loop's thread, also from callbacks. */
void xev_loop_walk(const xev_loop *loop, void *userdata, xev_walk_cb cb);

/* Write the same as text, a line each. In builds of the library without NDEBUG a line also says
 * where the operation was started, as FILE+OFFSET, for `addr2line -fie FILE OFFSET`. Loop's thread.
 */
void xev_loop_print_active(const xev_loop *loop, FILE *to);

XEV_END_DECLS

#endif
