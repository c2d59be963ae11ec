/* For serve/: moving a connection to a service of another loop, which serve/ carries there; the
 * connections to upstreams that it may give up.
 *
 *     loop of the connection                         loop that it goes to
 *
 *     xev__conn_move: no handler but late is
 *     called, nothing is read or sent
 *     the loop lets go of the descriptor
 *     the last slot is filled
 *     leaving handler; the handle is stale; go  -->  xev__conn_take: one there, with copies
 *                                                    of the user's part, the input, the output
 *                                                    xev__conn_taken: moved handler; it goes on
 *     xev__conn_moved_away                      <--  and returned, when lent output is sent
 *     or xev__conn_moved_back: moved handler    <--  or it could not be taken
 *
 * Until it is known which of the two it is, the old connection keeps all it has, and the other loop
 * only reads it. So lack of memory over there costs nothing: the connection comes back.
 */
#ifndef CONN_MOVE_H
#define CONN_MOVE_H

#include "xev/completion.h"
#include "xev/conn.h"

/* Of whoever asked for the move, until stays, moved_away or moved_back. In all callbacks but
 * returned the thread is that of the connection's loop. */
struct xev__conn_move {
    /* Set before xev__conn_move. */
    void (*go)(struct xev__conn_move *move);       /* it has left: have the other loop take it */
    void (*stays)(struct xev__conn_move *move);    /* it has not left, or has come back */
    void (*returned)(struct xev__conn_move *move); /* the other loop: what was lent is sent */
    /* Private. */
    xev_conn *from;
    xev_completion release; /* of the descriptor, by the loop */
    uint32_t flags;         /* of from, when it left */
    uint32_t lent_left;     /* pieces of output that from has lent, and the other loop has */
    bool started, releasing, leaving, taken;
    bool holds; /* the loop goes on for it, also while nothing is read or sent */
};

/* 0, or why it is not to move: see xev_serve_move. */
int xev__conn_move(xev_conn *conn, struct xev__conn_move *move);
/* account_userdata of its service, if fn is the account function there; else NULL. */
void *xev__conn_accountant(const xev_conn *conn, xev_conn_account_fn fn);
/* Of one that moves, or has left; else NULL. */
struct xev__conn_move *xev__conn_move_of(const xev_conn *conn);

/* Keep a connection on its loop until unbind, and count it as having one more slot: its slot is
 * about to be filled, but answers that belong to it are still to come. */
void xev__conn_bind(xev_conn *conn);
void xev__conn_unbind(xev_conn *conn);

/* Have gone called, with what, if the connection ends before the slot is filled: once, before its
 * closed handler; at once where it has ended. It does nothing with connections. */
void xev__conn_slot_watch(xev_conn_slot *slot, uint64_t what, void (*gone)(uint64_t what));

/* Do not call its data handler before unhold, whatever the program pauses and resumes. It has a
 * slot that is reserved, or is bound, until then. */
void xev__conn_hold(xev_conn *conn);
void xev__conn_unhold(xev_conn *conn);
/* Output is queued: call its data handler again, with what it has left, when that has fallen to
 * low_bytes. */
void xev__conn_hold_output(xev_conn *conn);

/* Connections to upstreams that nobody uses now, of a service; how long the oldest of them has
 * waited, in ticks of 2^26 ns; and close that one. It counts as gone from then on, in the service
 * and for who keeps account, to whom it is told as given up. False: there is none. */
uint32_t xev__conn_kept(const xev_conn_service *service);
uint32_t xev__conn_kept_ticks(const xev_conn_service *service);
bool xev__conn_give_up_kept(xev_conn_service *service);
bool xev__conn_is_given_up(const xev_conn *conn);
/* For who keeps account: connections are opened ahead of their use only where has_room, given
 * account_userdata, says that one more may be. */
void xev__conn_ask_room(xev_conn_service *service, bool (*has_room)(void *account_userdata));

/* On the other loop. NULL and *code: from is to go back. */
xev_conn *xev__conn_take(xev_conn_service *service, struct xev__conn_move *move, int *code);
/* After that: either it is not taken after all, or all is well. */
void xev__conn_untake(xev_conn *conn, struct xev__conn_move *move);
/* True: output was lent, and returned will be called. False: nobody uses from any more. */
bool xev__conn_took_over(xev_conn *conn, struct xev__conn_move *move);
void xev__conn_taken(xev_conn *conn);

/* The end of the move. */
void xev__conn_moved_away(struct xev__conn_move *move);
void xev__conn_moved_back(struct xev__conn_move *move); /* calls stays */

#endif
