/* A listener per shard, spread by the kernel over the SO_REUSEPORT group. */
#include <assert.h>
#include <ck_pr.h>

#include "shard/internal.h"

/* Clients that the drain accepts in one turn. */
#define AT_ONCE 64
/* How soon to try again where an accept has ended with an error: after this, then twice as long
 * each time. */
#define RETRY_MS 10
#define RETRY_MAX_MS 1280
/* The same in the drain. What it lacks is descriptors, as a rule; connections that end free them.
 */
#define RETRY_DRAIN_MS 1
#define RETRY_DRAIN_MAX_MS 64

static bool is_active(xev_completion *c) {
    return xev_completion_state(c) == XEV_COMPLETION_ACTIVE;
}

/* How long to wait at most before trying again for an address that is in use. */
#define ADDRESS_WAIT_MAX_MS 32

static uint32_t next_retry(uint32_t before_ms, uint32_t first_ms, uint32_t max_ms) {
    uint32_t ms = before_ms < first_ms ? first_ms : before_ms * 2;
    return ms < max_ms ? ms : max_ms;
}

static void hand_over(xev_listener *l, int result) {
    if (result >= 0) {
        l->accepted++;
        l->retry_ms = 0;
        ck_pr_store_64(&l->shard->accepted, l->shard->accepted + 1);
    }
    l->error = result < 0 ? result : 0;
    xev__note_call(&l->shard->loop, XEV__CODE(l->callback));
    l->callback(l, result, l->userdata);
}

/* ---- the drain ----
 *
 * Whoever the kernel has connected is served; nobody else gets connected. First the gate: no
 * connection begins any more, while handshakes go on. Then accept until none waits, with a bound
 * per turn; where descriptors are short, as they come free, until the drain's deadline. The call
 * that finds nobody is followed by the one that ends the listening, with no callback in between.
 */

static xev_cb_action on_closed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    (void)userdata;
    return XEV_DISARM;
}

/* No operation is active on the socket. */
static void close_socket(xev_listener *l) {
    assert(l->ended && !is_active(&l->accept));
    if (!is_active(&l->last)) { /* a wait of the drain's, which then closes */
        xev_tcp_close(l->tcp, &l->shard->loop, &l->last, l, on_closed);
    }
}

/* Listen no more. clients: as many had no accept. */
static void end_listening(xev_listener *l, int clients, int why) {
    assert(l->draining && !l->ended);
    xev__listener_end(l->tcp.fd);
    l->ended = true;
    if (clients > 0) {
        l->unserved += (uint32_t)clients;
        hand_over(l, why);
    }
}

static void accept_the_rest(xev_listener *l);

static xev_cb_action on_waited(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_listener *l = userdata;
    (void)loop;
    (void)c;
    (void)result;
    if (!l->ended) {
        accept_the_rest(l);
    } else {
        close_socket(l);
    }
    return XEV_DISARM;
}

static void wait_and_accept(xev_listener *l, uint64_t ms) {
    xev_timer_run(NULL, &l->shard->loop, &l->last, ms, l, on_waited);
}

static void accept_the_rest(xev_listener *l) {
    assert(l->draining && !l->ended && !is_active(&l->accept) && !is_active(&l->last));
    int fds[AT_ONCE], count = 0, rc = 0;
    while (count < AT_ONCE && (rc = xev_tcp_accept_now(l->tcp)) >= 0) {
        fds[count++] = rc;
    }
    if (rc == XEV_EAGAIN) {
        end_listening(l, 0, 0);
    }
    for (int i = 0; i < count; i++) {
        hand_over(l, fds[i]);
    }
    if (l->ended) {
        close_socket(l);
    } else if (rc >= 0) {
        wait_and_accept(l, 0);
    } else if (xev__listener_waiting(l->tcp.fd) > 0) {
        l->retry_ms = next_retry(l->retry_ms, RETRY_DRAIN_MS, RETRY_DRAIN_MAX_MS);
        wait_and_accept(l, l->retry_ms);
        if (l->error != rc) {
            hand_over(l, rc);
        }
    } else {
        end_listening(l, 0, 0); /* it was shut down, and nobody waits any more */
        close_socket(l);
    }
}

/* ---- accepting ---- */

static void start(xev_listener *l);

static xev_cb_action on_try_again(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_listener *l = userdata;
    (void)loop;
    (void)c;
    if (result == 0 && !l->paused && !l->draining && !is_active(&l->accept)) {
        start(l);
    }
    return XEV_DISARM;
}

/* The socket takes no accept any more: somebody has shut it down, or taken the right to use it
 * away. Both may be undone. */
static void try_later(xev_listener *l) {
    xev_loop *loop = &l->shard->loop;
    l->retry_ms = next_retry(l->retry_ms, RETRY_MS, RETRY_MAX_MS);
    xev_timer_reset(NULL, loop, &l->retry, NULL, l->retry_ms, l, on_try_again);
    xev_completion_unref(&l->retry); /* it holds no drain */
}

static xev_cb_action on_accept(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_listener *l = userdata;
    (void)loop;
    bool more = xev_completion_more(c), tried_before = !more && result == l->error;
    if (result >= 0 || (result != XEV_ECANCELED && !l->ended && !tried_before)) {
        hand_over(l, result);
    }
    if (more) {
        return XEV_REARM;
    }
    if (l->ended) {
        close_socket(l);
        return XEV_DISARM;
    }
    if (l->draining) {
        accept_the_rest(l);
        return XEV_DISARM;
    }
    assert(result < 0); /* or it would go on */
    if (result != XEV_ECANCELED && !is_active(c)) {
        try_later(l);
    }
    return XEV_DISARM;
}

static void start(xev_listener *l) {
    assert(!l->draining && !is_active(&l->accept));
    xev_tcp_accept_multi(l->tcp, &l->shard->loop, &l->accept, l, on_accept);
}

static xev_cb_action on_stopped(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_listener *l = userdata;
    (void)loop;
    (void)c;
    (void)result;
    if (!l->paused && !l->draining && !is_active(&l->accept)) {
        start(l); /* resumed in the meantime */
    }
    return XEV_DISARM;
}

static void stop(xev_listener *l) {
    if (is_active(&l->accept) && !is_active(&l->cancel)) {
        xev_cancel(&l->shard->loop, &l->accept, &l->cancel, l, on_stopped);
    }
}

void xev__listeners_drain(xev_shard *s) {
    for (xev_listener *l = s->listeners; l != NULL; l = l->next) {
        l->draining = true;
        l->retry_ms = 0;
        (void)xev__listener_gate(l->tcp.fd); /* without it a client may come at the last moment */
        if (is_active(&l->accept)) {
            stop(l);
        } else {
            accept_the_rest(l); /* it was paused, or waits after an error */
        }
    }
}

void xev__listeners_cut(xev_shard *s) {
    for (xev_listener *l = s->listeners; l != NULL; l = l->next) {
        if (l->ended) {
            continue;
        }
        int why = l->error != 0 ? l->error : XEV_ETIMEDOUT;
        end_listening(l, xev__listener_waiting(l->tcp.fd), why);
        if (is_active(&l->accept)) {
            stop(l);
        } else {
            close_socket(l);
        }
    }
}

void xev_listener_pause(xev_listener *l) {
    xev__shard_check(l != NULL, "xev_listener_pause", "listener is null");
    xev__shard_check_thread("xev_listener_pause", l->shard);
    l->paused = true;
    if (!l->draining) {
        stop(l);
    }
}

void xev_listener_resume(xev_listener *l) {
    xev__shard_check(l != NULL, "xev_listener_resume", "listener is null");
    xev__shard_check_thread("xev_listener_resume", l->shard);
    l->paused = false;
    l->error = 0;
    l->retry_ms = 0;
    if (!l->draining && !is_active(&l->accept) && !is_active(&l->cancel)) {
        start(l);
    }
}

void xev__listeners_close(xev_shard *s) {
    for (xev_listener *l = s->listeners; l != NULL && !s->draining; l = l->next) {
        l->draining = true;
        (void)xev_tcp_close_now(l->tcp);
    }
}

/* SO_REUSEPORT would let us join another program's group without a word. */
static int check_free(const xev_addr *addr) {
    xev_tcp probe;
    int rc = xev_tcp_init(&probe, xev_addr_family(addr));
    if (rc == 0) {
        rc = xev_tcp_bind(probe, addr, false);
        (void)xev_tcp_close_now(probe);
    }
    return rc;
}

/* A socket that listens. 0 or a code, by which there is none. */
static int open_socket(xev_listener *l, const xev_addr *addr, int backlog) {
    int rc = l->shard->id == 0 ? check_free(addr) : 0;
    if (rc == 0) {
        rc = xev_tcp_init(&l->tcp, xev_addr_family(addr));
    }
    if (rc < 0) {
        return rc;
    }
    rc = xev_tcp_bind(l->tcp, addr, true);
    if (rc == 0) {
        rc = xev_tcp_set_nodelay(l->tcp, true); /* which its connections inherit */
    }
    if (rc == 0) {
        rc = xev_tcp_listen(l->tcp, backlog > 0 ? backlog : 4096);
    }
    if (rc == 0) {
        rc = xev_tcp_local_addr(l->tcp, &l->addr);
    }
    if (rc < 0) {
        (void)xev_tcp_close_now(l->tcp);
    }
    return rc;
}

/* The next wait for an address in use, out of what is left of them; 0: none is. */
static uint32_t next_wait(uint32_t before_ms, uint32_t left_ms) {
    uint32_t ms = next_retry(before_ms, 1, ADDRESS_WAIT_MAX_MS);
    return ms < left_ms ? ms : left_ms;
}

int xev_shard_listen(xev_shard *s, xev_listener *l, const xev_addr *addr, int backlog,
                     void *userdata, xev_listener_fn callback) {
    xev__shard_check(s != NULL && l != NULL && callback != NULL, "xev_shard_listen",
                     "shard, listener or callback is null");
    xev__shard_check_thread("xev_shard_listen", s);
    *l = (xev_listener){.shard = s, .callback = callback, .userdata = userdata};
    if (s->draining) {
        return XEV_ECANCELED; /* nothing would close it */
    }
    if (backlog < 0) {
        return XEV_EINVAL;
    }
    /* A shard that serves is not held up. */
    uint32_t left_ms = s->serving ? 0 : s->rt->options.listen_retry_ms, wait_ms = 0;
    int rc;
    while ((rc = open_socket(l, addr, backlog)) == XEV_EADDRINUSE &&
           ck_pr_load_32(&s->rt->stops) == 0 && (wait_ms = next_wait(wait_ms, left_ms)) > 0) {
        assert(wait_ms <= left_ms);
        xev__sleep_ms((uint32_t)wait_ms);
        left_ms -= wait_ms;
    }
    if (rc < 0) {
        return rc;
    }
    l->next = s->listeners;
    s->listeners = l;
    start(l);
    return 0;
}

xev_tcp xev_listener_tcp(const xev_listener *l) {
    xev__shard_check(l != NULL, "xev_listener_tcp", "listener is null");
    xev__shard_check_thread("xev_listener_tcp", l->shard);
    return l->tcp;
}

int xev_listener_addr(const xev_listener *l, xev_addr *addr) {
    xev__shard_check(l != NULL && addr != NULL, "xev_listener_addr", "listener or room is null");
    *addr = l->addr;
    return 0;
}

xev_shard *xev_listener_shard(const xev_listener *l) {
    xev__shard_check(l != NULL, "xev_listener_shard", "listener is null");
    return l->shard;
}

void xev_listener_status_get(const xev_listener *l, xev_listener_status *out) {
    xev__shard_check(l != NULL && out != NULL, "xev_listener_status_get",
                     "listener or room is null");
    xev__shard_check_thread("xev_listener_status_get", l->shard);
    int waiting = l->ended ? 0 : xev__listener_waiting(l->tcp.fd);
    *out = (xev_listener_status){
        .state = l->ended      ? XEV_LISTENER_CLOSED
                 : l->draining ? XEV_LISTENER_DRAINING
                 : l->paused   ? XEV_LISTENER_PAUSED
                 : l->error    ? XEV_LISTENER_FAILING
                               : XEV_LISTENER_ACCEPTING,
        .error = l->error,
        .accepted = l->accepted,
        .waiting = waiting > 0 ? (uint32_t)waiting : 0,
        .unserved = l->unserved,
    };
}
