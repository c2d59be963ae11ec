/* A listener per shard, spread by the kernel over the SO_REUSEPORT group. */
#include <ck_pr.h>

#include "shard/internal.h"

static xev_cb_action on_nothing(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    (void)userdata;
    return XEV_DISARM;
}

static void hand_over(xev_listener *l, int result) {
    if (result >= 0) {
        l->accepted++;
        ck_pr_store_64(&l->shard->accepted, l->shard->accepted + 1);
    }
    l->callback(l, result, l->userdata);
}

static bool is_active(xev_completion *c) {
    return xev_completion_state(c) == XEV_COMPLETION_ACTIVE;
}

/* Nothing is accepted any more, and the drain has begun. */
static void close_listener(xev_listener *l) {
    /* These clients are connected, whether we have seen them or not. */
    int fd;
    while ((fd = xev_tcp_accept_now(l->tcp)) >= 0) {
        hand_over(l, fd);
    }
    if (fd != XEV_EAGAIN) {
        hand_over(l, fd); /* why there may be more of them */
    }
    xev_tcp_close(l->tcp, &l->shard->loop, &l->close, l, on_nothing);
}

static xev_cb_action on_accept(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_listener *l = userdata;
    (void)loop;
    if (result != XEV_ECANCELED) {
        hand_over(l, result);
    }
    if (xev_completion_more(c)) {
        return XEV_REARM;
    }
    if (l->draining) {
        close_listener(l);
        return XEV_DISARM;
    }
    return l->paused || is_active(c) ? XEV_DISARM : XEV_REARM;
}

static void start(xev_listener *l) {
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
        if (is_active(&l->accept)) {
            stop(l);
        } else {
            close_listener(l); /* it was paused */
        }
    }
}

void xev_listener_pause(xev_listener *l) {
    xev__shard_check(l != NULL, "xev_listener_pause", "listener is null");
    l->paused = true;
    if (!l->draining) {
        stop(l);
    }
}

void xev_listener_resume(xev_listener *l) {
    xev__shard_check(l != NULL, "xev_listener_resume", "listener is null");
    l->paused = false;
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

int xev_shard_listen(xev_shard *s, xev_listener *l, const xev_addr *addr, int backlog,
                     void *userdata, xev_listener_fn callback) {
    xev__shard_check(s != NULL && l != NULL && callback != NULL, "xev_shard_listen",
                     "shard, listener or callback is null");
    *l = (xev_listener){.shard = s, .callback = callback, .userdata = userdata};
    if (s->draining) {
        return XEV_ECANCELED; /* nothing would close it */
    }
    int rc = backlog < 0 ? XEV_EINVAL : s->id == 0 ? check_free(addr) : 0;
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
        return rc;
    }
    l->next = s->listeners;
    s->listeners = l;
    start(l);
    return 0;
}

xev_tcp xev_listener_tcp(const xev_listener *l) {
    xev__shard_check(l != NULL, "xev_listener_tcp", "listener is null");
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
