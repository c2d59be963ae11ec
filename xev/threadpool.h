/* threadpool.h: threads for blocking work, owned by the caller, shared by any number of loops.
 *
 * Model. Tasks wait in lanes, one FIFO per kind of work, and at most `max_threads` threads run
 * them. A free thread takes the oldest task of the next lane, in turn, that has a task and runs
 * fewer than its cap. So a lane full of slow work takes its cap of threads and no more, and no
 * lane waits behind another's queue. A thread is started when there is a task that may run and no
 * idle thread to run it; threads are kept until deinit. Idle threads sleep on a condition
 * variable. Nothing is allocated after xev_threadpool_init except what starting a thread takes.
 *
 * The names, argument orders and usage of libxev's C API are kept; its programs compile unchanged
 * and use one lane, XEV_LANE_CPU. Lanes, cancel and counters are additions.
 *
 * On a system without threads (WASI) the thread that schedules tasks runs them, before the call
 * returns; those that a task schedules run after it. Caps and max_threads mean nothing there.
 *
 * Invariants. A task is queued if and only if its `prev` is not NULL. Once a task's callback was
 * entered the pool does not touch the task any more. Callbacks run with no lock held.
 *
 * Errors are negative errno values, equal to the XEV_E* codes on Unix. Misuse (a null pointer, but
 * for xev_threadpool_init's cfg; a pool that is deinitialised, but for xev_threadpool_deinit; what
 * is "checked" below) ends the program with one line on stderr that names the call.
 */
#ifndef XEV_THREADPOOL_H
#define XEV_THREADPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define XEV_THREADPOOL_ALIGNED alignas(8)
#else
#define XEV_THREADPOOL_ALIGNED _Alignas(8)
#endif

/* Most threads a pool can be configured to have. */
#define XEV_THREADPOOL_MAX_THREADS 1024u

/* What the work does, as far as it matters to who may keep whom waiting. */
typedef enum xev_threadpool_lane {
    XEV_LANE_CPU = 0, /* computation; libxev's xev_threadpool_schedule */
    XEV_LANE_FS,      /* file reads, writes, metadata */
    XEV_LANE_FSYNC,   /* flushes to storage: tens of milliseconds each */
    XEV_LANE_DNS,     /* name resolution: seconds when a server is down */
    XEV_LANE_PROCESS, /* spawning and waiting for processes */
    XEV_LANE_COUNT
} xev_threadpool_lane;

typedef struct xev_threadpool_task xev_threadpool_task;

/* A task's work. Runs once per scheduling, on a pool thread. t is the scheduled task, by then the
 * callback's own: it may free it, initialise and schedule it again, or put other data over it.
 * May call everything here except xev_threadpool_deinit on its own pool. Signals are blocked
 * (see xev_threadpool_init). */
typedef void (*xev_task_cb)(xev_threadpool_task *t);

/* One piece of work: three words, embedded in the caller's object; fields private. It must stay at
 * its address from the push into a batch until its callback is entered or cancel returned true.
 * Aligned to 8 bytes on every machine: while it is queued the low bits of `prev` name its lane. */
struct xev_threadpool_task {
    XEV_THREADPOOL_ALIGNED xev_threadpool_task *next;
    xev_threadpool_task *prev;
    xev_task_cb cb;
};

/* Tasks to be scheduled together, in the order pushed; fields private. Belongs to one thread. */
typedef struct xev_threadpool_batch {
    xev_threadpool_task *head;
    xev_threadpool_task *tail;
    size_t len;
} xev_threadpool_batch;

/* Fields private; xev_threadpool_config_init, then the setters. */
typedef struct xev_threadpool_config {
    uint32_t stack_size;
    uint32_t max_threads;
    uint32_t lane_cap[XEV_LANE_COUNT];
} xev_threadpool_config;

/* A pool; fields private. It may be moved only while no other thread uses it. */
typedef struct xev_threadpool {
    void *impl;
} xev_threadpool;

/* Counters of one lane. */
typedef struct xev_threadpool_lane_counters {
    uint64_t queued;      /* tasks waiting now */
    uint64_t finished;    /* tasks whose callback has returned */
    uint64_t cancelled;   /* tasks that xev_threadpool_cancel removed */
    uint64_t peak_queued; /* the most that waited at once */
    /* Waits, from the scheduling to the start. The first task of each batch is measured; where more
     * than 32 batches wait, some of them. */
    uint64_t waits;        /* tasks that were measured */
    uint64_t wait_ns;      /* the sum of their waits */
    uint64_t wait_max_ns;  /* the longest one */
    uint64_t oldest_ns;    /* how long the oldest one has waited that has not started; 0: none */
    uint32_t running;      /* tasks whose callback is running now */
    uint32_t peak_running; /* the most that ran at once */
    uint32_t cap;          /* the cap in force, 1..max_threads */
} xev_threadpool_lane_counters;

/* Counters of a pool: the sums over its lanes, its threads, and each lane. */
typedef struct xev_threadpool_counters {
    uint64_t queued;
    uint64_t finished;
    uint64_t cancelled;
    uint32_t running;
    uint32_t threads;     /* started so far */
    uint32_t idle;        /* of them, asleep with no wake under way */
    uint32_t max_threads; /* the limit in force */
    xev_threadpool_lane_counters lane[XEV_LANE_COUNT];
} xev_threadpool_counters;

/* --- configuration: any one thread, before init; cannot fail --- */

/* Sets every field to its default. cfg: caller's, first call on it. */
void xev_threadpool_config_init(xev_threadpool_config *cfg);

/* Stack of each thread in bytes, rounded up to whole pages and to the system's minimum.
 * 0, the default: the system's default for threads (on Linux the stack rlimit, usually 8 MiB). */
void xev_threadpool_config_set_stack_size(xev_threadpool_config *cfg, uint32_t v);

/* Most threads that exist at once, 1..XEV_THREADPOOL_MAX_THREADS (more is refused by init).
 * 0, the default: let n = the CPUs available to this process (its affinity, limited by the quota
 * of its cgroup), at least 4 because the work blocks; n + 1 threads, of which XEV_LANE_CPU uses at
 * most n (unless given a cap of its own), so that computing never keeps all files and names
 * waiting. */
void xev_threadpool_config_set_max_threads(xev_threadpool_config *cfg, uint32_t v);

/* Most tasks of `lane` that run at once. lane: < XEV_LANE_COUNT (checked). max_running: >= 1;
 * 0: no cap of its own; above max_threads is the same as 0. Not called, with N = max threads:
 *     FS       N - max(1, N/4)      (3 of 4, 6 of 8)
 *     FSYNC    N / 2
 *     DNS      N / 2
 *     PROCESS  N / 4                each at least 1
 *     CPU      no cap, but with default max_threads see there
 * So with N >= 2 no single kind of blocking work takes all threads. With an explicit max_threads
 * the CPU lane may, as in libxev: a program that sets it and uses other lanes caps CPU too. */
void xev_threadpool_config_set_lane_cap(xev_threadpool_config *cfg, xev_threadpool_lane lane,
                                        uint32_t max_running);

/* --- pool --- */

/* Makes a pool, without any thread yet. pool: caller's, uninitialised or deinitialised; other
 * threads may use it after this returned. cfg: read only during the call; NULL: all defaults.
 * Every thread the pool will start has all signals blocked but those a fault in itself raises
 * (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS), so that crash handlers still work, and may
 * run on the CPUs that this caller may, even where the thread that schedules is bound to one.
 * Returns 0; -EINVAL: max_threads too large or a stack size the system refuses; -ENOMEM, -EAGAIN:
 * out of memory or of some other resource. After an error *pool needs no deinit. */
int xev_threadpool_init(xev_threadpool *pool, xev_threadpool_config *cfg);

/* Shuts down, waits until every task queued before has run, joins all threads, frees everything.
 * One thread, once, not from a task of the pool (checked), while no other thread is about to call
 * into the pool; a schedule or cancel call that has done its work but not yet returned (its task
 * told this thread to go ahead) is fine. On a pool already deinitialised it does nothing. */
void xev_threadpool_deinit(xev_threadpool *pool);

/* Refuses new tasks from now on; those queued still run. Does not wait. Any thread, any number of
 * times, also from a task. */
void xev_threadpool_shutdown(xev_threadpool *pool);

/* xev_threadpool_schedule_lane with XEV_LANE_CPU. (libxev returns void; the result may be
 * ignored when the pool is known not to be shutting down and to have started a thread.) */
int xev_threadpool_schedule(xev_threadpool *pool, xev_threadpool_batch *batch);

/* Queues all tasks of `batch` at the end of `lane` and sees to it that they will run. Any thread,
 * also from a task. Tasks of one lane start in the order queued. It may start one thread, and
 * wakes at most as many as there are tasks that may run now.
 * batch: the caller's; empty afterwards and ready for reuse if 0 is returned, else untouched.
 * Its tasks: see xev_threadpool_task. lane: < XEV_LANE_COUNT (checked).
 * Returns 0, all taken (also for an empty batch); -ECANCELED: shut down, nothing taken; -EAGAIN:
 * the pool has no thread and the system gives it none, nothing taken. If it has threads but cannot
 * get another, the tasks run on those it has, and a later call tries again.
 * Order: what the caller wrote before happens before the callbacks. */
int xev_threadpool_schedule_lane(xev_threadpool *pool, xev_threadpool_batch *batch,
                                 xev_threadpool_lane lane);

/* Takes a task back. Any thread, also from a task; constant time whatever the queue's length.
 * task: initialised, and its memory still the caller's to vouch for; scheduled on no other pool.
 * Returns true: it was queued; it is removed, its callback will not run, it is the caller's again.
 * False: its callback runs, has run, or it was never scheduled (a batch does not count), or
 * cancelled before. False does not wait for a running callback. */
bool xev_threadpool_cancel(xev_threadpool *pool, xev_threadpool_task *task);

/* Copies the counters, all of one moment. Any thread, also from a task; constant time. */
void xev_threadpool_stats(xev_threadpool *pool, xev_threadpool_counters *out);

/* --- tasks and batches: the owner's thread; cannot fail --- */

/* Makes t a task that runs cb. t must not be queued or in a batch. */
void xev_threadpool_task_init(xev_threadpool_task *t, xev_task_cb cb);

/* Makes b empty; tasks that were in it are forgotten, not freed. */
void xev_threadpool_batch_init(xev_threadpool_batch *b);

/* Appends t, which must be initialised and in no batch or queue (queued is checked). A task that
 * ran or was cancelled can be pushed again without another init, unless its memory was changed. */
void xev_threadpool_batch_push_task(xev_threadpool_batch *b, xev_threadpool_task *t);

/* Moves all tasks of `other` to the end of b and leaves `other` empty. other != b (checked). */
void xev_threadpool_batch_push_batch(xev_threadpool_batch *b, xev_threadpool_batch *other);

#ifdef __cplusplus
}
#endif

#endif /* XEV_THREADPOOL_H */
