/* The completion: one operation in flight, in memory that the caller owns.
 *
 * The contract, the same for every operation on every backend:
 *  - A completion stays at one address from submission until its terminal callback is entered.
 *    From then on it is dead: the callback may free it or submit it again (and then returns
 *    XEV_DISARM). No operation allocates memory for itself.
 *  - Every submitted operation gets exactly one terminal callback, whatever happens: success,
 *    error, cancel, close, loop teardown. Multishot operations call back any number of times
 *    before it, and xev_completion_more() is true in each of these calls.
 *  - No callback runs inside a submitting, cancelling or closing call; callbacks run inside
 *    xev_loop_run (and, for what is still active then, inside xev_loop_deinit).
 *  - The callback returns XEV_DISARM or XEV_REARM. REARM repeats the operation with the same
 *    arguments. What they point to (a vector, a message, a datagram, a name) is read and checked
 *    anew, so the callback may change it first: advance a vector by what arrived, for instance. A
 *    timer counts its interval from the previous deadline. After XEV_ECANCELED and
 *    XEV_ETIMEDOUT, and for a cancel or a close, there is nothing to repeat and REARM means DISARM.
 *    While more callbacks are to come, REARM goes on and DISARM stops the operation: its terminal
 *    callback then reports XEV_ECANCELED, after calls for what had arrived by then, if any (no data
 *    is dropped).
 *  - Misuse is a bug in the program, and ends it with one line on stderr that names the call: a
 *    null pointer where the call does not say what NULL means (userdata may always be NULL, and so
 *    may the address of what is 0 bytes or 0 pieces long), an
 *    operation submitted on an active completion, a loop that is not initialised or no longer, one
 *    touched from a foreign callback; and, in builds of the library without NDEBUG, a call from a
 *    thread that is not the loop's. What the kernel, a peer or lack of memory can cause is a
 *    result, never an abort; and so are descriptors that are closed or of the wrong kind
 *    (XEV_EBADF, XEV_ENOTSOCK, ...) and numbers out of their range (XEV_EINVAL).
 *
 * Threads: a completion belongs to the thread of its loop.
 */
#ifndef XEV_COMPLETION_H
#define XEV_COMPLETION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xev/mpsc.h"
#include "xev/threadpool.h"
#include "xev/platform.h"

typedef struct xev_loop xev_loop;
typedef struct xev_completion xev_completion;
typedef struct xev_watcher xev_watcher;

typedef enum { XEV_DISARM = 0, XEV_REARM = 1 } xev_cb_action;

typedef enum {
    XEV_COMPLETION_DEAD = 0,
    XEV_COMPLETION_ACTIVE = 1,
} xev_completion_state_t;

/* The one callback type. result: >= 0 success (bytes, descriptor, return value: as the submitting
 * call says), < 0 an XEV_E* code. userdata: as given at submission. */
typedef xev_cb_action (*xev_cb)(xev_loop *loop, xev_completion *c, int result, void *userdata);

/* What a work operation runs on a pool thread; see xev_work_submit. */
typedef int (*xev_work_fn)(void *userdata);

/* All fields are private. It needs no initialisation: its memory may hold anything, what a peer
 * sent included. That it is active already is found out from the loop's own table, and not from
 * that memory. So only an optimised build's loop other than the one it is active in, and a loop of
 * another thread, do not notice. */
struct xev_completion {
    void *userdata;
    xev_cb callback;
    xev_loop *loop;
    /* In exactly one place while active: a list of the loop, the pool's queue, or the inbox. */
    union {
        struct {
            xev_completion *next, *prev;
            xev_completion *cancels; /* cancel operations that wait for this one to end */
        } link;
        xev_threadpool_task task;
        struct {
            xev_mpsc_node node;
            uintptr_t arrived;
        } inbox;
    } at;
    uint32_t place; /* while active: in the loop's table of what is active */
    uint32_t seq;   /* arming order among equal deadlines */
    uint8_t op;
    uint8_t state;
    uint16_t flags;
    int32_t result;
    uint64_t deadline_ns; /* timer, or deadline of an I/O operation; node among the timers */
    struct {
        xev_completion *child, *next, *prev;
    } heap;
    uint32_t slot; /* backend's name for the operation in the kernel */
    xev_fd fd;
    union {
        struct {
            void *buf;
            uint32_t len_bytes;
            uint32_t aux;
            const void *addr;
        } io;
        struct {
            uint64_t again_ns; /* not to be tried before */
            uint32_t failures; /* since the last connection */
            uint32_t wait_ms;  /* between the last attempt and the next */
            int32_t reported;  /* the code that its callback was told since then, or 0 */
        } accept;
        uint64_t interval_ns;
        struct {
            xev_watcher *watcher;
            /* The watcher's list of those whose callback is due; at: what points here, NULL: in
             * no list. */
            xev_completion *next, **at;
        } async;
        xev_completion *target;
        struct {
            xev_completion *step; /* the close of a file has one */
            uint64_t until_ns;
            int (*by)(xev_fd fd); /* another call than the usual, or NULL */
        } close;
        xev_work_fn work;
    } arg;
};

XEV_BEGIN_DECLS

/* Make c dead, whatever its memory held. Not for an active completion; one of another thread's loop
 * is not noticed here, but ends the program when that loop has a result for it. Any thread. */
void xev_completion_zero(xev_completion *c);

/* ACTIVE from submission until its terminal callback is entered. Loop's thread. */
xev_completion_state_t xev_completion_state(xev_completion *c);

/* In a callback: whether further callbacks of this operation follow (multishot). Loop's thread. */
bool xev_completion_more(const xev_completion *c);

/* Whether an active completion keeps XEV_RUN_UNTIL_DONE (and XEV_RUN_ONCE) going. Each submission
 * starts referenced, and XEV_REARM leaves it as it was. Both calls may be repeated and need an
 * active completion. Loop's thread. */
void xev_completion_ref(xev_completion *c);
void xev_completion_unref(xev_completion *c);

/* Cancel whatever operation target is at this moment. c reports 0 if that stopped it (its callback
 * has reported XEV_ECANCELED), XEV_ENOENT if there was nothing to stop: already finished (its
 * result was or will be delivered, no data is lost), never started, cancelled before, running on a
 * pool thread, active in another thread's loop, or itself a cancel or close. target's terminal
 * callback always runs before c's. If target was active when c was submitted, c's callback runs
 * before that of a close of target's descriptor, which may free them both. target may be memory
 * with anything in it. Loop's thread. */
void xev_cancel(xev_loop *loop, xev_completion *target, xev_completion *c, void *userdata,
                xev_cb cb);

/* Give an active operation (not a timer, cancel or close) so long from now to end; 0 takes the
 * deadline away, a later call replaces it. When it passes, the operation is stopped and its
 * terminal callback reports XEV_ETIMEDOUT, unless a result had already arrived: one or the other,
 * never both. Costs no kernel timer. Never early; from 1 s on it may be up to 20 ms late. A
 * multishot operation keeps its deadline until it ends, and REARM starts without one: a callback
 * that wants a deadline each time (against a silent peer, say) submits anew, sets it, and returns
 * XEV_DISARM. Work that a pool thread runs cannot be stopped: its result comes late. Loop's
 * thread. */
void xev_completion_set_timeout(xev_loop *loop, xev_completion *c, uint64_t timeout_ms);
void xev_completion_set_timeout_ns(xev_loop *loop, xev_completion *c, uint64_t timeout_ns);

XEV_END_DECLS

#endif
