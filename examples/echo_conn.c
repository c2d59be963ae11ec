/* One echoed connection.
 *
 *     READING  <-- resumes below LOW_WATER --  PAUSED
 *        |     -- stops above HIGH_WATER -->     |
 *        +-- end of stream, or drained ----------+--> FLUSHING --> close our side
 *                                                     --> LINGERING (drain only) --> closed
 *
 * What the kernel takes at once is sent from the loop's buffer, inside the receive's callback. The
 * rest is queued: the loop lends the buffer and gets it back when it is sent. Peers that read
 * nothing could keep all buffers there are, so beyond LENT_MAX of them data is copied. Such a peer
 * costs WRITES_MAX writes at most, and STALL_MS later nothing.
 */
#include "examples/echo_conn.h"

#include <stdlib.h>
#include <string.h>

#define HIGH_WATER (64u * 1024)
#define LOW_WATER (16u * 1024)
#define WRITES_MAX 8  /* each may hold a buffer, however little is in it */
#define LENT_MAX 1024 /* of the loop's 2048 */
#define STALL_MS 30000
/* Kept in each list of free ones. What a crowd has left behind may be all the memory there is. */
#define FREE_MAX 1024

struct echo_write {
    xev_write_req req;
    xev_buf buf;
    void *copy; /* or NULL, and buf is lent */
    struct echo_write *next;
};

struct echo_conn {
    echo_pool *pool;
    echo_conn *next, *prev;
    xev_tcp tcp;
    xev_stream out;
    xev_write_req end;
    xev_completion recv, cancel, close;
    bool reading;   /* recv is active */
    bool peer_done; /* end of stream seen */
    bool done;      /* everything that is to be echoed has been read */
    bool ended;     /* the end of our side is queued, */
    bool flushed;   /* ... and sent */
    bool closing;
    int left;   /* draining: bytes still to be read, -1: not yet known */
    int writes; /* queued or being sent */
};

static void advance(echo_conn *k);

static xev_cb_action on_closed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    echo_conn *k = userdata;
    (void)loop;
    (void)c;
    (void)result;
    if (k->prev != NULL) {
        k->prev->next = k->next;
    } else {
        k->pool->live = k->next;
    }
    if (k->next != NULL) {
        k->next->prev = k->prev;
    }
    if (k->pool->free_conns_len == FREE_MAX) {
        free(k);
        return XEV_DISARM;
    }
    k->next = k->pool->free_conns;
    k->pool->free_conns = k;
    k->pool->free_conns_len++;
    return XEV_DISARM;
}

static void close_conn(echo_conn *k) {
    if (!k->closing) {
        k->closing = true;
        /* Ends the receive and all writes; their callbacks come first. */
        xev_tcp_close(k->tcp, k->pool->loop, &k->close, k, on_closed);
    }
}

static void on_written(xev_loop *loop, xev_stream *stream, xev_write_req *req, int result,
                       void *userdata) {
    echo_conn *k = userdata;
    struct echo_write *w = (struct echo_write *)req; /* its first member */
    (void)stream;
    if (w->copy != NULL) {
        free(w->copy);
    } else {
        k->pool->lent--;
        xev_buf_release(loop, w->buf);
    }
    if (k->pool->free_writes_len == FREE_MAX) {
        free(w);
    } else {
        w->next = k->pool->free_writes;
        k->pool->free_writes = w;
        k->pool->free_writes_len++;
    }
    k->writes--;
    if (result < 0) {
        close_conn(k);
    } else {
        advance(k);
    }
}

/* data is in the loaned buffer of the callback that is running. */
static bool queue(echo_conn *k, const char *data, size_t len_bytes) {
    echo_pool *pool = k->pool;
    void *copy = NULL;
    if (pool->lent >= LENT_MAX) {
        if ((copy = malloc(len_bytes)) == NULL) {
            return false;
        }
        memcpy(copy, data, len_bytes);
    }
    struct echo_write *w = pool->free_writes;
    if (w != NULL) {
        pool->free_writes = w->next;
        pool->free_writes_len--;
    } else if ((w = malloc(sizeof *w)) == NULL) {
        free(copy);
        return false;
    }
    w->copy = copy;
    if (copy == NULL) {
        w->buf = xev_buf_take(pool->loop);
        pool->lent++;
    }
    k->writes++;
    xev_stream_write(&k->out, &w->req, copy != NULL ? copy : data, len_bytes, k, on_written);
    return true;
}

/* What the kernel takes at once needs no buffer to be kept. The rest is queued. */
static bool echo(echo_conn *k, size_t len_bytes) {
    echo_pool *pool = k->pool;
    const char *data = xev_buf_data(pool->loop);
    int sent = xev_stream_try_write(&k->out, data, len_bytes);
    pool->bytes += len_bytes;
    if (sent < 0 || (size_t)sent == len_bytes) {
        return sent >= 0;
    }
    return queue(k, data + sent, len_bytes - (size_t)sent);
}

static xev_cb_action on_recv(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    echo_conn *k = userdata;
    (void)loop;
    bool more = xev_completion_more(c);
    if (result > 0 && !k->ended && !k->closing) {
        if (!echo(k, (size_t)result)) {
            k->pool->ended++;
            close_conn(k); /* no memory: rather this connection than a gap in its stream */
            return XEV_DISARM;
        }
        k->left -= k->left > 0 ? (result < k->left ? result : k->left) : 0;
    }
    if (more) {
        bool full = xev_stream_queued_bytes(&k->out) > HIGH_WATER || k->writes >= WRITES_MAX;
        bool enough = !k->ended && (full || k->left == 0);
        return enough ? XEV_DISARM : XEV_REARM;
    }
    k->reading = false;
    if (result == XEV_EOF) {
        k->peer_done = k->done = true;
    } else if (result < 0 && result != XEV_ECANCELED) {
        k->pool->ended += result == XEV_ENOMEM;
        close_conn(k);
    }
    advance(k);
    return XEV_DISARM;
}

static void on_ended(xev_loop *loop, xev_stream *stream, xev_write_req *req, int result,
                     void *userdata) {
    echo_conn *k = userdata;
    (void)loop;
    (void)stream;
    (void)req;
    (void)result; /* fails where the peer is gone: the receive says so too */
    k->flushed = true;
    advance(k);
}

/* Take the next step that is due. */
static void advance(echo_conn *k) {
    uint64_t queued = xev_stream_queued_bytes(&k->out);
    if (k->closing || k->pool->over) {
        return;
    }
    if (k->pool->draining && !k->reading && !k->done) {
        if (k->left < 0) {
            k->left = xev_tcp_unread_bytes(k->tcp);
        }
        k->done = k->left <= 0;
    }
    if (k->done && !k->ended) {
        k->ended = true;
        xev_stream_shutdown(&k->out, &k->end, k, on_ended); /* after what is queued */
    }
    if (k->flushed && k->peer_done) {
        close_conn(k);
        return;
    }
    /* Closing with bytes unread would reset the connection and destroy what the peer has not yet
     * received from us: once our side is closed, read on until the peer closes its own. */
    bool wanted =
        k->flushed ? !k->peer_done : !k->done && queued < LOW_WATER && k->writes < WRITES_MAX / 2;
    if (wanted && !k->reading) {
        k->reading = true;
        xev_tcp_recv_multi(k->tcp, k->pool->loop, &k->recv, k, on_recv);
    }
}

void echo_conn_start(echo_pool *pool, int fd) {
    echo_conn *k = pool->free_conns;
    if (k != NULL) {
        pool->free_conns = k->next;
        pool->free_conns_len--;
    } else if ((k = malloc(sizeof *k)) == NULL) {
        pool->ended++;
        (void)xev_tcp_close_now(xev_tcp_from_fd(fd));
        return;
    }
    *k = (echo_conn){.pool = pool, .next = pool->live, .tcp = xev_tcp_from_fd(fd), .left = -1};
    if (k->next != NULL) {
        k->next->prev = k;
    }
    pool->live = k;
    xev_stream_init(&k->out, pool->loop, fd);
    xev_stream_set_timeout(&k->out, STALL_MS);
    advance(k);
}

static xev_cb_action on_stopped(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    (void)userdata;
    return XEV_DISARM;
}

void echo_pool_drain(echo_pool *pool) {
    pool->draining = true;
    for (echo_conn *k = pool->live; k != NULL; k = k->next) {
        if (k->closing) {
            continue;
        }
        if (k->reading && !k->ended) {
            /* What it has received so far is reported before it ends; then advance looks at what
             * the kernel still holds. */
            xev_cancel(pool->loop, &k->recv, &k->cancel, k, on_stopped);
        } else {
            advance(k);
        }
    }
}

void echo_pool_stop(echo_pool *pool) { pool->over = true; }

void echo_pool_free(echo_pool *pool) {
    for (echo_conn *k = pool->free_conns, *next; k != NULL; k = next) {
        next = k->next;
        free(k);
    }
    for (echo_conn *k = pool->live, *next; k != NULL; k = next) {
        next = k->next;
        (void)xev_tcp_close_now(k->tcp);
        free(k);
    }
    for (struct echo_write *w = pool->free_writes, *next; w != NULL; w = next) {
        next = w->next;
        free(w);
    }
}
