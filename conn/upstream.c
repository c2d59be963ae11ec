/* Groups of upstreams: the choice of one, failures, checks.
 *
 * An upstream is in or out. Out, it waits for its timer, and then for the check that this begins,
 * or without checks for the trial by a client. One timer per upstream; while a check is under way
 * it is not armed.
 */
#include <string.h>

#include "conn/internal.h"
#include "conn/upstream.h"

static const xev_conn_handlers check_handlers;
static void arm(struct xev__upstream *up, uint32_t ms);

/* ---- in and out ---- */

static void tell_changed(struct xev__upstream *up, int code) {
    const xev_upstreams_options *o = &up->group->options;
    if (o->changed != NULL) {
        o->changed(up->group, up->number, code, o->userdata);
    }
}

/* It answered. */
static void is_well(struct xev__upstream *up) {
    bool was_out = up->out || up->trial;
    up->out = up->trial = false;
    up->fails = 0;
    up->out_ms = 0;
    if (was_out) {
        if (up->check == NULL && up->group->options.check_ms != UINT32_MAX) {
            arm(up, up->group->options.check_ms);
        }
        xev__pool_fill(up);
        tell_changed(up, 0);
    }
}

/* Leave it out, for longer than the last time if it has not answered since. */
static void leave_out(struct xev__upstream *up, int code) {
    const xev_upstreams_options *o = &up->group->options;
    bool was_out = up->out;
    uint32_t doubled = up->out_ms < o->out_max_ms / 2 ? up->out_ms * 2 : o->out_max_ms;
    up->out = true;
    up->trial = false;
    up->out_ms = up->out_ms == 0 ? o->out_ms : doubled;
    if (up->check == NULL) {
        arm(up, up->out_ms);
    }
    if (!was_out) {
        xev__pool_drop(up);
        tell_changed(up, code);
    }
}

/* Failures that have nothing to do with whom one connects to. */
static bool is_own_failure(int code) {
    return code == XEV_EMFILE || code == XEV_ENFILE || code == XEV_ENOMEM || code == XEV_ENOBUFS ||
           code == XEV_EADDRNOTAVAIL;
}

static void count_failure(struct xev__upstream *up, int code) {
    up->failed++;
    up->code = code;
    if (up->fails < UINT32_MAX) {
        up->fails++;
    }
}

/* ---- checks ---- */

static xev_cb_action on_upstream_timer(xev_loop *loop, xev_completion *k, int result,
                                       void *userdata) {
    struct xev__upstream *up = userdata;
    xev_upstreams *group = up->group;
    (void)loop;
    (void)k;
    if (result < 0 || group->service->draining) {
        return XEV_DISARM;
    }
    assert(up->check == NULL);
    if (group->options.check_ms == UINT32_MAX) {
        up->out = false;
        up->trial = true; /* the next failure leaves it out again */
        up->fails = group->options.fails_max - 1;
        return XEV_DISARM;
    }
    const xev_conn_connect_options o = {.handlers = &check_handlers,
                                        .timeout_ms = group->options.connect_ms};
    if (xev__conn_dial(group->service, &up->addr, 1, &o, up, XEV__UPSTREAM_CHECK, &up->check) < 0) {
        arm(up, up->out ? up->out_ms : group->options.check_ms); /* no room for it now */
    }
    return XEV_DISARM;
}

static void arm(struct xev__upstream *up, uint32_t ms) {
    xev_timer_reset(NULL, up->group->service->loop, &up->timer, NULL, ms, up, on_upstream_timer);
    xev_completion_unref(&up->timer);
}

static void on_check_opened(xev_conn *c) { xev__conn_close(c, XEV_CONN_ENDED, 0); }

static ptrdiff_t on_check_data(xev_conn *c, const void *data, size_t len_bytes) {
    (void)c;
    (void)data;
    return (ptrdiff_t)len_bytes;
}

static const xev_conn_handlers check_handlers = {.opened = on_check_opened, .data = on_check_data};

static void check_ended(struct xev__upstream *up, int code) {
    const xev_upstreams_options *o = &up->group->options;
    up->check = NULL;
    if (code == 0) {
        is_well(up);
        xev__pool_fill(up);
        arm(up, o->check_ms);
    } else if (is_own_failure(code)) {
        arm(up, up->out ? up->out_ms : o->check_ms);
    } else {
        count_failure(up, code);
        if (up->out || up->fails >= o->fails_max) {
            leave_out(up, code);
        } else {
            arm(up, o->check_ms);
        }
    }
}

/* ---- the choice ---- */

/* The best of those that are not tried; among them those that are in, or all. NULL: none. */
static struct xev__upstream *choose_among(xev_upstreams *group, uint64_t tried, bool all) {
    struct xev__upstream *best = NULL;
    for (uint32_t i = 0; i < group->count; i++) {
        struct xev__upstream *up = &group->upstream[(group->cursor + i) % group->count];
        if ((tried >> up->number & 1) != 0 || (up->out && !all)) {
            continue;
        }
        if (best == NULL || up->connections < best->connections) {
            best = up;
        }
        if (group->options.policy == XEV_UPSTREAM_ROUND_ROBIN) {
            break;
        }
    }
    return best;
}

static struct xev__upstream *choose_upstream(xev_upstreams *group, uint64_t tried) {
    struct xev__upstream *up = choose_among(group, tried, false);
    if (up == NULL) {
        up = choose_among(group, tried, true);
    }
    if (up != NULL) {
        group->cursor = (up->number + 1) % group->count;
    }
    return up;
}

static bool may_try_more(const xev_upstreams *group, uint64_t tried) {
    uint32_t n = 0;
    for (; tried != 0; tried &= tried - 1) {
        n++;
    }
    return n < group->options.tries;
}

/* ---- what connections report ---- */

void xev__upstream_connected(xev_conn *c) {
    struct xev__upstream *up = c->more->upstream;
    if (c->more->upstream_role == XEV__UPSTREAM_CHECK) {
        check_ended(up, 0);
    } else {
        up->connected++;
        is_well(up);
    }
}

const xev_addr *xev__upstream_failed(xev_conn *c, int code, uint64_t *tried) {
    struct xev__upstream *up = c->more->upstream;
    xev_upstreams *group = up->group;
    if (c->more->upstream_role == XEV__UPSTREAM_CHECK) {
        check_ended(up, code);
        return NULL;
    }
    if (is_own_failure(code)) {
        return NULL;
    }
    *tried |= UINT64_C(1) << up->number;
    count_failure(up, code);
    if (!up->out && up->fails >= group->options.fails_max) {
        leave_out(up, code);
    }
    bool may_try = c->more->upstream_role == XEV__UPSTREAM_USE && may_try_more(group, *tried);
    struct xev__upstream *next = may_try ? choose_upstream(group, *tried) : NULL;
    if (next == NULL) {
        return NULL;
    }
    assert(up->connections > 0);
    up->connections--;
    next->connections++;
    c->more->upstream = next;
    return &next->addr;
}

void xev__upstream_gone(xev_conn *c) {
    struct xev__upstream *up = c->more->upstream;
    if (c->more->upstream_role == XEV__UPSTREAM_USE) {
        assert(up->connections > 0);
        up->connections--;
    } else if (c->more->upstream_role == XEV__UPSTREAM_AHEAD) {
        assert(up->opening > 0);
        up->opening--;
    } else if (c->more->upstream_role == XEV__UPSTREAM_IDLE) {
        xev__pool_unlink(c);
    } else if (up->check == c) { /* somebody has ended it before it could tell */
        const xev_loop *loop = up->group->service->loop;
        up->check = NULL;
        if (loop->ops != NULL && !loop->deinit) {
            arm(up, up->out ? up->out_ms : up->group->options.check_ms);
        }
    }
}

/* ---- the calls ---- */

static void set_upstream_defaults(xev_upstreams_options *o, size_t count) {
    o->tries = o->tries != 0 ? o->tries : (uint32_t)count;
    o->connect_ms = o->connect_ms != 0 ? o->connect_ms : 3000;
    o->fails_max = o->fails_max != 0 ? o->fails_max : 1;
    o->out_ms = o->out_ms != 0 ? o->out_ms : 1000;
    o->out_max_ms = o->out_max_ms != 0 ? o->out_max_ms : 60000;
    o->check_ms = o->check_ms != 0 ? o->check_ms : 5000;
    o->idle_ms = o->idle_ms != 0 ? o->idle_ms : 60000;
}

/* NULL: nothing is wrong. */
static const char *wrong_upstreams(const xev_addr *addrs, size_t count,
                                   const xev_upstreams_options *o) {
    const char *why = xev__wrong_addrs(addrs, count, XEV_UPSTREAMS_MAX);
    return why != NULL                                            ? why
           : (unsigned)o->policy > XEV_UPSTREAM_LEAST_CONNECTIONS ? "policy is none that there is"
           : o->out_ms > o->out_max_ms
               ? "out_ms (1000 if it is not set) is above out_max_ms (60000)"
           : o->ahead > 0 && o->check_ms == UINT32_MAX ? "ahead is set, and check_ms says no checks"
                                                       : NULL;
}

int xev_upstreams_new(xev_upstreams **group, xev_conn_service *service, const xev_addr *addrs,
                      size_t count, const xev_upstreams_options *options) {
    const char *call = "xev_upstreams_new";
    xev__conn_check(call, group);
    xev__conn_check_service(call, service);
    xev__conn_check(call, options);
    if (addrs == NULL && count > 0) {
        xev__conn_misuse(call, "addresses are null", service);
    }
    *group = NULL;
    xev_upstreams_options o = *options;
    set_upstream_defaults(&o, count);
    const char *why = wrong_upstreams(addrs, count, &o);
    if (why != NULL) {
        return xev__refuse(why, NULL);
    }
    xev_allocator a = service->loop->options.allocator;
    xev_upstreams *g = xev__alloc_zeroed(&a, sizeof *g + count * sizeof g->upstream[0], 64);
    if (g == NULL) {
        return XEV_ENOMEM;
    }
    g->service = service;
    g->allocator = a;
    g->options = o;
    g->count = (uint32_t)count;
    for (uint32_t i = 0; i < g->count; i++) {
        g->upstream[i].group = g;
        g->upstream[i].number = i;
        g->upstream[i].addr = addrs[i];
        if (o.check_ms != UINT32_MAX) {
            arm(&g->upstream[i], o.check_ms);
        }
    }
    g->next = service->groups;
    service->groups = g;
    *group = g;
    for (uint32_t i = 0; i < g->count; i++) {
        xev__pool_fill(&g->upstream[i]);
    }
    return 0;
}

void xev__upstreams_orphan(xev_conn_service *s) {
    for (xev_upstreams *g = s->groups; g != NULL; g = g->next) {
        g->service = NULL;
    }
}

void xev_upstreams_free(xev_upstreams *group) {
    if (group != NULL) {
        if (group->service != NULL) {
            xev__conn_misuse("xev_upstreams_free", "its service is not freed", group);
        }
        xev_allocator a = group->allocator;
        xev__free(&a, group, sizeof *group + group->count * sizeof group->upstream[0]);
    }
}

int xev_upstreams_connect(xev_upstreams *group, const xev_conn_handlers *handlers,
                          xev_conn **conn) {
    const char *call = "xev_upstreams_connect";
    xev__conn_check(call, group);
    xev__conn_check(call, conn);
    if (group->service == NULL) {
        xev__conn_misuse(call, "its service is freed", group);
    }
    xev__check_thread(call, group->service->loop);
    if (handlers != NULL && handlers->data == NULL) {
        xev__conn_misuse(call, "data handler is null", group);
    }
    struct xev__upstream *up = choose_upstream(group, 0);
    const xev_conn_connect_options o = {.handlers = handlers,
                                        .timeout_ms = group->options.connect_ms};
    up->connections++;
    *conn = xev__pool_take(up, handlers);
    if (*conn != NULL) {
        xev__pool_fill(up);
        return 0;
    }
    int rc = xev__conn_dial(group->service, &up->addr, 1, &o, up, XEV__UPSTREAM_USE, conn);
    if (rc < 0) {
        up->connections--;
    }
    return rc;
}

uint32_t xev_upstream_number(const xev_conn *c) {
    xev__conn_check_own("xev_upstream_number", c);
    return c->more != NULL && c->more->upstream != NULL ? c->more->upstream->number : UINT32_MAX;
}

uint32_t xev_upstreams_count(const xev_upstreams *group) {
    xev__conn_check("xev_upstreams_count", group);
    return group->count;
}

void xev_upstream_count(const xev_upstreams *group, uint32_t number, xev_upstream_counters *out) {
    xev__conn_check("xev_upstream_count", group);
    xev__conn_check("xev_upstream_count", out);
    *out = (xev_upstream_counters){0};
    if (number < group->count) {
        const struct xev__upstream *up = &group->upstream[number];
        *out = (xev_upstream_counters){
            .addr = up->addr,
            .out = up->out,
            .out_ms = up->out_ms,
            .connections = up->connections,
            .idle = up->idle,
            .connected = up->connected,
            .reused = up->reused,
            .failed = up->failed,
            .code = up->code,
        };
    }
}
