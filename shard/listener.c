/* Listeners of a shard: TCP, spread by the kernel over the SO_REUSEPORT group, or a socket that
 * listened before. */
#include <assert.h>
#include <ck_pr.h>

#include "shard/internal.h"
#include "xev/os/probe.h"

/* How many clients the drain accepts in one turn of the loop. */
#define DRAIN_ACCEPTS_PER_TURN 64
/* Where an accept has ended with an error it is tried again after RETRY_MS, then after twice as
 * long each time, up to RETRY_MAX_MS. */
#define RETRY_MS 10
#define RETRY_MAX_MS 1280
/* The same in the drain. There it is descriptors that are missing, as a rule, and connections that
 * end give some back. */
#define RETRY_DRAIN_MS 1
#define RETRY_DRAIN_MAX_MS 64
/* The most clients that a pause accepts, in case new ones keep coming. */
#define ANNOUNCED_MAX 4096

static bool is_active(xev_completion *c) {
    return xev_completion_state(c) == XEV_COMPLETION_ACTIVE;
}

/* The longest wait before another try to bind an address that is in use. */
#define ADDRESS_WAIT_MAX_MS 32

static uint32_t next_retry(uint32_t before_ms, uint32_t first_ms, uint32_t max_ms) {
    uint32_t ms = before_ms < first_ms ? first_ms : before_ms * 2;
    return ms < max_ms ? ms : max_ms;
}

/* result: a connection, or the code of a failure. */
static void report_to_callback(xev_listener *l, int result) {
    assert(xev__current_shard == l->shard);
    if (result >= 0) {
        l->accepted++;
        l->retry_ms = 0;
        ck_pr_store_64(&l->shard->accepted, l->shard->accepted + 1);
    }
    l->error = result < 0 ? result : 0;
    XEV__PROBE2(accept, l->shard->id, result);
    xev__note_call(&l->shard->loop, XEV__CODE(l->callback));
    l->callback(l, result, l->userdata);
}

/* ---- the drain ----
 *
 * Every client that the kernel has connected is served, and no other client gets connected:
 * 1. A filter on the socket drops requests for new connections. Handshakes under way go on.
 * 2. Clients are accepted until none waits, a bounded number in each turn. Where descriptors are
 *    short, the drain waits until some come free, or for its deadline.
 * 3. When an accept finds no client, the next system call ends the listening. No callback runs
 *    between the two, so that no client can arrive unseen.
 * A socket that is shared with other processes goes on listening for them: only 2 is done.
 */

static xev_cb_action on_socket_closed(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    (void)userdata;
    return XEV_DISARM;
}

/* No operation is active on the socket. */
static void close_socket(xev_listener *l) {
    assert(l->ended && !is_active(&l->accept));
    if (!is_active(&l->ending)) { /* else it is a wait of the drain, whose callback closes */
        xev_tcp_close(l->tcp, &l->shard->loop, &l->ending, l, on_socket_closed);
    }
}

/* Listen no more. clients: how many are reset because they had no accept, for the reason why. */
static void end_listening(xev_listener *l, int clients, int why) {
    assert(l->draining && !l->ended);
    if (!l->shared) {
        xev__listener_end(l->tcp.fd);
    }
    l->ended = true;
    if (clients > 0) {
        l->unserved += (uint32_t)clients;
        report_to_callback(l, why);
    }
}

static void accept_the_rest(xev_listener *l);

static xev_cb_action on_drain_wait(xev_loop *loop, xev_completion *c, int result, void *userdata) {
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

static void accept_after(xev_listener *l, uint64_t ms) {
    xev_timer_run(NULL, &l->shard->loop, &l->ending, ms, l, on_drain_wait);
}

static void accept_the_rest(xev_listener *l) {
    assert(l->draining && !l->ended && !is_active(&l->accept) && !is_active(&l->ending));
    int fds[DRAIN_ACCEPTS_PER_TURN], count = 0, rc = 0;
    while (count < DRAIN_ACCEPTS_PER_TURN && (rc = xev_tcp_accept_now(l->tcp)) >= 0) {
        fds[count++] = rc;
    }
    if (rc == XEV_EAGAIN) {
        end_listening(l, 0, 0);
    }
    for (int i = 0; i < count; i++) {
        report_to_callback(l, fds[i]);
    }
    if (l->ended) {
        close_socket(l);
    } else if (rc >= 0) {
        accept_after(l, 0);
    } else if (rc != XEV_EINVAL && xev__listener_waiting(l->tcp.fd, l->is_tcp) > 0) {
        l->retry_ms = next_retry(l->retry_ms, RETRY_DRAIN_MS, RETRY_DRAIN_MAX_MS);
        accept_after(l, l->retry_ms);
        if (l->error != rc) {
            report_to_callback(l, rc);
        }
    } else {
        end_listening(l, 0, 0); /* the program has shut it down, and no client waits any more */
        close_socket(l);
    }
}

/* ---- accepting ---- */

static void start_accepting(xev_listener *l);

static xev_cb_action on_try_again(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_listener *l = userdata;
    (void)loop;
    (void)c;
    if (result == 0 && !l->paused && !l->draining && !is_active(&l->accept)) {
        start_accepting(l);
    }
    return XEV_DISARM;
}

/* The accept has ended with an error: the program has shut the socket down, or a rule of the system
 * forbids accepts. Either may change, so try again later. */
static void try_later(xev_listener *l) {
    xev_loop *loop = &l->shard->loop;
    l->retry_ms = next_retry(l->retry_ms, RETRY_MS, RETRY_MAX_MS);
    xev_timer_reset(NULL, loop, &l->retry, NULL, l->retry_ms, l, on_try_again);
    xev_completion_unref(&l->retry); /* so that the drain does not wait for it */
}

static xev_cb_action on_accept(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_listener *l = userdata;
    (void)loop;
    bool more = xev_completion_more(c), tried_before = !more && result == l->error;
    bool gated = result == XEV_EINVAL && l->draining && !l->is_tcp; /* by the drain itself */
    if (result >= 0 || (result != XEV_ECANCELED && !l->ended && !tried_before && !gated)) {
        report_to_callback(l, result);
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
    assert(result < 0); /* after a connection there are more */
    if (result != XEV_ECANCELED && !is_active(c)) {
        try_later(l);
    }
    return XEV_DISARM;
}

static void start_accepting(xev_listener *l) {
    assert(!l->draining && !is_active(&l->accept));
    xev_tcp_accept_multi(l->tcp, &l->shard->loop, &l->accept, l, on_accept);
}

/* The accept has ended by a pause, at a socket that other processes share. An accept on io_uring
 * waits as accept(2) does: a client wakes one waiter only. It may have been this one, so the others
 * know nothing of those that wait now. (On epoll each process is woken.) A loop that is ending
 * accepts nobody, since nobody would serve them: its start has failed. */
static void accept_announced(xev_listener *l) {
    const xev_loop *loop = &l->shard->loop;
    for (int n = 0; n < ANNOUNCED_MAX && l->shared && l->paused && !l->draining && !loop->deinit &&
                    xev__listener_waiting(l->tcp.fd, l->is_tcp) > 0;
         n++) {
        int fd = xev_tcp_accept_now(l->tcp);
        if (fd < 0) {
            return; /* another process has taken it, or there is no descriptor for it */
        }
        report_to_callback(l, fd);
    }
}

static xev_cb_action on_stopped(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_listener *l = userdata;
    (void)loop;
    (void)c;
    (void)result;
    accept_announced(l);
    if (!l->paused && !l->draining && !is_active(&l->accept)) {
        start_accepting(l); /* resumed in the meantime */
    }
    return XEV_DISARM;
}

static void stop_accepting(xev_listener *l) {
    if (is_active(&l->accept) && !is_active(&l->cancel)) {
        xev_cancel(&l->shard->loop, &l->accept, &l->cancel, l, on_stopped);
    }
}

void xev__listeners_drain(xev_shard *s) {
    for (xev_listener *l = s->listeners; l != NULL; l = l->next) {
        l->draining = true;
        l->retry_ms = 0;
        if (!l->shared) {
            /* Where the filter is refused, a client that connects at the last moment may be reset.
             */
            (void)xev__listener_gate(l->tcp.fd, l->is_tcp);
        }
        if (is_active(&l->accept)) {
            stop_accepting(l);
        } else {
            accept_the_rest(l); /* it is paused, or waits after an error */
        }
    }
}

void xev__listeners_cut(xev_shard *s) {
    for (xev_listener *l = s->listeners; l != NULL; l = l->next) {
        if (l->ended) {
            continue;
        }
        l->draining = true;
        int why = l->error != 0 ? l->error : s->broken != 0 ? s->broken : XEV_ETIMEDOUT;
        end_listening(l, l->shared ? 0 : xev__listener_waiting(l->tcp.fd, l->is_tcp), why);
        if (is_active(&l->accept)) {
            stop_accepting(l);
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
        stop_accepting(l);
    }
}

void xev_listener_resume(xev_listener *l) {
    xev__shard_check(l != NULL, "xev_listener_resume", "listener is null");
    xev__shard_check_thread("xev_listener_resume", l->shard);
    l->paused = false;
    l->error = 0;
    l->retry_ms = 0;
    if (!l->draining && !is_active(&l->accept) && !is_active(&l->cancel)) {
        start_accepting(l);
    }
}

void xev__listeners_close(xev_shard *s) {
    for (xev_listener *l = s->listeners; l != NULL && !s->draining; l = l->next) {
        l->draining = true;
        (void)xev_tcp_close_now(l->tcp);
    }
}

/* Whether another program listens on addr. With SO_REUSEPORT the bind itself would not say so: the
 * socket would join that program's group. */
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
    rc = xev_tcp_bind(l->tcp, addr, xev__listeners_share());
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

/* How long to wait now for an address in use, when left_ms of the time for it are left; 0: no more.
 */
static uint32_t next_wait(uint32_t before_ms, uint32_t left_ms) {
    uint32_t ms = next_retry(before_ms, 1, ADDRESS_WAIT_MAX_MS);
    return ms < left_ms ? ms : left_ms;
}

static int begin_listener(const char *call, xev_shard *s, xev_listener *l, void *userdata,
                          xev_listener_fn callback) {
    xev__shard_check(s != NULL && l != NULL && callback != NULL, call,
                     "shard, listener or callback is null");
    xev__shard_check_thread(call, s);
    *l = (xev_listener){
        .shard = s, .callback = callback, .userdata = userdata, .tcp = {XEV_INVALID_FD}};
    return s->draining ? XEV_ECANCELED : 0; /* nothing would close it */
}

static void finish_listener(xev_listener *l) {
    l->next = l->shard->listeners;
    l->shard->listeners = l;
    start_accepting(l);
}

int xev_shard_listen_fd(xev_shard *s, xev_listener *l, xev_fd fd, bool shared, void *userdata,
                        xev_listener_fn callback) {
    int rc = begin_listener("xev_shard_listen_fd", s, l, userdata, callback);
    rc = rc == 0 ? xev__listener_check(fd, &l->is_tcp) : rc;
    if (rc < 0) {
        return rc;
    }
    l->tcp = xev_tcp_from_fd(fd);
    l->shared = shared;
    rc = l->is_tcp ? xev_tcp_set_nodelay(l->tcp, true) : 0;
    rc = rc == 0 ? xev_tcp_local_addr(l->tcp, &l->addr) : rc;
    if (rc == XEV_ENOTSUP) {
        rc = 0; /* the system does not tell addresses: it has none */
    }
    if (rc == 0) {
        finish_listener(l);
    }
    return rc;
}

int xev_shard_listen(xev_shard *s, xev_listener *l, const xev_addr *addr, int backlog,
                     void *userdata, xev_listener_fn callback) {
    int begun = begin_listener("xev_shard_listen", s, l, userdata, callback);
    if (begun < 0) {
        return begun;
    }
    l->is_tcp = true;
    if (backlog < 0) {
        return XEV_EINVAL;
    }
    /* Only an init callback waits: a shard that serves has others to serve. */
    uint32_t left_ms = s->serving ? 0 : s->rt->options.listen_retry_ms, wait_ms = 0;
    int rc;
    while ((rc = open_socket(l, addr, backlog)) == XEV_EADDRINUSE && !xev__is_to_end(s->rt) &&
           (wait_ms = next_wait(wait_ms, left_ms)) > 0) {
        assert(wait_ms <= left_ms);
        xev__sleep_ms((uint32_t)wait_ms);
        left_ms -= wait_ms;
    }
    if (rc < 0) {
        return rc;
    }
    finish_listener(l);
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
    int waiting = l->ended ? 0 : xev__listener_waiting(l->tcp.fd, l->is_tcp);
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
