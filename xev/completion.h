/* The completion: one operation in flight, in memory that the caller owns.
 *
 *     static xev_cb_action on_recv(xev_loop *loop, xev_completion *c, int result, void *userdata) {
 *         return result < 0 ? XEV_DISARM : XEV_REARM;   (result: bytes, or an XEV_E* code)
 *     }
 *     xev_completion c;                                 (needs no initialisation)
 *     xev_tcp_recv(tcp, &loop, &c, buf, sizeof buf, userdata, on_recv);
 *
 * The contract is the same for every operation on every backend.
 *
 * - Memory. A completion stays at one address from its submission until its terminal callback is
 *   entered. From then on it is dead: the callback may free it, or submit it again and return
 *   XEV_DISARM. No operation allocates memory for itself.
 * - Callbacks. Every submitted operation gets exactly one terminal callback, whatever happens:
 *   success, error, cancel, close, or the end of the loop. A multishot operation has any number
 *   of callbacks before that one, and xev_completion_more() is true in each of them.
 * - When. No callback runs inside a call that submits, cancels or closes. Callbacks run inside
 *   xev_loop_run, and those of operations that are still active at the end inside
 *   xev_loop_deinit.
 * - XEV_DISARM and XEV_REARM. A callback returns one of the two. After XEV_DISARM the operation
 *   is over. XEV_REARM repeats it with the same arguments. What these point to (a vector, a
 *   message, a datagram, a name) is read and checked again, so the callback may change it first,
 *   for instance advance a vector by the bytes that arrived. A timer counts its interval from the
 *   previous deadline. XEV_REARM means XEV_DISARM where there is nothing to repeat: after
 *   XEV_ECANCELED and XEV_ETIMEDOUT, and for a cancel or a close.
 * - Multishot. While more callbacks are to come, XEV_REARM lets the operation go on, and
 *   XEV_DISARM stops it. After XEV_DISARM there may be further callbacks for data that had
 *   arrived by then, so that no data is dropped. The terminal callback then reports
 *   XEV_ECANCELED.
 * - Misuse. A bug in the program ends it, with one line on stderr that names the call. Misuse is:
 *   a null pointer where the comment of the call gives NULL no meaning (userdata may always be
 *   NULL, and so may the address of 0 bytes or of 0 pieces); an operation submitted on an active
 *   completion; a loop that is not initialised, that is deinitialised, or that a forked child has
 *   from its parent. In builds of the library without NDEBUG it is also a call from a thread that
 *   is not the loop's.
 * - Results. What the kernel, a peer or lack of memory can cause is a result and never an abort.
 *   So are descriptors that are closed or of the wrong kind (XEV_EBADF, XEV_ENOTSOCK, ...) and
 *   numbers out of their range (XEV_EINVAL).
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

/* The one callback type. result: >= 0 is success (bytes, a descriptor or another value, as the
 * comment of the submitting call says), < 0 is an XEV_E* code. userdata: as given at submission. */
typedef xev_cb_action (*xev_cb)(xev_loop *loop, xev_completion *c, int result, void *userdata);

/* A function that a work operation runs on a thread of the pool; see xev_work_submit. */
typedef int (*xev_work_fn)(void *userdata);

/* All fields are private. A completion needs no initialisation: its memory may hold anything, also
 * bytes that a peer sent. Whether a completion is active already is looked up in the loop's own
 * table, and never read from that memory. Two cases are therefore not noticed: submitting a
 * completion that is active in the loop of another thread and, in optimised builds, in any other
 * loop. */
struct xev_completion {
    void *userdata;
    xev_cb callback;
    xev_loop *loop;
    /* While active it is in exactly one place: a list of the loop, the pool's queue, or the inbox.
     */
    union {
        struct {
            xev_completion *next, *prev;
            xev_completion *cancels; /* cancel operations that wait for the end of this one */
        } link;
        xev_threadpool_task task;
        struct {
            xev_mpsc_node node;
            uintptr_t arrived;
        } inbox;
    } at;
    uint32_t place; /* while active: its index in the loop's table of active completions */
    uint32_t seq;   /* order among equal deadlines */
    uint8_t op;
    uint8_t state;
    uint16_t flags;
    int32_t result;
    uint32_t slot; /* the backend's number for the operation in the kernel */
    xev_fd fd;
    union {
        struct {
            void *buf;
            uint32_t len_bytes;
            uint32_t aux;
            const void *addr;
        } io;
        struct {
            uint64_t again_ns; /* next attempt */
            uint32_t failures; /* since the last connection */
            uint32_t wait_ms;  /* from the last attempt to the next */
            /* the code that its callback got since the last connection, or 0 */
            int32_t reported;
        } accept;
        uint64_t interval_ns;
        struct {
            xev_watcher *watcher;
            /* The watcher's list of waits whose callback is due. at: the pointer that points here;
             * NULL: in no list. */
            xev_completion *next, **at;
        } async;
        xev_completion *target;
        struct {
            xev_completion *step; /* of the close of a file, which runs on the pool */
            uint64_t until_ns;
            int (*by)(xev_fd fd); /* closes fd in place of close(2), or NULL */
        } close;
        xev_work_fn work;
    } arg;
    /* Last, for XEV__COMPLETION_UNTIMED in core/support.h. */
    uint64_t deadline_ns; /* of a timer, or of an operation with a time-out */
    struct {
        xev_completion *child, *next, *prev;
    } heap;
};

XEV_BEGIN_DECLS

/* Make c dead, whatever its memory held. c must not be active. If it is active in another thread's
 * loop, that is not noticed here, but ends the program when that loop has a result for it. Any
 * thread. */
void xev_completion_zero(xev_completion *c);

/* XEV_COMPLETION_ACTIVE from submission until the terminal callback is entered, else
 * XEV_COMPLETION_DEAD. Loop's thread. */
xev_completion_state_t xev_completion_state(xev_completion *c);

/* In a callback of c: whether further callbacks of this operation follow (multishot). Loop's
 * thread. */
bool xev_completion_more(const xev_completion *c);

/* Choose whether an active completion keeps XEV_RUN_UNTIL_DONE and XEV_RUN_ONCE going. Every
 * submission starts referenced, and XEV_REARM leaves it as it was. Calling either one twice has no
 * further effect. c must be active, else misuse. Loop's thread. */
void xev_completion_ref(xev_completion *c);
void xev_completion_unref(xev_completion *c);

/* Cancel the operation that target is at this moment. The terminal callback of target always runs
 * before that of c. Result in the callback of c:
 *
 * - 0: the operation was stopped, and its callback has reported XEV_ECANCELED.
 * - XEV_ENOENT: there was nothing to stop. target was never started, is finished (its result has
 *   been or will be delivered, and no data is lost), was cancelled before, runs on a pool thread,
 *   is active in another thread's loop, or is itself a cancel or a close.
 *
 * If target was active when c was submitted, the callback of c runs before that of a close of
 * target's descriptor; so the callback of the close may free both.
 *
 * The memory at target may hold anything; NULL, c itself, and an operation of another loop of this
 * thread are misuse. Loop's thread. */
void xev_cancel(xev_loop *loop, xev_completion *target, xev_completion *c, void *userdata,
                xev_cb cb);

/* Give an active operation a time-out, counted from this call, in ms or in ns. 0 takes the time-out
 * away; a later call replaces it. When the time is over the operation is stopped, and its terminal
 * callback reports XEV_ETIMEDOUT. If a result had arrived by then it reports that result instead:
 * one of the two, never both. A timer, a cancel or a close has no time-out: misuse.
 *
 * Never early; from 1 s on it may be up to 20 ms late. The loop keeps the time-out itself, without
 * a timer of the kernel. A multishot operation keeps it until the operation ends; XEV_REARM begins
 * without one. A callback that wants a time-out each time (against a silent peer, for instance)
 * submits the operation again, sets the time-out, and returns XEV_DISARM. Work that a pool thread
 * already runs cannot be stopped: its own result comes, late. Loop's thread. */
void xev_completion_set_timeout(xev_loop *loop, xev_completion *c, uint64_t timeout_ms);
void xev_completion_set_timeout_ns(xev_loop *loop, xev_completion *c, uint64_t timeout_ns);

XEV_END_DECLS

#endif
