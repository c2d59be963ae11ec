/* Moving a connection to another shard: a request to that shard, which takes it and replies when
 * nothing of the old connection is needed any more (conn/move.h). Where the mailbox is full the
 * request waits for room there. A reply needs none.
 *
 * Room on the other shard is taken when the move is asked for. That on the old one is given back
 * when the other shard has the connection. The process's count and the peer's stay as they are.
 */
#include <stdlib.h>

#include "conn/move.h"
#include "serve/internal.h"

struct xev__moving {
    struct xev__conn_move move; /* first */
    xev_request request;
    struct xev__served *from, *to;
    struct xev__peer *peer;
    struct xev__moving *next, **link; /* in from's list */
    bool sent;                        /* the request is under way */
};

static struct xev__moving *moving_of(struct xev__conn_move *move) {
    return (struct xev__moving *)(void *)move;
}

/* The move is over; but as long as its request is under way its memory is needed. */
static void end_moving(struct xev__moving *m) {
    if (!m->sent) {
        *m->link = m->next;
        if (m->next != NULL) {
            m->next->link = m->link;
        }
        free(m);
    }
}

void xev__serve_free_moves(struct xev__served *d) {
    while (d->moves != NULL) {
        d->moves->sent = false;
        end_moving(d->moves);
    }
}

/* ---- on the shard that takes it ---- */

static int take(struct xev__moving *m, xev_conn **conn) {
    struct xev__served *to = m->to;
    int rc = XEV_ENOMEM;
    to->adopting = true; /* its room was taken */
    *conn = xev__conn_take(to->conns, &m->move, &rc);
    if (*conn != NULL && m->peer != NULL && !xev__serve_set_peer(to, *conn, m->peer)) {
        xev__conn_untake(*conn, &m->move);
        *conn = NULL;
    }
    to->adopting = false;
    return *conn != NULL ? 0 : rc;
}

static void on_move(xev_shard *self, xev_request *request, void *arg) {
    struct xev__moving *m = arg;
    xev_conn *conn;
    assert(m->to->shard == self);
    int rc = take(m, &conn);
    if (rc < 0) {
        xev_shard_reply(request, rc);
        return;
    }
    xev__serve_give_shard(m->from->service->serve, xev_shard_id(m->from->shard));
    xev__serve_count_up(&m->to->moved_in);
    if (!xev__conn_took_over(conn, &m->move)) {
        xev_shard_reply(request, 0); /* m is the other shard's again */
    }
    (void)self;
    xev__conn_taken(conn);
}

/* All output that was lent is sent. */
static void on_returned(struct xev__conn_move *move) {
    xev_shard_reply(&moving_of(move)->request, 0);
}

/* ---- on the shard that it leaves ---- */

static void go_to(struct xev__conn_move *move);

static void on_moved(xev_shard *self, xev_request *request, int result, void *arg) {
    struct xev__moving *m = arg;
    (void)self;
    (void)request;
    m->sent = false;
    if (result < 0) {
        xev__conn_moved_back(&m->move);
        return;
    }
    xev__conn_moved_away(&m->move);
    end_moving(m);
}

static void on_move_room(xev_shard *self, xev_request *request, int result, void *arg) {
    struct xev__moving *m = arg;
    (void)self;
    (void)request;
    m->sent = false;
    if (result < 0) {
        xev__conn_moved_back(&m->move);
    } else {
        go_to(&m->move);
    }
}

static void go_to(struct xev__conn_move *move) {
    struct xev__moving *m = moving_of(move);
    m->peer = xev__serve_peer_of(m->from, move->from);
    m->sent = true;
    int rc = xev_shard_submit_to(m->to->shard, &m->request, on_move, m, on_moved);
    if (rc == XEV_EAGAIN) {
        rc = xev_shard_await_room(m->to->shard, &m->request, m, on_move_room);
    }
    if (rc < 0) {
        m->sent = false;
        xev__conn_moved_back(move);
    }
}

static void on_stays(struct xev__conn_move *move) {
    struct xev__moving *m = moving_of(move);
    xev__serve_give_shard(m->from->service->serve, xev_shard_id(m->to->shard));
    end_moving(m);
}

int xev_serve_move(xev_conn *conn, uint32_t shard) {
    const char *call = "xev_serve_move";
    xev__serve_check(conn != NULL, call, "connection is null");
    struct xev__served *d = xev__conn_accountant(conn, xev__serve_account);
    xev__serve_check(d != NULL, call, "the connection is no service's");
    xev__serve_check(xev_shard_current() == d->shard, call, "it is another shard's");
    xev_serve *serve = d->service->serve;
    if (shard >= serve->shards || shard == xev_shard_id(d->shard)) {
        return XEV_EINVAL;
    }
    if (!serve->up) {
        return XEV_EBUSY;
    }
    struct xev__moving *m = malloc(sizeof *m);
    if (m == NULL) {
        return XEV_ENOMEM;
    }
    if (!xev__serve_take_shard(serve, xev_shard_id(d->shard), shard)) {
        free(m);
        return XEV_ENOBUFS;
    }
    m->move.go = go_to;
    m->move.stays = on_stays;
    m->move.returned = on_returned;
    m->from = d;
    m->to = &d->service->on[shard];
    m->sent = false;
    m->next = d->moves;
    m->link = &d->moves;
    if (m->next != NULL) {
        m->next->link = &m->next;
    }
    d->moves = m;
    int rc = xev__conn_move(conn, &m->move);
    if (rc < 0) {
        on_stays(&m->move);
    }
    return rc;
}
