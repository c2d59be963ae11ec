/* Internal: the declarations that the core, the watchers and the backends share. Not for users.
 *
 * The state machine of a completion, which core.c carries out for all kinds of operations:
 *
 *   DEAD --submit--> one of
 *     QUEUED    in its descriptor's queue, behind another operation of the same direction
 *     STARTED   head of that queue; the backend has it
 *     STARVED   head of that queue; waits for a loaned buffer or for descriptors to be free
 *     TIMER     among the timers (timers.c)
 *     ASYNC     waiter of an async watcher
 *     TRY       in loop->tries; the turn tries it without waiting, or gives it to the pool. Not
 *               counted on its descriptor before, unless its kind runs in order
 *     TO_POOL   in loop->to_pool; the turn gives all that are there to the pool when it is over
 *     POOL      on the thread pool
 *     CHAINED   a cancel that waits for its target to end
 *     CLOSING   a close that waits for the descriptor's operations to end
 *     STEPPING  a sendfile or close of which a step, arg.target, is on the thread pool; a dial
 *     LINGERING a close that waits for the peer to take what was sent; among the timers
 *   --result--> PENDING  result known, callback to run from the loop   (xev__pend)
 *   --deliver-> DEAD, callback                                         (xev__finish)
 *
 * In its poll a backend may also call xev__finish itself, without the state PENDING.
 */
#ifndef XEV_CORE_CORE_H
#define XEV_CORE_CORE_H

#include <assert.h>
#include <ck_pr.h>

#include "xev/addr.h"
#include "xev/async.h"
#include "xev/buffer.h"
#include "xev/core/chunks.h"
#include "xev/core/support.h"
#include "xev/loop.h"
#include "xev/os/complain.h"
#include "xev/os/thread.h"
#include "xev/timer.h"
#include "xev/vec.h"
#include "xev/work.h"

enum xev__op {
    XEV__OP_NONE,
    XEV__OP_TIMER,
    XEV__OP_ASYNC,
    XEV__OP_WORK,
    XEV__OP_REQUEST, /* work whose completion is the head of a struct xev__request */
    XEV__OP_CANCEL,
    XEV__OP_CLOSE,
    XEV__OP_DIAL, /* its completion is the head of an xev_dial_req */
    /* From here on operations on a descriptor. */
    XEV__OP_ACCEPT,
    XEV__OP_RECV,
    XEV__OP_RECVMSG,
    XEV__OP_UDP_RECV,
    XEV__OP_UDP_RECV_BATCH,
    XEV__OP_PROCESS, /* waits for its end */
    XEV__OP_READ,
    XEV__OP_CONNECT,
    XEV__OP_SEND,
    XEV__OP_SENDMSG,
    XEV__OP_UDP_SEND,
    XEV__OP_UDP_SEND_BATCH,
    XEV__OP_WRITE,
    XEV__OP_SENDFILE,
    XEV__OP_SHUTDOWN,
    XEV__OP_POLL,
    XEV__OP_COUNT,
};
_Static_assert(XEV__OP_COUNT <= XEV_OPS, "xev_loop_metrics has a counter for each kind");

enum xev__state {
    XEV__DEAD,
    XEV__QUEUED,
    XEV__STARTED,
    XEV__STARVED,
    XEV__TIMER,
    XEV__ASYNC,
    XEV__TRY,
    XEV__TO_POOL,
    XEV__POOL,
    XEV__CHAINED,
    XEV__CLOSING,
    XEV__STEPPING,
    XEV__LINGERING,
    XEV__PENDING,
};

enum xev__flag {
    XEV__F_MULTI = 1 << 0,     /* goes on after a success */
    XEV__F_MORE = 1 << 1,      /* in its callback, and not the terminal one */
    XEV__F_UNREF = 1 << 2,     /* does not keep the loop going */
    XEV__F_CANCEL = 1 << 3,    /* is being stopped, and the backend was told */
    XEV__F_TIMEOUT = 1 << 4,   /* is being stopped because its deadline passed */
    XEV__F_LOAN = 1 << 5,      /* receives into a loaned buffer */
    XEV__F_INTERNAL = 1 << 6,  /* the loop's own: not counted as a user's */
    XEV__F_DEADLINE = 1 << 7,  /* among the timers, though not one */
    XEV__F_STREAM = 1 << 8,    /* a stream's, which counts its own callbacks */
    XEV__F_CHANGES = 1 << 9,   /* a read of what a watcher of files reports */
    XEV__F_WORKS = 1 << 10,    /* in loop->works */
    XEV__F_ONE_SHOT = 1 << 11, /* backend: do not try the multishot form */
    XEV__F_POLLED = 1 << 12,   /* backend: waits for readiness, then tries */
    XEV__F_CHAINED = 1 << 13,  /* work: at.link.cancels is set, not the task's callback */
    XEV__F_COUNTED = 1 << 14,  /* counted in its descriptor's ops */
    /* backend: multishot was refused, one-shot is being tried; or, where the descriptor is polled:
     * one-shot ended for nothing, the poll is a multishot one */
    XEV__F_PROBING = 1 << 15,
};

/* Reads and writes queue up, each in their order; polls wait side by side. */
enum xev__dir { XEV__READ = 0, XEV__WRITE = 1, XEV__POLLS = 2, XEV__DIRS = 3 };

/* An item of the loop's inbox, which is part of a completion or of a watcher. arrived is 0 for a
 * completion that a pool thread has finished. The word is then the member prev of its task, which
 * the pool has left NULL and may still read. For a watcher arrived is the address of an
 * xev__arrived_fn. */
struct xev__inbox_item {
    xev_mpsc_node node;
    uintptr_t arrived;
};
typedef void (*xev__arrived_fn)(xev_loop *loop, struct xev__inbox_item *item);

/* What a STARVED head waits for. Either for a loaned buffer to come back; or for some time to pass,
 * because nobody reports when the resource it lacks is free (descriptors, memory, room at a Unix
 * socket). */
enum xev__wait { XEV__WAIT_BUFFER, XEV__WAIT_TIME, XEV__WAITS };

/* Whether a receive that returned less than it had room for has emptied its stream. On a
 * listener XEV__SHORT_IS_NOTHING says that the kernel may have reported a shutdown. */
enum xev__short_read { XEV__SHORT_NOT_KNOWN, XEV__SHORT_IS_EMPTY, XEV__SHORT_IS_NOTHING };

/* The entry of a descriptor. Entries stand in chunks that never move, so that a pointer to an entry
 * stays valid. An entry fits one cache line, since each idle connection has one. Entries
 * name each other by number + 1, and 0 names none. */
struct xev__fd {
    /* The queues, in order of submission. at.link.prev of the first operation is the last one. */
    xev_completion *head[XEV__DIRS];
    xev_completion *closer;
    xev_fd fd;
    uint32_t gen; /* changes when the entry gets another descriptor */
    uint32_t ops; /* active operations, PENDING ones included; without descriptor, the number */
    uint32_t next_ready;               /* for the readiness adaptor, while listed */
    uint32_t next_waiting[XEV__WAITS]; /* while waits: the next entry with STARVED heads */
    union {
        uint32_t requests;  /* has_requests: the number of their record */
        uint32_t idle_turn; /* else: when the last operation ended; see xev__fds_check */
    };
    /* Bits by direction. A result waits for its delivery: no next operation is started. */
    uint8_t undelivered_result;
    /* Bits by direction, for the readiness adaptor: an attempt may succeed. */
    uint8_t ready;
    /* Bits by direction: the next of a queue is being started, and may end at once. */
    uint8_t starting : 2;
    uint8_t waits : XEV__WAITS; /* bits by enum xev__wait: the entry is in the list */
    bool ours : 1; /* had other operations than polls, so the program closes it through the loop */
    bool has_requests : 1;
    bool lent_nonblocking : 1; /* a sendfile set O_NONBLOCK; the last sendfile takes it off again */
    /* For the readiness adaptor: */
    uint8_t reports : 2;    /* bits by direction: the kernel reports on it; see xev__registered */
    bool nonblocking : 1;   /* O_NONBLOCK was set */
    bool listed : 1;        /* in the ready list */
    uint8_t short_read : 2; /* enum xev__short_read */
    bool writes_once : 1;   /* kqueue: a report on the write direction ends these reports */
    bool changing : 1;      /* kqueue: the kernel is to be told what to report on */
};
_Static_assert(sizeof(void *) != 8 || sizeof(struct xev__fd) == 64, "one cache line");

/* Whether the kernel reports on a descriptor, in some direction. */
static inline bool xev__registered(const struct xev__fd *e) { return e->reports != 0; }

/* Whether e is only there until the callback of its last operation has returned. */
static inline bool xev__is_unused(const struct xev__fd *e) {
    return e->ops == 0 && e->closer == NULL && !xev__registered(e);
}

/* The requests on the pool of one descriptor: those that run side by side; those that run in order
 * of submission, of which in_order_now runs. Few descriptors have any, so this record is apart from
 * the entry, and is free again when the last request has ended. */
struct xev__fd_requests {
    xev_completion *side_by_side, *in_order, *in_order_tail, *in_order_now;
    uint32_t next_free; /* number + 1, or 0 */
};

struct xev__fds {
    const xev_allocator *allocator; /* the loop's */
    uint32_t *index;                /* by descriptor: entry number + 1, or 0 */
    uint32_t index_len;
    uint32_t index_top; /* numbers from here on had no entry since the trimmer looked last */
    struct xev__trimmer index_trimmer;
    struct xev__chunks entries; /* free ones are linked by ops */
    struct {
        uint32_t head, tail; /* entry number + 1, or 0 */
    } waiting[XEV__WAITS];
    /* The records of requests; without one in use there is no memory for any. */
    struct xev__fd_requests *requests;
    uint32_t requests_room, requests_used, free_requests;
};

/* Connections that one listener's accept may report in one turn. A client costs its server far more
 * than its accept; timers, messages and other descriptors have their turn in between. */
#define XEV__ACCEPTS_PER_TURN 64

/* Called by a walk for each active completion that it finds. */
typedef void (*xev__visit_fn)(const xev_loop *loop, xev_completion *c, void *arg);

/* What one kind of operation does differently from the others. The functions belong to the watcher
 * of the kind; NULL means that there is nothing special to do. */
struct xev__kind {
    const char *name;
    enum xev__dir queue; /* of the descriptor, in which it waits; for operations from ACCEPT on */
    bool has_fd;         /* c->fd is a descriptor, or XEV_INVALID_FD */
    bool makes_fd;       /* a successful result is a new descriptor */
    bool at_once;        /* may be carried out inside the submitting call; see at_once below */
    const char *parts;   /* what its parts do while it is STEPPING, for a human */
    /* Begin c, which was begun before, once more: XEV_REARM. NULL: xev__submit. */
    void (*again)(xev_loop *loop, xev_completion *c);
    /* Start c, which has become the head of its queue. NULL: the backend starts it. */
    void (*at_head)(xev_loop *loop, struct xev__fd *fd, xev_completion *c);
    /* c's deadline has passed: whether c goes on, and its deadline is c->deadline_ns by now. */
    bool (*goes_on)(xev_loop *loop, xev_completion *c);
    /* Stop c in the state ASYNC or STEPPING, as xev__stop. NULL: it cannot be stopped there. */
    bool (*stop)(xev_loop *loop, xev_completion *c);
    /* c has left its queue, and its callback is next. */
    void (*ended)(xev_loop *loop, xev_completion *c);
    /* A close: carry it out on the pool. False: that cannot be, close it here. */
    bool (*close_on_pool)(xev_loop *loop, xev_completion *c);
    /* A close: whether the pool has closed the descriptor, so that only the callback is left to do.
     * The number is then free, or another file has it. */
    bool (*close_is_past)(const xev_completion *c);
    /* c consists of parts, which are the loop's own operations: whether a walk that has found this
     * part is to name c for it. */
    bool (*named_by)(xev_completion *c, const xev_completion *part);
    /* Visit those active completions of this kind that no place of the loop itself holds. */
    void (*each)(const xev_loop *loop, xev__visit_fn fn, void *arg);
    /* The loop ends, or is a forked child's copy: its watchers of this kind are bound to it no
     * longer. */
    void (*loop_gone)(xev_loop *loop);
};

/* By enum xev__op; in watchers/kinds.c, the only place that names all watchers. */
extern const struct xev__kind xev__kinds[XEV__OP_COUNT];

/* How a backend carries out a kind of operation. A kind that its table does not name is answered
 * XEV_ENOTSUP. docs/support.md is made from these tables. */
enum xev__how {
    XEV__HOW_NOT = 0,
    XEV__HOW_REQUEST, /* the kernel carries it out */
    XEV__HOW_MULTI,   /* the kernel carries it out, once or, if asked to, many times */
    XEV__HOW_READY,   /* the kernel reports readiness, then the backend makes the system call */
    XEV__HOW_CALL,    /* the backend makes the system call, which does not block */
};

/* A backend: one table, chosen per loop. All functions but wake are called on the loop's thread. */
struct xev_backend_ops {
    const char *name;
    xev_backend_kind kind;
    uint8_t how[XEV__OP_COUNT]; /* enum xev__how, of the operations on descriptors */
    /* 0, or a code with the failing step in why. Nothing is left behind on failure. */
    int (*init)(xev_loop *loop, char *why, size_t why_len);
    void (*deinit)(xev_loop *loop);
    uint32_t (*features)(const xev_loop *loop);
    /* Begin the operation at the head of a descriptor's queue. */
    void (*start)(xev_loop *loop, struct xev__fd *fd, xev_completion *c);
    /* Carry out c, at the head of its queue, inside the submitting call, if that can be done now
     * and pays: its result, or XEV_EAGAIN: start it. NULL: it never pays. Only for kinds at_once.
     */
    int (*at_once)(xev_loop *loop, struct xev__fd *fd, xev_completion *c);
    /* Begin the connect c to addr, which need not stay after the call. XEV_EINPROGRESS: start, when
     * c is the head of its queue, waits for the result; or a result. NULL: xev__os_connect, and
     * start waits until the socket is writable. */
    int (*connect)(xev_loop *loop, xev_completion *c, const xev_addr *addr);
    /* A connect that was begun so has ended, maybe before the kernel's last word. */
    void (*connect_over)(xev_loop *loop, xev_completion *c);
    /* Whether it has joint sends (support.h), for good. NULL: no. Then the next two. */
    bool (*joins)(const xev_loop *loop);
    bool (*send_joint)(xev_loop *loop, const struct xev__joint_send *send, bool loaned);
    void (*settle)(xev_loop *loop, const void *owner);
    /* Stop a STARTED operation: it ends by xev__pend or, later, by xev__finish. Once per start. */
    void (*cancel)(xev_loop *loop, struct xev__fd *fd, xev_completion *c);
    /* Forget a descriptor that is about to be closed; no operation is left on it. */
    void (*forget)(xev_loop *loop, struct xev__fd *fd);
    /* Whether the kernel still reports on a registered descriptor. It does not if the program has
     * closed the file, and another one may have the number by now. NULL: it registers none. */
    bool (*still_reports)(xev_loop *loop, struct xev__fd *fd);
    /* Submit, wait up to timeout_ns (UINT64_MAX: no limit, 0: not at all), deliver. 0, or a code,
     * its call in loop->failed_call; what is known is delivered then too. */
    int (*poll)(xev_loop *loop, uint64_t timeout_ns);
    /* While poll fails: wait for wake alone, timeout_ms at most. */
    void (*nap)(xev_loop *loop, uint32_t timeout_ms);
    /* In deinit, when poll has failed for good: from now on do without the kernel. May be NULL. */
    void (*give_up)(xev_loop *loop);
    /* Whether poll(0) would find something, without a system call; may say yes wrongly. */
    bool (*peek)(xev_loop *loop);
    /* A host is about to wait until descriptor is readable. True: there is work, do not wait. */
    bool (*prepare)(xev_loop *loop);
    xev_fd (*descriptor)(xev_loop *loop); /* or a code */
    /* End the wait in poll, or the next one. Any thread. 0, or a code: the system refused. */
    int (*wake)(xev_loop *loop);
    /* A loaned buffer is free again. */
    void (*buffer_back)(xev_loop *loop, uint32_t id);
    /* The number of receives that could get a buffer now. */
    uint32_t (*buffers_free)(const xev_loop *loop);
    /* In deinit, on another thread than the one that ran the loop and has ended: deliver the events
     * that have arrived, and cancel all other operations. */
    void (*abandon)(xev_loop *loop);
};

extern const struct xev_backend_ops xev__io_uring_ops, xev__epoll_ops, xev__kqueue_ops,
    xev__wasi_poll_ops;
extern const struct xev_backend_ops xev__iocp_ops; /* of Windows */

/* backends/list_*.c: those of the system, in order of preference, and NULL. */
extern const struct xev_backend_ops *const xev__backends[];

/* backends/backends.c: fill in loop->ops and loop->backend by the options and the environment. */
int xev__backend_choose(xev_loop *loop);

/* ---- walk.c ---- */

/* "recv"; "" for a number that is no operation's. */
const char *xev__op_name(int op);

/* Whether a close of fd is active. Looks at everything that is: for a descriptor without entry. */
bool xev__is_closed_by_any(const xev_loop *loop, xev_fd fd);

/* In a forked child: mark all completions as DEAD, and unbind the watchers from the loop. */
void xev__forget_everything(xev_loop *loop);

/* Debug builds write down where operations were started. from: NULL, the call was not the user's.
 */
struct xev__start {
    const xev_completion *c;
    const char *call;
    const void *from;
};
void xev__starts_init(xev_loop *loop);
void xev__starts_free(xev_loop *loop);
/* No more than peak were needed lately: the table may become smaller. */
void xev__starts_trim(xev_loop *loop, uint32_t peak);
/* xev__misuse: c is active already, and what with. */
_Noreturn void xev__misuse_active(const char *call, const xev_completion *c);
#if defined(NDEBUG)
#define XEV__CALL(name) (name)
#else
/* The name of the public function whose body this stands in, and who called it, for the xev__begin
 * that it leads to. XEV_NO_RETURN_ADDRESS: the compiler cannot tell who (WebAssembly). */
#if defined(XEV_NO_RETURN_ADDRESS)
#define XEV__CALL(name) (xev__call_from = NULL, (name))
#else
#define XEV__CALL(name) (xev__call_from = __builtin_return_address(0), (name))
#endif
extern _Thread_local const void *xev__call_from;
void xev__starts_put(xev_loop *loop, struct xev__start start);
struct xev__start xev__starts_take(xev_loop *loop, const xev_completion *c);
#endif

/* ---- core.c ---- */

/* Add to a counter that only the loop's thread writes and any may read. */
static inline void xev__count(uint64_t *counter, uint64_t by) {
    ck_pr_store_64(counter, *counter + by);
}

static inline enum xev__dir xev__dir(const xev_completion *c) { return xev__kinds[c->op].queue; }

/* End the program: the caller broke the contract of call. */
_Noreturn void xev__misuse(const char *call, const char *what, const void *which);

/* Called after each callback. A child that forked in the callback must not return from it: the loop
 * would take events from the ring or epoll that it shares with its parent, and would make callbacks
 * that the parent makes, too. */
static inline void xev__check_fork(const xev_loop *loop) {
    if (xev__forked(loop)) {
        xev__misuse("xev_loop_run", "a forked child came back from a callback of its parent's",
                    loop);
    }
}

static inline void xev__check_loop(const char *call, const xev_loop *loop) {
    if (loop == NULL || loop->ops == NULL) {
        xev__misuse(call, "loop is null or not initialised", loop);
    }
}

#if defined(NDEBUG)
static inline void xev__check_thread_of(const char *call, const xev_loop *maybe) {
    (void)call;
    (void)maybe;
}
#else
/* As xev__check_thread, where maybe need not be a loop: what memory says that may hold anything. */
void xev__check_thread_of(const char *call, const xev_loop *maybe);
#endif

/* For calls that are made on the loop's thread. */
static inline void xev__check_own_loop(const char *call, const xev_loop *loop) {
    xev__check_loop(call, loop);
    xev__check_thread(call, loop);
}

static inline void xev__check_pointer(const char *call, const char *what, const void *pointer) {
    if (pointer == NULL) {
        xev__misuse(call, what, pointer);
    }
}

/* Make c active; sets everything but fd and arg. Ends the program where it is active already, or
 * where loop or cb is null or loop is not initialised. False: the loop is being torn down and c is
 * cancelled: return. */
bool xev__begin(const char *call, xev_loop *loop, xev_completion *c, enum xev__op op,
                void *userdata, xev_cb cb);

/* A begun operation is the loop's own: it keeps nothing going, and no user hears of it. */
void xev__make_internal(xev_loop *loop, xev_completion *c);

/* The entry of fd, on which an operation is to begin. NULL, and why not in *code: XEV_EBADF,
 * XEV_ENOMEM, XEV_ECANCELED (fd is being closed). */
struct xev__fd *xev__entry_for(xev_loop *loop, xev_fd fd, int *code);

/* Put a begun operation on its descriptor (c->fd) in its direction. */
void xev__submit(xev_loop *loop, xev_completion *c);

/* The result is known; deliver it from the loop. */
void xev__pend(xev_loop *loop, xev_completion *c, int result);

/* Deliver now. more: a multishot operation that goes on; it may have been stopped by the callback,
 * so look at c->state and XEV__F_CANCEL afterwards. Not more: c is the user's, do not touch it. */
void xev__finish(xev_loop *loop, xev_completion *c, int result, bool more);

/* Stop whatever c is doing. True: this call stopped it, or asked the backend to. */
bool xev__stop(xev_loop *loop, xev_completion *c);

/* An active operation without a deadline gets one. Unlike xev_completion_set_timeout, no clock is
 * read.
 */
void xev__set_deadline(xev_loop *loop, xev_completion *c, uint64_t deadline_ns);

/* c has become the head of its queue. */
void xev__start(xev_loop *loop, struct xev__fd *fd, xev_completion *c);

/* A set of directions. */
static inline uint8_t xev__bit(enum xev__dir d) { return (uint8_t)(1u << d); }

/* Take a PENDING-to-be operation out of its descriptor's queue; starts the next. */
void xev__dequeue(xev_loop *loop, struct xev__fd *fd, xev_completion *c);

/* The cancel, for the public function call. */
void xev__cancel(const char *call, xev_loop *loop, xev_completion *target, xev_completion *c,
                 void *userdata, xev_cb cb);

/* The close of any watcher's descriptor. */
void xev__close(const char *call, xev_loop *loop, xev_completion *c, xev_fd fd, void *userdata,
                xev_cb cb);

/* fd was made since this loop last worked on its number. An entry of the number is of another file,
 * which was closed outside the loop, so it is dropped. An entry with operations stays. */
void xev__forget_stale(xev_loop *loop, xev_fd fd);

void xev__list_push(struct xev__list *list, xev_completion *c);
void xev__list_remove(struct xev__list *list, xev_completion *c);
void xev__deliver_pending(xev_loop *loop);
void xev__drain_inbox(xev_loop *loop);
void xev__run_timers(xev_loop *loop);

/* ---- loop.c ---- */
/* Unbind all watchers from the loop, which ends or is a forked child's copy. */
void xev__watchers_unbind(xev_loop *loop);

/* ---- timers.c: completions by (deadline_ns, seq); intrusive, no allocation ---- */
/* seq is later than that of any other there. */
void xev__timers_insert(struct xev__timers *t, xev_completion *c);
void xev__timers_remove(struct xev__timers *t, xev_completion *c);
xev_completion *xev__timers_first(struct xev__timers *t); /* NULL: there are none */

/* ---- actives.c: the table of what is active in a loop ---- */

/* The place of what found no memory for one. */
#define XEV__NO_PLACE 0x7fffffffu

/* 0 or XEV_ENOMEM. */
int xev__actives_init(xev_loop *loop);
void xev__actives_free(xev_loop *loop);
/* Not from the table itself: its first free place, or XEV__NO_PLACE. */
uint32_t xev__actives_grow(xev_loop *loop);
/* An active completion or request is not where it was put. */
_Noreturn void xev__actives_lost(const void *what);

/* Whether a completion or request is active in the loop. place: in its memory, which may hold
 * anything. */
static inline bool xev__actives_have(const xev_loop *loop, const uint32_t *place) {
    return *place < loop->actives_len && loop->actives[*place] == place;
}

/* It is active from now on. The loop may change *place until it is taken. */
static inline void xev__actives_put(xev_loop *loop, uint32_t *place) {
    uint32_t at = loop->actives_free;
    *place = at;
    if (at == XEV__NO_PLACE && (*place = at = xev__actives_grow(loop)) == XEV__NO_PLACE) {
        loop->actives_missing++;
        return;
    }
    assert(at < loop->actives_len);
    loop->actives_free = (uint32_t)((uintptr_t)loop->actives[at] >> 1);
    loop->actives[at] = place;
    loop->actives_used++;
}

/* what, whose place it is, is not active any more. */
static inline void xev__actives_take(xev_loop *loop, const void *what, const uint32_t *place) {
    if (xev__actives_have(loop, place)) {
        loop->actives[*place] = (uint32_t *)((uintptr_t)loop->actives_free << 1 | 1);
        loop->actives_free = *place;
        loop->actives_used--;
    } else if (*place == XEV__NO_PLACE && loop->actives_missing > 0) {
        loop->actives_missing--;
    } else {
        xev__actives_lost(what);
    }
}

/* Whether c is active in loop. c may be memory with anything in it, as long as all that is active
 * found its place. */
static inline bool xev__is_active(const xev_loop *loop, const xev_completion *c) {
    return xev__actives_have(loop, &c->place) ||
           (loop->actives_missing > 0 && c->place == XEV__NO_PLACE && c->loop == loop &&
            c->state != XEV__DEAD);
}

/* The loop of this thread, or of one that has ended, that c is active in, or NULL. c may be as
 * above. Not for the hot path. */
xev_loop *xev__loop_of(const xev_completion *c);
/* The loop's thread is another one from now on. */
void xev__loops_set_thread(const xev_loop *loop);

/* ---- fds.c ---- */
struct xev__fds *xev__fds_new(xev_loop *loop);
void xev__fds_free(struct xev__fds *fds);
static inline struct xev__fd *xev__fds_entry(const struct xev__fds *fds, uint32_t number) {
    return xev__chunks_item(&fds->entries, number, sizeof(struct xev__fd));
}
/* The entry of a number below xev__chunks_end, or NULL: it has no descriptor. */
static inline struct xev__fd *xev__fds_known(const struct xev__fds *fds, uint32_t number) {
    bool made = xev__chunks_have(&fds->entries, number);
    struct xev__fd *e = made ? xev__fds_entry(fds, number) : NULL;
    return e != NULL && e->fd != XEV_INVALID_FD ? e : NULL;
}
/* NULL: not known. */
static inline struct xev__fd *xev__fds_find(const struct xev__fds *fds, xev_fd fd) {
    /* No table has room for a negative one, as an unsigned number. */
    if ((uint32_t)fd >= fds->index_len || fds->index[fd] == 0) {
        return NULL;
    }
    return xev__fds_entry(fds, fds->index[fd] - 1);
}
/* The entry that an event names, or NULL: it has another descriptor by now, or none. */
static inline struct xev__fd *xev__fds_at(const struct xev__fds *fds, uint32_t index,
                                          uint32_t gen) {
    struct xev__fd *e = xev__fds_known(fds, index);
    return e != NULL && e->gen == gen ? e : NULL;
}
/* The number of an entry, by which xev__fds_entry finds it. */
static inline uint32_t xev__fds_number(const struct xev__fds *fds, const struct xev__fd *e) {
    assert(e->fd == XEV_INVALID_FD || fds->index[e->fd] != 0);
    return e->fd == XEV_INVALID_FD ? e->ops : fds->index[e->fd] - 1;
}
struct xev__fd *xev__fds_get(struct xev__fds *fds, xev_fd fd); /* NULL: no memory, or not open */
/* e, which is registered, gets its first operation since others ended. Programs may call close(2)
 * themselves, and the kernel does not tell the loop. So ask it, unless e was in use a moment ago.
 * Returns e; or, where another file may have the number, a new entry, or NULL (no memory). */
struct xev__fd *xev__fds_check(xev_loop *loop, struct xev__fd *e);
/* Forget fd, which stays open. 0, or XEV_EBUSY: it has operations. */
int xev__fds_release(xev_loop *loop, xev_fd fd);
/* Make e, which has no operation and on which the kernel does not report, the same as a new entry.
 * Its generation changes, so whoever remembers the old one finds that it is stale. */
static inline void xev__fds_renew(struct xev__fd *e) {
    assert(e->ops == 0 && e->closer == NULL && !xev__registered(e) && !e->has_requests);
    assert(e->undelivered_result == 0 && !e->changing);
    e->gen++;
    e->ready = 1u << XEV__READ | 1u << XEV__WRITE;
    e->short_read = XEV__SHORT_NOT_KNOWN;
    e->ours = e->nonblocking = e->lent_nonblocking = e->writes_once = false;
}
/* Drop an entry, since another file may have its number from now on. It is free for reuse once no
 * list holds it, so code that takes an entry out of a list calls reclaim. */
void xev__fds_drop(struct xev__fds *fds, struct xev__fd *fd);
void xev__fds_reclaim(struct xev__fds *fds, struct xev__fd *fd);
/* The requests of an entry, or NULL: it has none. */
static inline struct xev__fd_requests *xev__fds_requests(const struct xev__fds *fds,
                                                         const struct xev__fd *e) {
    return e->has_requests ? &fds->requests[e->requests] : NULL;
}
/* The same, made if need be; NULL: no memory. It is valid until the next such call. */
struct xev__fd_requests *xev__fds_make_requests(struct xev__fds *fds, struct xev__fd *e);
/* Give the record back: e has no request left. */
void xev__fds_end_requests(struct xev__fds *fds, struct xev__fd *e);
/* The head of the read queue waits: for a loaned buffer to come back (want_buffer); or for
 * descriptors or memory, whose return nobody reports. */
void xev__fds_starve(xev_loop *loop, struct xev__fd *fd, bool want_buffer);
/* c, the head of its queue, waits for a resource whose return nobody reports. It is started again
 * after a short time. */
void xev__fds_pause(xev_loop *loop, struct xev__fd *fd, xev_completion *c);
/* As xev__fds_pause, for an accept: it is started again at c->arg.accept.again_ns. */
void xev__fds_pause_accept(xev_loop *loop, struct xev__fd *fd, xev_completion *c);
/* Start as many of the receives that wait for a buffer as there are free buffers. True: receives
 * and buffers are left, since a receive that is started need not take a buffer. Call it again soon.
 */
bool xev__fds_feed(xev_loop *loop);
void xev__fds_resume_paused(xev_loop *loop);

/* ---- buffer.c ---- */
struct xev__buffers {
    const xev_allocator *allocator; /* the loop's */
    uint8_t **chunks;               /* NULL: none yet, or given back */
    uint32_t *free_in;              /* by chunk: which of its buffers are free */
    uint64_t *some_free;            /* which chunks have free ones */
    uint32_t free_len;
    uint32_t total, max, size_bytes; /* total: in existence */
    uint32_t fewest_free;            /* since a timer looked last what may be given back */
    uint32_t trim_at;                /* free_len from which on it has to look */
    bool trimming;                   /* it is about to, or some chunk's last buffer is missing */
    struct xev__trimmer trimmer;
    /* The loan of the callback that is running; its data is loop->loan. */
    bool taken;
    uint32_t current_id, current_len;
    uint32_t offset; /* where the data of the next loan begins in its buffer */
    /* A buffer that the backend holds while it makes one receive after the other, so that it need
     * not put it back and find it again; and its memory, NULL: it holds none. A callback that takes
     * it takes it from here, too. */
    uint32_t held_id;
    uint8_t *held;
    bool *out; /* by number: taken by a user */
};
struct xev__buffers *xev__buffers_new(xev_loop *loop, uint32_t size_bytes, uint32_t max);
void xev__buffers_free(struct xev__buffers *b);
/* Free ones, and those that may still be made. */
uint32_t xev__buffers_left(const struct xev__buffers *b);
/* One is free, or all there may be exist and one will come back. False: memory is short. */
bool xev__buffers_expected(const struct xev__buffers *b);
/* Room for more of them, where there may be more and there is memory. */
void xev__buffers_grow(struct xev__buffers *b);
/* A buffer's number, or UINT32_MAX: there are max already, or no memory. */
#define XEV__BUFFERS_PER_CHUNK 32u
#define XEV__BUFFERS_PER_WORD 64u
static inline uint32_t xev__buffers_alloc(struct xev__buffers *b) {
    if (b->free_len == 0) {
        xev__buffers_grow(b);
        if (b->free_len == 0) {
            return UINT32_MAX;
        }
    }
    uint32_t word = 0;
    while (b->some_free[word] == 0) {
        word++;
    }
    uint32_t chunk = word * XEV__BUFFERS_PER_WORD + (uint32_t)__builtin_ctzll(b->some_free[word]);
    assert(b->chunks[chunk] != NULL && b->free_in[chunk] != 0);
    uint32_t id = chunk * XEV__BUFFERS_PER_CHUNK + (uint32_t)__builtin_ctz(b->free_in[chunk]);
    b->free_in[chunk] &= b->free_in[chunk] - 1;
    if (b->free_in[chunk] == 0) {
        b->some_free[word] &= b->some_free[word] - 1;
    }
    b->free_len--;
    b->fewest_free = b->free_len < b->fewest_free ? b->free_len : b->fewest_free;
    return id;
}
/* While the store is being trimmed, some buffer of the chunk is free again. */
void xev__buffers_came_back(struct xev__buffers *b, uint32_t chunk);
static inline void xev__buffers_put(struct xev__buffers *b, uint32_t id) {
    uint32_t chunk = id / XEV__BUFFERS_PER_CHUNK, bit = 1u << id % XEV__BUFFERS_PER_CHUNK;
    assert(b->chunks[chunk] != NULL && (b->free_in[chunk] & bit) == 0);
    b->free_in[chunk] |= bit;
    b->some_free[chunk / XEV__BUFFERS_PER_WORD] |= (uint64_t)1 << chunk % XEV__BUFFERS_PER_WORD;
    b->free_len++;
    if (b->trimming) {
        xev__buffers_came_back(b, chunk);
    }
}
static inline void *xev__buffers_at(const struct xev__buffers *b, uint32_t id) {
    return b->chunks[id / XEV__BUFFERS_PER_CHUNK] +
           (size_t)(id % XEV__BUFFERS_PER_CHUNK) * b->size_bytes;
}
/* Hold a buffer. False: there is none. */
static inline bool xev__buffers_hold(struct xev__buffers *b) {
    if (b->held == NULL) {
        b->held_id = xev__buffers_alloc(b);
        b->held = b->held_id != UINT32_MAX ? xev__buffers_at(b, b->held_id) : NULL;
    }
    return b->held != NULL;
}
static inline void xev__buffers_let_go(struct xev__buffers *b) {
    if (b->held != NULL) {
        b->held = NULL;
        xev__buffers_put(b, b->held_id);
    }
}
/* There are more free buffers than a quiet loop needs: give them back if they stay free. */
void xev__buffers_trim_soon(xev_loop *loop);
/* xev__finish for a receive that filled a loaned buffer. */
void xev__finish_loan(xev_loop *loop, xev_completion *c, uint32_t id, int result, bool more);

/* ---- pool.c: operations on the thread pool ---- */
void xev__work_link(xev_loop *loop, xev_completion *c);
void xev__work_unlink(xev_loop *loop, xev_completion *c);
/* To run fn in lane; or, with XEV_LANE_COUNT, at submission, on the loop's thread. */
void xev__work_init(xev_completion *c, enum xev_threadpool_lane lane, xev_work_fn fn);
void xev__work_start(xev_loop *loop, xev_completion *c);
/* Forget the hint about the file that had the number fd before. */
static inline void xev__forget_hint(xev_loop *loop, xev_fd fd) {
    struct xev__file_hint *hint = &loop->file_hints[(uint32_t)fd % XEV__FILE_HINTS];
    if (hint->fd == fd) {
        *hint = (struct xev__file_hint){.fd = XEV_INVALID_FD};
    }
}
/* Give the pool what waits for it. Called before each sleep, and when a run is over. */
void xev__hand_over(xev_loop *loop);
/* c, which waits for that, is to go elsewhere. */
void xev__keep_from_pool(xev_loop *loop, xev_completion *c);
/* Carry out requests that wait for nothing, and call back, as far as one turn may. */
void xev__run_tries(xev_loop *loop);
/* A begun request has bad arguments: it ends with code, repeated or not. */
void xev__request_refuse(xev_loop *loop, xev_completion *c, int code);

/* How a request begins; its function is called with the request. Where c.fd is a descriptor, the
 * request is counted and stopped with that descriptor's operations. */
struct xev__request {
    xev_completion c;
    struct xev__request_link link;
};
static inline bool xev__request_makes_fd(const xev_completion *c) {
    return c->op == XEV__OP_REQUEST &&
           ((const struct xev__request *)(const void *)c)->link.makes_fd;
}
/* Ask a request that is running to end early. */
void xev__request_stop_running(xev_completion *c);
void xev__requests_stop(xev_loop *loop, struct xev__fd *e);
/* Those of fd that are to be tried, and are not counted on it yet. */
void xev__tries_stop(xev_loop *loop, xev_fd fd);
bool xev__tries_have(const xev_loop *loop, xev_fd fd);
/* Take a request that has ended off its descriptor, and start the next request in order. */
void xev__request_detach(xev_loop *loop, struct xev__fd *e, xev_completion *c);

/* ---- core.c ---- */
/* now + timeout, clamped. */
uint64_t xev__ms_to_ns(uint64_t ms); /* UINT64_MAX where it would be more */
uint64_t xev__deadline(uint64_t now_ns, uint64_t timeout_ns);
void xev__timer_arm(xev_loop *loop, xev_completion *c, uint64_t deadline_ns);

/* Keep the longest time, as a counter. */
static inline void xev__count_longest(uint64_t *longest, uint64_t took_ns) {
    if (took_ns > *longest) {
        ck_pr_store_64(longest, took_ns);
    }
}

/* A backend's poll is back from the kernel: the time, before any callback. */
void xev__woke(xev_loop *loop);

/* End the loop's sleep. For the thread whose push or wake on the inbox returned true, which gives
 * it this duty. Any thread. Where the system refuses, the duty goes back to the inbox, and the next
 * push or wake returns true. */
void xev__signal(xev_loop *loop);

/* Atomic: not 0 if the system has refused some signal in this process. From then on a thread whose
 * item is in the inbox already checks whether the loop must still be woken. */
extern uint32_t xev__signals_refused;

#endif
