/* WASI's poll_oneoff, through the readiness adaptor.
 *
 * poll_oneoff remembers nothing: each call is told all that is waited for, and reports conditions
 * that hold, not edges. So a descriptor stands in a list from the first time that an operation on
 * it would block, and each poll subscribes to those directions of it in which an operation waits
 * for the next report. An event carries the number and the generation of the entry.
 *
 * There is one thread. Nothing can wake a loop that sleeps, so a wake only keeps the next poll from
 * sleeping.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <wasi/api.h>

#include "xev/backends/readiness.h"
#include "xev/backends/wasi_poll.h"
#include "xev/fd.h"
#include "xev/os/clock.h"
#include "xev/os/descriptor.h"

/* Of the descriptors that may be waited for. */
struct watched {
    uint32_t number, gen;
};

struct wasi_poll {
    struct xev__readiness ready; /* first: the adaptor finds it there */
    bool woken;
    /* Room for len descriptors, and for what is told of them in one poll. */
    struct watched *watched;
    uint32_t len, room;
    __wasi_subscription_t *subs; /* two for each descriptor, and the clock's */
    __wasi_event_t *events;
};

enum { ROOM_MIN = 32 };

static size_t subs_for(uint32_t room) { return 2 * (size_t)room + 1; }

static void free_lists(xev_loop *loop) {
    struct wasi_poll *w = loop->backend;
    const xev_allocator *a = &loop->options.allocator;
    xev__free(a, w->watched, w->room * sizeof *w->watched);
    xev__free(a, w->subs, subs_for(w->room) * sizeof *w->subs);
    xev__free(a, w->events, subs_for(w->room) * sizeof *w->events);
}

/* Give the lists this much room, which is enough for what is in them. False: no memory, and they
 * are as before. */
static bool set_room(xev_loop *loop, uint32_t room) {
    struct wasi_poll *w = loop->backend;
    const xev_allocator *a = &loop->options.allocator;
    assert(room >= w->len);
    struct watched *watched = xev__alloc(a, room * sizeof *watched, _Alignof(max_align_t));
    __wasi_subscription_t *subs =
        xev__alloc(a, subs_for(room) * sizeof *subs, _Alignof(max_align_t));
    __wasi_event_t *events = xev__alloc(a, subs_for(room) * sizeof *events, _Alignof(max_align_t));
    if (watched == NULL || subs == NULL || events == NULL) {
        xev__free(a, watched, room * sizeof *watched);
        xev__free(a, subs, subs_for(room) * sizeof *subs);
        xev__free(a, events, subs_for(room) * sizeof *events);
        return false;
    }
    if (w->len > 0) {
        memcpy(watched, w->watched, w->len * sizeof *watched);
    }
    free_lists(loop);
    w->watched = watched;
    w->subs = subs;
    w->events = events;
    w->room = room;
    return true;
}

static int wasi_watch(xev_loop *loop, struct xev__fd *e, uint8_t dirs) {
    (void)dirs; /* both */
    struct wasi_poll *w = loop->backend;
    assert(!xev__registered(e) && e->fd != XEV_INVALID_FD);
    if (!xev__os_can_watch(e->fd)) {
        return XEV_EPERM;
    }
    if (w->len == w->room && !set_room(loop, 2 * w->room)) {
        return XEV_ENOMEM;
    }
    w->watched[w->len++] = (struct watched){xev__fds_number(loop->fds, e), e->gen};
    e->reports = 3;
    return 0;
}

/* The program may have closed the descriptor, and opened another file that has its number: what is
 * known of it holds no longer. Blocking again is what shows it. */
static bool wasi_still_reports(xev_loop *loop, struct xev__fd *e) {
    __wasi_fdstat_t stat;
    xev__count(&loop->count.syscalls, 1);
    return __wasi_fd_fdstat_get(e->fd, &stat) == 0 &&
           (!e->nonblocking || (stat.fs_flags & __WASI_FDFLAGS_NONBLOCK) != 0);
}

static int wasi_init(xev_loop *loop, char *why, size_t why_len) {
    const xev_allocator *a = &loop->options.allocator;
    struct wasi_poll *w = xev__alloc_zeroed(a, sizeof *w, _Alignof(max_align_t));
    loop->backend = w;
    if (w == NULL || !set_room(loop, ROOM_MIN)) {
        xev__free(a, w, sizeof *w);
        loop->backend = NULL;
        snprintf(why, why_len, "wasi_poll: state: %s", xev_strerror(XEV_ENOMEM));
        return XEV_ENOMEM;
    }
    w->ready.arm = wasi_watch;
    return 0;
}

static void wasi_deinit(xev_loop *loop) {
    struct wasi_poll *w = loop->backend;
    free_lists(loop);
    xev__free(&loop->options.allocator, w, sizeof *w);
}

/* Before the first receive or send: WASI has no flag of a call for it. */
static int keep_from_waiting(struct xev__fd *e, const xev_completion *c) {
    if (e->nonblocking || c->op == XEV__OP_POLL) {
        return 0;
    }
    int rc = xev__os_set_nonblocking(e->fd, true);
    e->nonblocking = rc == 0;
    return rc;
}

static void wasi_start(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    if (c->op == XEV__OP_POLL && (c->flags & XEV__F_MULTI) != 0) {
        xev__pend(loop, c, XEV_ENOTSUP); /* there are no edges to report */
        return;
    }
    int rc = keep_from_waiting(e, c);
    if (rc < 0) {
        xev__pend(loop, c, rc);
    } else {
        xev__readiness_start(loop, e, c);
    }
}

static int wasi_at_once(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    int rc = keep_from_waiting(e, c);
    return rc < 0 ? rc : xev__readiness_at_once(loop, e, c);
}

static void wasi_forget(xev_loop *loop, struct xev__fd *e) {
    (void)loop;
    assert(e->ops == 0);
    e->reports = 0; /* the next poll takes it off the list */
}

/* Whether a poll of e waits for one of the conditions of mask. */
static bool is_polled_for(const struct xev__fd *e, uint32_t mask) {
    const xev_completion *c = e->head[XEV__POLLS];
    while (c != NULL && (c->state != XEV__STARTED || (c->arg.io.aux & mask) == 0)) {
        c = c->at.link.next;
    }
    return c != NULL;
}

static bool is_waited_for(const struct xev__fd *e, enum xev__dir d) {
    const xev_completion *c = e->head[d];
    uint32_t mask = d == XEV__READ ? XEV_POLL_IN | XEV_POLL_HUP : XEV_POLL_OUT;
    return (c != NULL && c->state == XEV__STARTED && (e->ready & xev__bit(d)) == 0) ||
           is_polled_for(e, mask);
}

static __wasi_subscription_t subscription_to(const struct xev__fd *e, enum xev__dir d,
                                             uint32_t number) {
    __wasi_subscription_t sub = {.userdata = (uint64_t)e->gen << 32 | number};
    if (d == XEV__READ) {
        sub.u.tag = __WASI_EVENTTYPE_FD_READ;
        sub.u.u.fd_read.file_descriptor = e->fd;
    } else {
        sub.u.tag = __WASI_EVENTTYPE_FD_WRITE;
        sub.u.u.fd_write.file_descriptor = e->fd;
    }
    return sub;
}

/* Subscribe to all that is waited for, and take off the list what was closed. Returns how many
 * subscriptions that makes. */
static size_t subscribe(xev_loop *loop, struct wasi_poll *w) {
    size_t n = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->len; i++) {
        struct watched at = w->watched[i];
        const struct xev__fd *e = xev__fds_at(loop->fds, at.number, at.gen);
        if (e == NULL || !xev__registered(e)) {
            continue;
        }
        w->watched[kept++] = at;
        for (enum xev__dir d = XEV__READ; d <= XEV__WRITE; d++) {
            if (is_waited_for(e, d)) {
                w->subs[n++] = subscription_to(e, d, at.number);
            }
        }
    }
    w->len = kept;
    assert(n < subs_for(w->room));
    return n;
}

static void take_event(xev_loop *loop, struct wasi_poll *w, const __wasi_event_t *event) {
    struct xev__fd *e =
        xev__fds_at(loop->fds, (uint32_t)event->userdata, (uint32_t)(event->userdata >> 32));
    if (event->type == __WASI_EVENTTYPE_CLOCK || e == NULL) {
        return;
    }
    enum xev__dir d = event->type == __WASI_EVENTTYPE_FD_READ ? XEV__READ : XEV__WRITE;
    bool hangup = (event->fd_readwrite.flags & __WASI_EVENTRWFLAGS_FD_READWRITE_HANGUP) != 0;
    xev__readiness_event(loop, &w->ready, e, xev__bit(d), event->error != 0 || hangup);
}

static int wasi_poll_events(xev_loop *loop, uint64_t timeout_ns) {
    struct wasi_poll *w = loop->backend;
    size_t subs = subscribe(loop, w);
    if (w->woken || w->ready.head != NULL) {
        timeout_ns = 0;
    }
    w->woken = false;
    __wasi_size_t n = 0;
    __wasi_errno_t error = 0;
    if (subs > 0 || timeout_ns > 0) {
        /* A relative time: node:wasi never reports an absolute one. Without any limit the loop
         * waits for what nobody can bring about; a limit of a day then has the same effect. */
        const uint64_t day_ns = 86400u * 1000000000ull;
        if (timeout_ns != UINT64_MAX || subs == 0) {
            w->subs[subs++] = (__wasi_subscription_t){
                .u = {.tag = __WASI_EVENTTYPE_CLOCK,
                      .u.clock = {.id = __WASI_CLOCKID_MONOTONIC,
                                  .timeout = timeout_ns < day_ns ? timeout_ns : day_ns}}};
        }
        xev__count(&loop->count.syscalls, 1);
        error = __wasi_poll_oneoff(w->subs, w->events, subs, &n);
        n = error == 0 ? n : 0;
    }
    assert(n <= subs);
    xev__woke(loop);
    for (__wasi_size_t i = 0; i < n; i++) {
        take_event(loop, w, &w->events[i]);
    }
    xev__readiness_run(loop, &w->ready);
    w->woken = false; /* the turn goes on to the inbox anyway */
    if (w->room > 4 * ROOM_MIN && w->len < w->room / 4) {
        (void)set_room(loop, w->room / 2);
    }
    if (error != 0) {
        loop->failed_call = "poll_oneoff";
    }
    return -(int)error;
}

static void wasi_nap(xev_loop *loop, uint32_t timeout_ms) {
    (void)loop;
    xev__os_sleep_ms(timeout_ms);
}

static xev_fd wasi_descriptor(xev_loop *loop) {
    (void)loop;
    return XEV_ENOTSUP;
}

static int wasi_wake(xev_loop *loop) {
    struct wasi_poll *w = loop->backend;
    w->woken = true;
    return 0;
}

const struct xev_backend_ops xev__wasi_poll_ops = {
    .name = "wasi_poll",
    .kind = XEV_BACKEND_WASI_POLL,
    .how = XEV__HOW_WASI_POLL,
    .init = wasi_init,
    .deinit = wasi_deinit,
    .features = xev__readiness_features,
    .start = wasi_start,
    .at_once = wasi_at_once,
    .cancel = xev__readiness_cancel,
    .forget = wasi_forget,
    .still_reports = wasi_still_reports,
    .poll = wasi_poll_events,
    .nap = wasi_nap,
    .prepare = xev__readiness_prepare,
    .descriptor = wasi_descriptor,
    .wake = wasi_wake,
    .buffer_back = xev__readiness_buffer_back,
    .buffers_free = xev__readiness_buffers_free,
};
