/* What becomes of a connection that a service's listener has accepted: the shard that serves it is
 * chosen, room is taken there, and it is adopted, here or by a message to that shard.
 *
 * Room is taken by the accepting shard, in the counts of live connections that all shards share
 * (xev_serve.live), and given back when the connection is gone.
 */
#include <ck_pr.h>
#include <stdlib.h>

#include "serve/internal.h"
#include "xev/tcp.h"

/* On its way to another shard. */
struct handed {
    xev_message message;
    struct xev__served *to;
    xev_fd fd;
};

/* Only the shard's own thread writes its counters. */
static void count_one(uint64_t *counter) { ck_pr_store_64(counter, *counter + 1); }

/* ---- choosing ---- */

uint32_t xev__serve_least(const uint32_t *live, uint32_t shards, uint32_t first, uint32_t *least) {
    assert(first < shards);
    uint32_t best = first;
    *least = ck_pr_load_32(&live[first]);
    for (uint32_t i = 0; i < shards; i++) {
        uint32_t n = ck_pr_load_32(&live[i]);
        if (n < *least) {
            best = i;
            *least = n;
        }
    }
    return best;
}

/* Take room on the shard that has the fewest. It still has the fewest then: others that take room
 * meanwhile only make the other shards fuller, and a change of this one is noticed. */
static uint32_t take_least(uint32_t *live, uint32_t shards, uint32_t first) {
    uint32_t best, least;
    do {
        best = xev__serve_least(live, shards, first, &least);
    } while (!ck_pr_cas_32(&live[best], least, least + 1));
    return best;
}

static void release_room(xev_serve *serve, uint32_t shard) {
    uint32_t before = ck_pr_faa_32(&serve->live[shard], UINT32_MAX);
    assert(before > 0);
    (void)before;
}

/* The shard that is to serve what d has accepted, where room is taken now. */
static uint32_t choose_shard(struct xev__served *d) {
    xev_serve *serve = d->service->serve;
    uint32_t self = xev_shard_id(d->shard), to = self;
    if (serve->up && d->service->policy == XEV_SERVE_LEAST) {
        return take_least(serve->live, serve->shards, self);
    }
    if (serve->up && d->service->policy == XEV_SERVE_DEAL) {
        to = d->next;
        d->next = (d->next + 1) % serve->shards;
    }
    ck_pr_inc_32(&serve->live[to]);
    return to;
}

/* ---- serving ---- */

void xev__serve_account(xev_conn *conn, bool begins, void *userdata) {
    struct xev__served *d = userdata;
    xev_serve *serve = d->service->serve;
    uint32_t self = xev_shard_id(d->shard);
    (void)conn;
    ck_pr_store_32(&d->connections, d->connections + (begins ? 1 : UINT32_MAX));
    if (!begins) {
        release_room(serve, self);
    } else if (!d->adopting) { /* an outgoing one */
        ck_pr_inc_32(&serve->live[self]);
    }
}

static void refuse(struct xev__served *d, xev_fd fd) {
    count_one(&d->refused);
    release_room(d->service->serve, xev_shard_id(d->shard));
    (void)xev_tcp_close_now(xev_tcp_from_fd(fd));
}

/* On the shard that serves; the room is taken. */
static void serve_here(struct xev__served *d, xev_fd fd) {
    assert(xev_shard_current() == d->shard && !d->adopting);
    d->adopting = true;
    int rc = xev_conn_adopt(d->conns, fd, NULL);
    d->adopting = false;
    if (rc < 0) {
        refuse(d, fd);
    } else {
        count_one(&d->served);
    }
}

static void on_handed(xev_shard *self, xev_message *message, void *arg) {
    struct handed *h = arg;
    (void)self;
    assert(message == &h->message);
    (void)message;
    serve_here(h->to, h->fd);
    free(h);
}

/* False: the other shard cannot be told. */
static bool hand_over(struct xev__served *to, xev_fd fd) {
    struct handed *h = malloc(sizeof *h);
    if (h == NULL) {
        return false;
    }
    *h = (struct handed){.to = to, .fd = fd};
    if (xev_shard_send(to->shard, &h->message, on_handed, h) < 0) {
        free(h);
        return false;
    }
    return true;
}

void xev__serve_on_accept(xev_listener *listener, int result, void *userdata) {
    struct xev__served *d = userdata;
    xev_service *v = d->service;
    assert(listener == &d->listener && xev_shard_current() == d->shard);
    (void)listener;
    if (result < 0) {
        if (v->options.accept_failed != NULL) {
            v->options.accept_failed(v, d->shard, result);
        }
        return;
    }
    count_one(&d->accepted);
    uint32_t self = xev_shard_id(d->shard), to = choose_shard(d);
    if (to != self) {
        if (hand_over(&v->on[to], result)) {
            count_one(&d->handed);
            return;
        }
        ck_pr_inc_32(&v->serve->live[self]);
        release_room(v->serve, to);
    }
    serve_here(d, result);
}

void xev__serve_count(const struct xev__served *d, xev_service_counters *out) {
    out->connections = ck_pr_load_32(&d->connections);
    out->accepted = ck_pr_load_64(&d->accepted);
    out->handed = ck_pr_load_64(&d->handed);
    out->served = ck_pr_load_64(&d->served);
    out->refused = ck_pr_load_64(&d->refused);
}
