/* The sharded runtime: one complete loop per thread, one thread per core, nothing shared on the
 * hot path.
 *
 * A program is a set of callbacks that run once per shard, on the shard's thread:
 *
 *     init    0 .. N-1, one after the other: listen, allocate. A negative code ends the start.
 *             (all shards serve)
 *     drain   when a stop is asked for. Begin to finish what is there, take on nothing new. The
 *             shard's listeners let no client connect any more. Clients that are connected and wait
 *             for an accept are still handed over, a bounded number in each turn; where descriptors
 *             are short, when some come free. Then the listeners close.
 *     stop    N-1 .. 0, when no shard has referenced operations or messages left, or the drain's
 *             deadline has passed. Mailboxes are open: the last word to other shards. Nobody waits
 *             for an operation that is submitted here: it is cancelled if it is not done when the
 *             loop ends. What must be written (the last lines of a log) is written in the drain,
 *             which waits for it, or here by a call that blocks.
 *             (N-1 .. 0: the shard handles every message it was sent, and its loop ends)
 *     deinit  N-1 .. 0, after all loops are gone and all callbacks have run: free.
 *
 * Messages are memory of the sender's, and go through a lock-free queue per shard. The messages
 * that one turn of a loop sends to one shard go there together, at the end of the turn. A shard
 * that is awake is not woken; one that sleeps is woken once. Init callbacks may send to any shard:
 * the message waits until all shards serve. Where the start fails, messages are delivered to the
 * shards whose init callback was called, also if it failed, and never to the others.
 *
 * Requests are messages that come back with a result. Asks (xev/ask.h) are requests that need no
 * memory of the caller's: they have a copied argument and an answer, a deadline, wait by themselves
 * where a mailbox is full, and can go to all shards at once.
 *
 * Signals, while a runtime runs:
 *
 *     SIGINT, SIGTERM  Each counts as a call of xev_runtime_stop, but those that come within 100 ms
 *                      are one: timeout(1), for instance, signals its child and then its group. A
 *                      SIGINT that is ignored at the start stays ignored: shells start what runs in
 *                      the background like that.
 *     SIGHUP           Calls options.hangup on every shard, to reload say; where that is NULL it
 *                      starts the drain, and never cuts one short: a SIGTERM or SIGINT that
 *                      follows is the first, and only a second one cuts. A SIGHUP that is ignored
 *                      at the start, as by nohup, stays ignored if hangup is NULL.
 *     SIGPIPE          Ends nothing: writing to a pipe or a stderr that nobody reads is EPIPE. A
 *                      handler or SIG_IGN of the program's stays.
 *
 * The options no_sighup, no_sigpipe and no_signals leave one or all of them alone. A signal reaches
 * every runtime of the process and the program's own watchers (xev/signal.h), whichever thread the
 * kernel chooses for it. The earlier dispositions are put aside, and come back at the end. Programs
 * that are executed meanwhile start with the default; forked children have the earlier
 * dispositions. The thread in xev_runtime_run does not block the first three signals meanwhile. The
 * runtime does not touch the masks of other threads.
 *
 * fork: the child has none of the shards, whichever thread forked, and may run a runtime of its
 * own. It must not come back from a callback of its parent's (misuse), but end by exec or _exit.
 *
 * Misuse ends the program, as in completion.h: a null pointer where the call does not say what NULL
 * means (userdata and arg excepted), or a runtime that does not run. In builds of the library
 * without NDEBUG a call from the wrong thread does so too: a call with "Shard's thread" in its
 * comment, or one on a shard's loop or on what belongs to that loop. The line on stderr names both
 * threads. The threads of shards are called "xev-shard-0" and so on, also for debuggers and top.
 */
#ifndef XEV_SHARD_H
#define XEV_SHARD_H

#include "xev/xev.h"

typedef struct xev_runtime xev_runtime;
typedef struct xev_shard xev_shard;
typedef struct xev_message xev_message;
typedef struct xev_request xev_request;
typedef struct xev_listener xev_listener;
typedef struct xev_sender xev_sender;

#define XEV_SHARDS_MAX 1024u
#define XEV_ASK_BYTES_MAX (256u << 20)

typedef void (*xev_shard_fn)(xev_shard *shard, void *userdata);

/* What options.stuck is told about a stuck shard: one that does not come to its end because a
 * callback blocks or never returns. */
typedef struct xev_stuck {
    uint32_t shard;
    uint64_t since_stop_ms; /* how long ago the end was asked for */
    const char *doing;      /* "in a callback of its loop", "in its stop callback"; static */
    /* The callback it entered last, of its loop or the runtime's; or NULL. xev_loop_run,
     * xev_loop_deinit: no callback, but the loop itself is at work, in a system call say. */
    void (*code)(void);
    /* Until the callback returns: */
    const char *place; /* of code, as for addr2line: "server+0x12ab"; "" where code is NULL */
    const char
        *activity; /* its thread's: "running", "in system call 1 (0x2, ...)"; "": not known */
} xev_stuck;

/* All zero means all defaults. */
typedef struct xev_runtime_options {
    uint32_t shards; /* 1 to XEV_SHARDS_MAX; 0: xev_cpu_count(), or cpus_len */
    bool no_pin;     /* bind no shard to a CPU, unless cpus says to which; see xev_runtime_run */
    /* Bind shard i to the CPU number cpus[i % cpus_len], instead of what xev_runtime_run chooses;
     * copied. cpus_len 0: it chooses. A CPU that a shard is to have, and that does not exist, is
     * offline, or is none of the process's cgroup (cpuset), ends the start: XEV_EINVAL, of "cpus",
     * with the CPU as the object. The affinity that the process was started with is no limit. Where
     * the system binds no threads at all (macOS, a BSD, a seccomp rule) they are bound to none: see
     * xev_shard_cpu. */
    const uint32_t *cpus;
    uint32_t cpus_len;
    /* One shard, which runs on the thread in xev_runtime_run. The runtime starts no thread; the
     * pool does, when it is first used. shards is 0 or 1. For a server of one core, or of a process
     * per core: the system calls of a process with one thread cost less, 2 to 5 % of a small echo.
     * Nobody looks after the shard meanwhile, so that slow_ms and stuck are 0 (else XEV_EINVAL),
     * and a callback that never returns keeps the process until a third signal. The thread is bound
     * to a CPU only where cpus says so, and stays bound. */
    bool alone;
    bool no_signals;   /* leave all signals alone; call xev_runtime_stop */
    bool no_sighup;    /* leave SIGHUP alone */
    bool no_sigpipe;   /* leave SIGPIPE alone */
    uint32_t drain_ms; /* drain's deadline; 0: 10 000 */
    uint32_t stuck_ms; /* see xev_runtime_stop; 0: 10 000; UINT32_MAX: never */
    /* How long a listen in an init callback tries again, at intervals of 1 to 32 ms, where the
     * address is in use: the kernel may hold the port of a killed process for some time (4 to 73 ms
     * with io_uring on Linux 6.18). 0: 500; UINT32_MAX: not at all. A stop ends it. */
    uint32_t listen_retry_ms;
    uint32_t mailbox; /* messages a shard holds before it refuses more; 0: 65 536 */
    uint32_t urgent;  /* the same of urgent messages; 0: 256 */
    uint32_t asks;    /* of a shard (ask.h), under way at the same time; 0: 65 536 */
    /* Memory of answers that are longer than what an ask has room for (some 64 bytes), from the
     * answer until the asking shard's done callback has returned. What would be more is answered
     * with XEV_ENOMEM, but for a single one. Of each answering shard; 0: all shards together have
     * an eighth of xev_memory_limit. */
    uint64_t answers_max_bytes;
    uint32_t ask_bytes; /* of one argument or answer, to XEV_ASK_BYTES_MAX; 0: 1 MiB */
    /* While the shards serve, tell of each turn of a loop that has been awake for so long, once, by
     * a line in the log of the kind "slow" (xev/log.h; 10 in 10 s): the shard, how long, whether it
     * is one callback, and the callback that was called last, or that none is running: the loop
     * itself is at work, in a system call say. 0: no. It costs shards nothing: the thread in
     * xev_runtime_run looks at them four times in that time. A turn counts as long also where the
     * machine gives its thread no time. */
    uint32_t slow_ms;
    /* A signal by which the thread of a slow shard tells its stack for that line: one that nobody
     * else uses or blocks, such as SIGRTMIN + 5. A call of the callback's that blocks may end with
     * EINTR because of it. 0: no stack. */
    int slow_signal;
    /* Measure one in so many messages that a shard sends to shards: see xev_shard_delays_get. Each
     * one costs two looks at the clock; the others a count. 0: none, at no cost. */
    uint32_t sample_messages;
    /* Of the shared thread pool; 0: the pool's default (threadpool.h). Computation (XEV_LANE_CPU)
     * takes all but one of them; or the only one. */
    uint32_t pool_threads;
    /* Most tasks of a lane of it that run at once: {[XEV_LANE_FSYNC] = 2}. 0: the lane's default,
     * see xev_threadpool_config_set_lane_cap. To pool_threads, or XEV_THREADPOOL_MAX_THREADS where
     * that is 0; as many as there are threads is no limit of its own. */
    uint32_t pool_lane_caps[XEV_LANE_COUNT];
    uint64_t key_seed; /* of xev_shard_of_key; secret and random where peers choose keys */
    /* Of each shard. thread_pool, turn_times and callback_times are set by the runtime: turns are
     * measured always, callbacks with time_callbacks. */
    xev_loop_options loop;
    /* Call deinit on a shard whose init callback failed, too: a program of several parts frees
     * there what the first of them had made. Otherwise it is not called on that shard. */
    bool deinit_failed;
    int (*init)(xev_shard *shard, void *userdata); /* a negative code ends the start */
    xev_shard_fn drain, stop, deinit;              /* each may be NULL */
    /* After SIGHUP or xev_runtime_reload, while the shard serves; several may be one call; or NULL.
     */
    xev_shard_fn hangup;
    /* Called when a shard is stuck, on the thread in xev_runtime_run. True: wait for the shard, and
     * call again after stuck_ms. False: the process ends by abort(). NULL: a line for each stuck
     * shard goes to stderr, and the process ends by abort(). */
    bool (*stuck)(const xev_stuck *stuck, void *userdata);
    void *userdata;
} xev_runtime_options;

/* A message, in the sender's memory, which is the runtime's from the sending call until the
 * handler is called, and the handler's from then on. Fields private. */
typedef void (*xev_message_fn)(xev_shard *self, xev_message *message, void *arg);

struct xev_message {
    xev_mpsc_node node;
    xev_message_fn handler;
    void *arg;
};

/* A request, in the memory of the shard that asks; the runtime's until the reply callback. */
typedef void (*xev_request_fn)(xev_shard *self, xev_request *request, void *arg);
typedef void (*xev_reply_fn)(xev_shard *self, xev_request *request, int result, void *arg);

struct xev_request {
    xev_message message;
    xev_shard *from, *to;
    xev_request_fn handler;
    xev_reply_fn reply;
    void *arg;
    int result;
};

/* result: the descriptor of a connection, which belongs to the callback from now on, with
 * TCP_NODELAY set; or the code of an accept that failed: XEV_EMFILE and the like, those that
 * xev_tcp_accept_multi names for refusals, XEV_EINVAL (the socket was shut down), ... A failure
 * that lasts is reported once; the accept is tried again at intervals of 10 ms to 1.3 s, and the
 * next report comes when it works again, fails otherwise or was resumed. Where the drain ends
 * before all clients of the backlog were served, the callback is told why: the code of the accept
 * that failed last, or that by which the shard's loop broke, or XEV_ETIMEDOUT. Their number is in
 * xev_listener_status. */
typedef void (*xev_listener_fn)(xev_listener *listener, int result, void *userdata);

/* Caller-owned until the shard's deinit callback or, where its init callback failed after
 * listening, until xev_runtime_run returns. Fields private. */
struct xev_listener {
    xev_shard *shard;
    xev_tcp tcp;
    xev_completion accept, cancel;
    xev_completion retry;  /* after an error that has ended the accept */
    xev_completion ending; /* the waits of the drain, then the close */
    uint64_t accepted, unserved;
    xev_addr addr;
    int error; /* the last report's, 0: a connection */
    uint32_t retry_ms;
    bool draining, paused, ended;
    bool is_tcp, shared;
    xev_listener_fn callback;
    void *userdata;
    xev_listener *next;
};

typedef enum {
    XEV_LISTENER_ACCEPTING,
    XEV_LISTENER_PAUSED,
    XEV_LISTENER_FAILING,  /* no connection since its last error; it is tried again */
    XEV_LISTENER_DRAINING, /* no client connects any more; those that wait are still accepted */
    XEV_LISTENER_CLOSED,
} xev_listener_state;

typedef struct xev_listener_status {
    xev_listener_state state;
    int error;         /* the code that its callback was called with last; 0: with a connection */
    uint32_t waiting;  /* connections that wait for an accept now; Unix: 1 stands for any number */
    uint64_t accepted; /* connections handed over */
    uint64_t unserved; /* connections that waited when it closed, and were reset; as waiting */
} xev_listener_status;

typedef struct xev_shard_counters {
    uint64_t accepted;      /* connections, by all listeners of the shard */
    uint64_t messages_sent; /* requests and replies included */
    uint64_t messages_received;
    uint64_t messages_refused; /* sends that got XEV_EAGAIN, and asks that found no room */
    uint32_t asks_now;         /* places of options.asks that are taken now */
    uint64_t asks;             /* taken by xev_shard_ask */
    uint64_t asks_waited;      /* of these, those that waited for room */
    uint64_t asks_timed_out;   /* of these, those that were not answered in time */
    uint64_t asks_cancelled;   /* of these, those that xev_ask_cancel has ended */
    uint64_t slow;             /* turns that lasted for slow_ms */
    uint64_t sleeps;           /* times the loop went to sleep */
    uint64_t wakes;            /* times another thread had to wake it */
} xev_shard_counters;

/* What a shard measures in ns: see xev_shard_times. */
typedef enum xev_shard_time {
    XEV_SHARD_TURNS = 0, /* turns of its loop, while awake */
    XEV_SHARD_CALLBACKS, /* callbacks of its loop, with the option loop.time_callbacks */
    XEV_SHARD_DELAYS,    /* messages to it, as xev_shard_delays_get, of all shards */
    XEV_SHARD_TIMES,
} xev_shard_time;

/* How long messages of one shard to another took. */
typedef struct xev_shard_delays {
    uint64_t samples; /* messages that were measured */
    uint64_t sum_ns, max_ns;
} xev_shard_delays;

#define XEV_NO_SHARD UINT32_MAX

typedef struct xev_runtime_failure {
    int code;         /* what xev_runtime_run returned; 0: nothing failed, see below */
    uint32_t shard;   /* that failed; XEV_NO_SHARD: none, or it was before there were any */
    const char *call; /* "io_uring_enter", "epoll_pwait2", "pthread_create", "xev_loop_init", "init"
                         (the callback), "options", "cpus", ..., or what xev_shard_fail was given;
                         static storage */
    char part[32];    /* what of the program failed, "" where nobody said so by xev_shard_fail */
    /* And at which address, file or CPU; of "options": which one is wrong; of "xev_loop_init": what
     * the backend lacks. */
    char object[128];
    /* What is wrong, in words, where xev_strerror(code) would leave that open: "the process was
     * started with no sockets"; else "". Never NULL, static storage. */
    const char *why;
} xev_runtime_failure;

XEV_BEGIN_DECLS

/* CPUs this process may use: its affinity, limited by its cgroup's quota (rounded down). >= 1. */
uint32_t xev_cpu_count(void);

/* The CPUs that this process may use, in the order in which shards get them (see xev_runtime_run):
 * the first max of them, in order (NULL with max 0). Returns how many there are, to XEV_SHARDS_MAX;
 * 0: the system does not tell. */
uint32_t xev_cpu_order(uint32_t *order, uint32_t max);

/* Bytes of memory that this process may have: the least of the machine's memory, the limits of its
 * cgroups (memory.max), and RLIMIT_AS and RLIMIT_DATA. UINT64_MAX: the system does not tell. */
uint64_t xev_memory_limit(void);

/* Run the shards; returns when all have ended. 0: stopped in order. XEV_ETIMEDOUT: the drain's
 * deadline passed and what was left was cancelled, or what a stop callback asked has no answer yet.
 * XEV_EINTR: the same by a second stop: SIGTERM, SIGINT or xev_runtime_stop. XEV_EINVAL: an option
 * out of its range (mailbox and urgent: below 2^30), or of the loop's, one that does not go with
 * another, or a CPU of cpus that cannot be had; xev_runtime_failure_get says which and why.
 * XEV_ENOTSUP: several shards, where the system has no threads. Or the code that an init callback
 * or the set-up of a loop, thread or mailbox gave; what had been started was ended in order. rt is
 * initialised here (before the first callback), and belongs to the caller. One thread, which is no
 * shard's (misuse).
 *
 * Where shards are bound: those of options.cpus always. Else those that are as many as the CPUs of
 * the process's affinity, or more; and without a cgroup's quota those that are as many as their
 * cores. Fewer are placed by the system, which knows what else runs. One CPU of each core comes
 * before a second one of any, and of those one node's before the next one's, where the build has
 * hwloc (--config=hwloc, or XEV_HWLOC); without it each CPU counts as a core. The loop of a shard,
 * and what that allocates, is made when its thread is bound, so it is on that node; but for one
 * page with its mailbox, which all write, and for the shard itself where calloc(3) clears memory
 * that was used before, as in a second run of a process. */
XEV_NODISCARD int xev_runtime_run(xev_runtime *rt, const xev_runtime_options *options);

/* What made the last xev_runtime_run fail, once it has returned; 0, XEV_NO_SHARD and "" where it
 * ended in order or was cut short, of which the return value says all (XEV_ETIMEDOUT, XEV_EINTR). A
 * shard whose loop cannot wait any more (see xev_loop_run) ends all shards in order, and is named
 * here. Thread that called xev_runtime_run. */
void xev_runtime_failure_get(const xev_runtime *rt, xev_runtime_failure *out);

/* In an init callback that is about to return code (below 0): say more about the failure than
 * "init". call (static storage), part and object are for xev_runtime_failure; they are copied but
 * for call, and cut to their room. The last call before the return counts. Returns code. Shard's
 * thread. */
int xev_shard_fail(xev_shard *shard, int code, const char *call, const char *part,
                   const char *object);

/* The same, with the why of xev_runtime_failure (static storage): for a code whose text says too
 * little to whoever reads it. Shard's thread. */
int xev_shard_fail_why(xev_shard *shard, int code, const char *call, const char *part,
                       const char *object, const char *why);

/* Start the drain; a second time, end it at once. Where rt has ended, nothing. Any thread, and any
 * signal handler; any time from the first callback on. xev_runtime_run does not return while a
 * thread is in here, or in a send.
 *
 * No thread can be ended from outside, so a shard that blocks would keep the process for ever. When
 * the drain is over, each step of a shard's end (returning from the callback it is in, its stop
 * callback, the end of its loop with work on the pool, its deinit callback) may last
 * options.stuck_ms; then the shard is stuck, and options.stuck is called. After a third signal a
 * step may last a tenth of a second; where the runtime is alone, that signal ends the process by
 * abort() at once, unless stuck_ms is UINT32_MAX. An init callback under way counts too, with
 * drain_ms before. A start that fails, or a loop that breaks, ends under the same rule. */
void xev_runtime_stop(xev_runtime *rt);

/* As SIGHUP does where options.hangup is set: have it called on every shard that serves, on the
 * shard's thread, once or more after this call; several calls may become one. Where hangup is NULL,
 * in the drain, and where rt has ended: nothing. The options no_signals and no_sighup do not
 * matter. With services (serve.h) the service manager is told as well. Any thread, and any signal
 * handler; any time from the first callback on. */
void xev_runtime_reload(xev_runtime *rt);

/* The number of shards. Any thread, while rt runs. That holds for all calls below; a thread that is
 * none of the shards and cannot know whether rt runs uses an xev_sender. */
uint32_t xev_runtime_shards(const xev_runtime *rt);

/* Shard id, 0 to xev_runtime_shards - 1; NULL for another id. Any thread. */
xev_shard *xev_runtime_shard(xev_runtime *rt, uint32_t id);

/* The shard that the len_bytes at key belong to: number (h >> 32) * shards >> 32, where h is
 * xev_key_hash with options.key_seed. So with the same number of shards and the same seed it is the
 * same one in every run and on every machine. Any thread. */
xev_shard *xev_shard_of_key(xev_runtime *rt, const void *key, size_t len_bytes);

/* SipHash-1-3 with the 128-bit key that is seed in its first 64 bits and 0 in the others. Who does
 * not know the seed cannot find keys that belong to one shard. Any thread, any time. */
uint64_t xev_key_hash(const void *key, size_t len_bytes, uint64_t seed);

/* The shard whose thread this is, or NULL. */
xev_shard *xev_shard_current(void);

/* The shard's number, and its runtime. Any thread. */
uint32_t xev_shard_id(const xev_shard *shard);
xev_runtime *xev_shard_runtime(const xev_shard *shard);

/* The CPU that the shard is bound to; XEV_NO_CPU: none, the system places it. Any thread, from the
 * shard's init callback on. */
#define XEV_NO_CPU UINT32_MAX
uint32_t xev_shard_cpu(const xev_shard *shard);

/* The shard's loop; for use on its thread. Its userdata is the program's to use. */
xev_loop *xev_shard_loop(xev_shard *shard);

/* Any thread; the counters are read one by one. */
void xev_shard_count(xev_shard *shard, xev_shard_counters *out);

/* Add what the shard has measured to a histogram of the caller's; nothing where it does not measure
 * it. Any thread. */
void xev_shard_times(const xev_shard *shard, xev_shard_time which, xev_histogram *into);

/* How long messages of shard number from to this one took, from the send, so with what they waited
 * in the turn of the sender, to the handler: of one in options.sample_messages that a shard sends.
 * Messages, requests and asks are measured; urgent ones, replies and those of other threads are
 * not. Zeros where nothing is measured, or there is no such shard. Any thread. */
void xev_shard_delays_get(const xev_shard *to, uint32_t from, xev_shard_delays *out);

/* Listen on addr, on this shard only, with SO_REUSEPORT, so that the kernel spreads connections
 * over the shards that do so. On shard 0 the address must be free: another program that listens on
 * it, with SO_REUSEPORT or not, is XEV_EADDRINUSE, in an init callback after listen_retry_ms. Port
 * 0 on shard 0 takes any; the others then use the port of xev_listener_addr. backlog: 0 means 4096.
 * The listener closes in the drain, which serves who is connected by then. A socket filter that
 * lets no connection begin replaces one that was attached to it. Shard's thread. 0 or a code:
 * XEV_EINVAL (backlog is below 0), XEV_EAFNOSUPPORT (no address, NULL included, or one of a Unix
 * socket, which has no SO_REUSEPORT: see xev_shard_listen_fd), XEV_ECANCELED (the drain has begun),
 * ... */
XEV_NODISCARD int xev_shard_listen(xev_shard *shard, xev_listener *listener, const xev_addr *addr,
                                   int backlog, void *userdata, xev_listener_fn callback);

/* Accept, on this shard, at a stream socket that listens already: a Unix socket, or one that the
 * program was given. 0: the descriptor is the listener's, which closes it in the drain as above.
 * Otherwise it is the caller's: XEV_EBADF, XEV_ENOTSOCK, XEV_EPROTOTYPE (no stream socket),
 * XEV_EINVAL (it does not listen), XEV_ECANCELED (the drain has begun), ... shared: other processes
 * listen at the same socket, or will. Then the drain accepts who waits and closes this descriptor,
 * and the socket goes on listening for them; where there are none, a client that connects at the
 * last moment may be reset. A Unix socket's file is the caller's. Shard's thread. */
XEV_NODISCARD int xev_shard_listen_fd(xev_shard *shard, xev_listener *listener, xev_fd fd,
                                      bool shared, void *userdata, xev_listener_fn callback);

/* Stop accepting on this shard, and accept again. Meanwhile clients wait in the backlog; the system
 * gives none of them to other shards. After a pause the callback may still get connections that had
 * been accepted before. Both may be called at any time between listening and the shard's end, also
 * from the callback. The drain ends a pause: clients that wait are handed over, as far as there are
 * descriptors. At a socket that is shared the callback also gets who waits when the pause takes
 * effect, as far as there are descriptors and the accept has not failed, since the system may have
 * told nobody else of them; later ones go to the other processes. Shard's thread. */
void xev_listener_pause(xev_listener *listener);
void xev_listener_resume(xev_listener *listener);

/* The listener's state and counters. Shard's thread. */
void xev_listener_status_get(const xev_listener *listener, xev_listener_status *out);

/* Its socket, for the options that connections inherit from it: xev_tcp_set_nodelay (which is on),
 * xev_tcp_set_keepalive, xev_tcp_set_buffers. Shard's thread, until the drain. */
xev_tcp xev_listener_tcp(const xev_listener *listener);

/* The address it listens on, or did (0); and its shard. Any thread. */
XEV_NODISCARD int xev_listener_addr(const xev_listener *listener, xev_addr *addr);
xev_shard *xev_listener_shard(const xev_listener *listener);

/* Have handler(to, message, arg) run on shard to. Any thread, to itself as well. Messages of one
 * sender to one receiver arrive in order. XEV_EAGAIN: its mailbox is full. XEV_ECANCELED: it has
 * ended. Then the message is still the caller's. What was written before is visible there. */
XEV_NODISCARD int xev_shard_send(xev_shard *to, xev_message *message, xev_message_fn handler,
                                 void *arg);

/* The same for a message that overtakes the ordinary ones, for what controls a shard: it is handled
 * before them, unless 16 urgent ones were handled since the last of them. It goes out at once, and
 * not at the end of the turn. It needs no room among the ordinary messages: XEV_EAGAIN means that
 * as many urgent ones as options.urgent are not yet handled. Any thread. */
XEV_NODISCARD int xev_shard_send_urgent(xev_shard *to, xev_message *message, xev_message_fn handler,
                                        void *arg);

/* Send to every shard, the sender's included: messages is an array of one per shard. All or none.
 * Results as for send; XEV_ECANCELED also where rt has ended. Any thread. */
XEV_NODISCARD int xev_shard_broadcast(xev_runtime *rt, xev_message *messages,
                                      xev_message_fn handler, void *arg);

/* ---- senders: for threads that may come late ----
 *
 * A thread that is none of the shards (a pool of the program's own, a callback of another library)
 * often cannot know whether the runtime still runs. It opens a sender while it does, and sends
 * through that at any time:
 *
 *     xev_sender sender;
 *     if (xev_sender_open(&sender, &runtime) == 0) {
 *         int rc = xev_shard_send(xev_sender_shard(&sender, 0), &message, handler, arg);
 *         xev_sender_close(&sender);
 *     }
 *
 * An open sender keeps the shards' mailboxes in memory, and nothing else of them: xev_runtime_run
 * does not wait for it. Once the runtime has ended, what is sent reports XEV_ECANCELED. Many
 * threads may use one sender at the same time.
 */

/* Open a sender of rt. 0, or XEV_ECANCELED: rt has ended. Any thread, from the first callback of
 * rt's first run on. */
XEV_NODISCARD int xev_sender_open(xev_sender *sender, xev_runtime *rt);

/* As xev_runtime_shards and xev_runtime_shard, also when the runtime has ended. Of a shard,
 * xev_shard_send, xev_shard_send_urgent, xev_shard_id and xev_shard_count may be called until the
 * sender is closed. */
uint32_t xev_sender_shards(const xev_sender *sender);
xev_shard *xev_sender_shard(const xev_sender *sender, uint32_t id);

/* As xev_shard_broadcast, to the shards of the run that the sender was opened in. */
XEV_NODISCARD int xev_sender_broadcast(xev_sender *sender, xev_message *messages,
                                       xev_message_fn handler, void *arg);

/* Close the sender. No thread may be in a call with the sender or its shards, or make one later.
 * Any thread. */
void xev_sender_close(xev_sender *sender);

/* Ask shard to: handler(to, request, arg) runs there, and there, then or later, once,
 * xev_shard_reply is called; reply(asker, request, result, arg) then runs on the asking shard. The
 * reply needs no room in a mailbox: it cannot fail and cannot deadlock. A shard is not drained
 * while it waits for one. From a thread of the same runtime's shards, else XEV_EINVAL. XEV_EAGAIN,
 * XEV_ECANCELED as for send; XEV_ECANCELED too where the asking shard is about to end. A drain that
 * was cut short (XEV_ETIMEDOUT, XEV_EINTR) may leave requests unanswered: where a deinit callback
 * may still answer one, its memory must last until xev_runtime_run returns. */
XEV_NODISCARD int xev_shard_submit_to(xev_shard *to, xev_request *request, xev_request_fn handler,
                                      void *arg, xev_reply_fn reply);

/* result: any int, the reply callback's argument. On the shard the handler ran on. A second one for
 * the same request is misuse, as far as its memory still tells. */
void xev_shard_reply(xev_request *request, int result);

/* Have reply(this shard, request, result, arg) called once, when shard to's mailbox has room: a
 * sender that got XEV_EAGAIN stops reading its peers (xev_conn_pause) and goes on from there.
 * result: 0, some of the messages that were in the mailbox then were handled; or XEV_ECANCELED, the
 * shard has ended. Others may be quicker: a send from reply may get XEV_EAGAIN again, and wait once
 * more. The request needs no room itself, and is otherwise one like those of xev_shard_submit_to.
 * 0, or XEV_ECANCELED or XEV_EINVAL as there. Asks (ask.h) wait by themselves. */
XEV_NODISCARD int xev_shard_await_room(xev_shard *to, xev_request *request, void *arg,
                                       xev_reply_fn reply);

XEV_END_DECLS

/* Private, but for their size. */
struct xev_sender {
    struct xev__runtime *impl;
};

struct xev_runtime {
    struct xev__runtime *impl;
    xev_runtime_failure failure;
};

#endif
