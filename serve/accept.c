/* What becomes of a connection that a service's listener has accepted: it is admitted (choose.c),
 * or closed with a reason that is counted; then it is adopted, here or by a message to the shard
 * that was chosen. */
#include <ck_pr.h>
#include <stdlib.h>

#include "conn/move.h"
#include "serve/internal.h"
#include "xev/core/support.h"
#include "xev/log.h"
#include "xev/tcp.h"

/* On its way to another shard. */
struct handed {
    xev_message message;
    struct xev__served *to;
    xev_fd fd;
    struct xev__peer *peer;
};

void xev__serve_count_up(uint64_t *counter) { ck_pr_store_64(counter, *counter + 1); }

static void refuse(struct xev__served *d, xev_fd fd, xev_serve_refusal why) {
    assert(why < XEV_SERVE_REFUSALS);
    static xev_log_kind kind = {.name = "refused", .level = XEV_LOG_INFO};
    xev__serve_count_up(&d->refused[why]);
    xev_log_write(&kind, "xev: shard %u: a connection of service %s is refused: %s",
                  xev_shard_id(d->shard), d->service->options.name, xev_serve_refusal_name(why));
    (void)xev_tcp_close_now(xev_tcp_from_fd(fd));
}

/* ---- the peers of connections, by their numbers ---- */

bool xev__serve_set_peer(struct xev__served *d, const xev_conn *conn, struct xev__peer *peer) {
    uint32_t number = xev_conn_number(conn);
    if (number >= d->peers_room) {
        uint32_t room = d->peers_room > 0 ? d->peers_room : 64;
        while (room <= number) {
            room *= 2;
        }
        struct xev__peer **peers = xev__grow(&xev_shard_loop(d->shard)->options.allocator, d->peers,
                                             d->peers_room * sizeof *peers, room * sizeof *peers);
        if (peers == NULL) {
            return false;
        }
        d->peers = peers;
        d->peers_room = room;
    }
    assert(d->peers[number] == NULL);
    d->peers[number] = peer;
    return true;
}

struct xev__peer *xev__serve_peer_of(const struct xev__served *d, const xev_conn *conn) {
    uint32_t number = xev_conn_number(conn);
    return number < d->peers_room ? d->peers[number] : NULL;
}

static struct xev__peer *take_peer(struct xev__served *d, const xev_conn *conn) {
    struct xev__peer *peer = xev__serve_peer_of(d, conn);
    if (peer != NULL) {
        d->peers[xev_conn_number(conn)] = NULL;
    }
    return peer;
}

void xev__serve_free_peers(struct xev__served *d) {
    xev__free(&xev_shard_loop(d->shard)->options.allocator, d->peers,
              d->peers_room * sizeof *d->peers);
    d->peers = NULL;
    d->peers_room = 0;
}

/* ---- serving ---- */

void xev__serve_account(xev_conn *conn, bool begins, void *userdata) {
    struct xev__served *d = userdata;
    xev_serve *serve = d->service->serve;
    uint32_t self = xev_shard_id(d->shard);
    ck_pr_store_32(&d->connections, d->connections + (begins ? 1 : UINT32_MAX));
    if (d->adopting && (begins || !xev__conn_is_given_up(conn))) {
        return; /* who adopts it has taken the room, and gives it back */
    }
    const struct xev__conn_move *move = begins ? NULL : xev__conn_move_of(conn);
    if (move != NULL) { /* the other shard has its room, and its peer */
        assert(move->taken);
        (void)take_peer(d, conn);
        xev__serve_count_up(&d->moved_out);
    } else if (!begins) {
        xev__serve_leave(serve, self, take_peer(d, conn));
    } else {
        xev__serve_enter(serve, self);
    }
}

/* On the shard that serves; the room is taken. */
static void serve_here(struct xev__served *d, xev_fd fd, struct xev__peer *peer) {
    xev_conn *conn;
    assert(xev_shard_current() == d->shard && !d->adopting);
    int rc = 0;
    if (d->service->send_bytes > 0) { /* Unix sockets inherit no sizes */
        rc = xev_tcp_set_buffers(xev_tcp_from_fd(fd), d->service->send_bytes, 0);
    }
    d->adopting = true;
    rc = rc == 0 ? xev_conn_adopt(d->conns, fd, &conn) : XEV_ENOMEM;
    d->adopting = false;
    if (rc < 0) {
        xev__serve_leave(d->service->serve, xev_shard_id(d->shard), peer);
        refuse(d, fd, rc == XEV_ENOBUFS ? XEV_SERVE_FULL_SERVICE : XEV_SERVE_NO_MEMORY);
        return;
    }
    if (peer != NULL && !xev__serve_set_peer(d, conn, peer)) {
        xev__peer_give(&d->service->serve->peers, peer);
        xev__serve_count_up(&d->refused[XEV_SERVE_NO_MEMORY]);
        xev_conn_abort(conn);
        return;
    }
    xev__serve_count_up(&d->served);
}

static void on_handed(xev_shard *self, xev_message *message, void *arg) {
    struct handed *h = arg;
    (void)self;
    assert(message == &h->message);
    (void)message;
    serve_here(h->to, h->fd, h->peer);
    free(h);
}

/* False: the other shard cannot be told. */
static bool hand_over(struct xev__served *to, xev_fd fd, struct xev__peer *peer) {
    struct handed *h = malloc(sizeof *h);
    if (h == NULL) {
        return false;
    }
    *h = (struct handed){.to = to, .fd = fd, .peer = peer};
    if (xev_shard_send(to->shard, &h->message, on_handed, h) < 0) {
        free(h);
        return false;
    }
    return true;
}

void xev__serve_on_accept(xev_listener *listener, int result, void *userdata) {
    struct xev__served *d = userdata;
    xev_service *v = d->service;
    struct xev__admission a;
    xev_serve_refusal why;
    assert(listener == &d->listener && xev_shard_current() == d->shard);
    (void)listener;
    if (result < 0) {
        if (v->options.accept_failed != NULL) {
            v->options.accept_failed(v, d->shard, result);
        }
        return;
    }
    xev__serve_count_up(&d->accepted);
    if (!xev__serve_admit(d, result, &a, &why)) {
        refuse(d, result, why);
        return;
    }
    if (a.shard != xev_shard_id(d->shard)) {
        if (hand_over(&v->on[a.shard], result, a.peer)) {
            xev__serve_count_up(&d->handed);
            return;
        }
        if (!xev__serve_keep(d, &a)) {
            refuse(d, result, XEV_SERVE_FULL_SHARD);
            return;
        }
    }
    serve_here(d, result, a.peer);
}

void xev__serve_count(const struct xev__served *d, xev_service_counters *out) {
    out->connections = ck_pr_load_32(&d->connections);
    out->accepted = ck_pr_load_64(&d->accepted);
    out->handed = ck_pr_load_64(&d->handed);
    out->served = ck_pr_load_64(&d->served);
    out->moved_in = ck_pr_load_64(&d->moved_in);
    out->moved_out = ck_pr_load_64(&d->moved_out);
    for (int i = 0; i < XEV_SERVE_REFUSALS; i++) {
        out->refused[i] = ck_pr_load_64(&d->refused[i]);
    }
}
