/* epoll, through the readiness adaptor.
 *
 * A descriptor is registered when an operation on it would block for the first time. The
 * registration is edge-triggered and lasts until the close. Where a reader waits it covers reading
 * alone: with EPOLLOUT a socket, which has room, would be reported at once, for nothing. Where a
 * writer waits it covers both. So most descriptors cost one epoll_ctl in their life, and those
 * whose writes find no room two. An event carries the number and the generation of the entry, never
 * a pointer. The event of a descriptor that was closed, or whose number was reused, therefore finds
 * no entry.
 *
 * The alarm (alarm.h) is a timerfd. It is never read: each time it rings is an edge.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "xev/backends/alarm.h"
#include "xev/backends/readiness.h"
#include "xev/os/descriptor.h"
#include "xev/os/linux/libc.h"
#include "xev/os/socket.h"

#define EVENTS 1024
#define WAKE_TAG UINT64_MAX
#define ALARM_TAG (UINT64_MAX - 1)

struct epoll {
    struct xev__readiness ready; /* first: the adaptor finds it there */
    int fd;
    xev_fd wake;
    xev_fd alarm_fd; /* XEV_INVALID_FD: the system refuses timers */
    struct xev__alarm alarm;
    bool no_pwait2; /* missing before Linux 5.11 and in some filters: wait in milliseconds */
    struct epoll_event events[EVENTS];
};

/* op: EPOLL_CTL_ADD or EPOLL_CTL_MOD. reports: bits by direction. 0 or a code. */
static int epoll_control(xev_loop *loop, struct xev__fd *e, int op, uint8_t reports) {
    const struct epoll *ep = loop->backend;
    const uint32_t writes = (reports & xev__bit(XEV__WRITE)) != 0 ? EPOLLOUT : 0;
    struct epoll_event ev = {
        .events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET | writes,
        .data.u64 = (uint64_t)e->gen << 32 | xev__fds_number(loop->fds, e),
    };
    xev__count(&loop->count.syscalls, 1);
    return epoll_ctl(ep->fd, op, e->fd, &ev) < 0 ? -errno : 0;
}

static int epoll_register(xev_loop *loop, struct xev__fd *e, uint8_t dirs) {
    assert(e->fd != XEV_INVALID_FD && dirs != 0 && (dirs & ~e->reports) != 0);
    uint8_t reports = xev__bit(XEV__READ) | (dirs & xev__bit(XEV__WRITE)) | e->reports;
    int op = xev__registered(e) ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int rc = epoll_control(loop, e, op, reports);
    if (rc == XEV_EEXIST && op == EPOLL_CTL_ADD) { /* for an earlier entry of this descriptor */
        rc = epoll_control(loop, e, EPOLL_CTL_MOD, reports);
    } else if (rc == XEV_ENOENT && op == EPOLL_CTL_MOD) { /* the program has closed the file */
        e->reports = 0;
        rc = epoll_control(loop, e, EPOLL_CTL_ADD, reports);
    }
    e->reports = rc == 0 ? reports & 3u : e->reports;
    return rc;
}

static bool epoll_still_reports(xev_loop *loop, struct xev__fd *e) {
    assert(xev__registered(e));
    return epoll_control(loop, e, EPOLL_CTL_MOD, e->reports) == 0; /* as before */
}

/* Found out by registering a descriptor: the limit holds for all processes of the user together
 * (fs.epoll.max_user_watches), and the kernel does not tell how much of it is used. */
static int epoll_has_room(xev_loop *loop) {
    struct epoll *ep = loop->backend;
    struct epoll_event ev = {.events = EPOLLET, .data.u64 = WAKE_TAG};
    xev_fd fd;
    int rc = xev__os_wake_open(&fd);
    xev__count(&loop->count.syscalls, 3);
    if (rc == 0) {
        rc = epoll_ctl(ep->fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
        (void)close(fd);
    }
    return rc;
}

static int epoll_failed(int code, const char *step, char *why, size_t why_len) {
    snprintf(why, why_len, "epoll: %s: %s", step, xev_strerror(code));
    return code;
}

/* Watch a descriptor of the loop's own, for edges. Closes it on failure. */
static int watch_own(struct epoll *ep, xev_fd fd, uint64_t tag) {
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = tag};
    int rc = epoll_ctl(ep->fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
    if (rc < 0) {
        (void)close(fd);
    }
    return rc;
}

/* The wake descriptor, and the alarm, where there is one. 0, or a code, and then none is left. */
static int open_own(struct epoll *ep) {
    int rc = xev__os_wake_open(&ep->wake);
    rc = rc == 0 ? watch_own(ep, ep->wake, WAKE_TAG) : rc;
    if (rc < 0) {
        return rc;
    }
    ep->alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    ep->alarm_fd = xev__os_above_std(ep->alarm_fd < 0 ? -errno : ep->alarm_fd);
    if (ep->alarm_fd < 0 && xev__os_is_refused(ep->alarm_fd)) {
        ep->alarm_fd = XEV_INVALID_FD; /* by a filter: each wait has its limit, then */
        return 0;
    }
    rc = ep->alarm_fd < 0 ? ep->alarm_fd : watch_own(ep, ep->alarm_fd, ALARM_TAG);
    if (rc < 0) {
        (void)close(ep->wake);
    }
    return rc;
}

static int epoll_init(xev_loop *loop, char *why, size_t why_len) {
    const xev_allocator *a = &loop->options.allocator;
    struct epoll *ep = xev__alloc_zeroed(a, sizeof *ep, _Alignof(max_align_t));
    if (ep == NULL) {
        return epoll_failed(XEV_ENOMEM, "state", why, why_len);
    }
    ep->ready.arm = epoll_register;
    ep->ready.has_room = epoll_has_room;
    ep->fd = epoll_create1(EPOLL_CLOEXEC);
    ep->fd = xev__os_above_std(ep->fd < 0 ? -errno : ep->fd);
    if (ep->fd < 0) {
        int rc = ep->fd;
        xev__free(a, ep, sizeof *ep);
        return epoll_failed(rc, "epoll_create1", why, why_len);
    }
    int rc = open_own(ep);
    if (rc < 0) {
        (void)close(ep->fd);
        xev__free(a, ep, sizeof *ep);
        return epoll_failed(rc, "wake descriptor and timer", why, why_len);
    }
    loop->backend = ep;
    return 0;
}

static void epoll_deinit(xev_loop *loop) {
    struct epoll *ep = loop->backend;
    if (ep->alarm_fd != XEV_INVALID_FD) {
        (void)close(ep->alarm_fd);
    }
    (void)close(ep->wake);
    (void)close(ep->fd);
    xev__free(&loop->options.allocator, ep, sizeof *ep);
}

static void epoll_forget(xev_loop *loop, struct xev__fd *e) {
    struct epoll *ep = loop->backend;
    assert(e->ops == 0);
    if (xev__registered(e)) {
        /* close alone would leave the file registered while another descriptor refers to it. */
        (void)epoll_ctl(ep->fd, EPOLL_CTL_DEL, e->fd, NULL);
        e->reports = 0;
    }
}

static bool set_alarm(xev_loop *loop, uint64_t at_ns) {
    const struct epoll *ep = loop->backend;
    if (ep->alarm_fd == XEV_INVALID_FD) {
        return false;
    }
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000u),
                                         .tv_nsec = (long)(at_ns % 1000000000u)}};
    xev__count(&loop->count.syscalls, 1);
    return timerfd_settime(ep->alarm_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0;
}

static int wait_for_events(struct epoll *ep, uint64_t timeout_ns, const char **call) {
    struct timespec ts = {
        .tv_sec = (time_t)(timeout_ns / 1000000000u),
        .tv_nsec = (long)(timeout_ns % 1000000000u),
    };
    bool for_ever = timeout_ns == UINT64_MAX;
    if (!ep->no_pwait2) {
        *call = "epoll_pwait2";
        int n = epoll_pwait2(ep->fd, ep->events, EVENTS, for_ever ? NULL : &ts, NULL);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM)) {
            return n >= 0 ? n : -errno;
        }
        ep->no_pwait2 = true;
    }
    /* Rounded up, or the wait would end before the timer is due. The wait is cut to INT32_MAX ms;
     * the core then waits again. */
    uint64_t ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    int limit = for_ever ? -1 : ms > INT32_MAX ? INT32_MAX : (int)ms;
    *call = "epoll_wait";
    int n = epoll_wait(ep->fd, ep->events, EVENTS, limit);
    return n >= 0 ? n : -errno;
}

static int epoll_poll(xev_loop *loop, uint64_t timeout_ns) {
    struct epoll *ep = loop->backend;
    const char *call;
    timeout_ns = ep->ready.head != NULL ? 0 : timeout_ns;
    timeout_ns = xev__alarm_limit(&ep->alarm, loop, timeout_ns, set_alarm);
    int n = wait_for_events(ep, timeout_ns, &call);
    assert(n <= EVENTS);
    xev__woke(loop);
    xev__count(&loop->count.syscalls, 1);
    for (int i = 0; i < n; i++) {
        const struct epoll_event *ev = &ep->events[i];
        if (ev->data.u64 == WAKE_TAG) {
            continue; /* each signal is an edge, also where earlier ones were not read */
        }
        if (ev->data.u64 == ALARM_TAG) {
            ep->alarm.rings_ns = 0;
            continue;
        }
        uint32_t gen = (uint32_t)(ev->data.u64 >> 32);
        struct xev__fd *e = xev__fds_at(loop->fds, (uint32_t)ev->data.u64, gen);
        if (e != NULL) {
            const uint32_t reads = EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP;
            const uint32_t writes = EPOLLOUT | EPOLLERR | EPOLLHUP;
            uint8_t ready = (uint8_t)(((ev->events & reads) != 0) << XEV__READ |
                                      ((ev->events & writes) != 0) << XEV__WRITE);
            xev__readiness_event(loop, &ep->ready, e, ready,
                                 (ev->events & ~(uint32_t)(EPOLLIN | EPOLLOUT)) != 0);
        }
    }
    xev__readiness_run(loop, &ep->ready);
    if (n < 0) {
        loop->failed_call = call;
    }
    return n < 0 ? n : 0;
}

static void epoll_nap(xev_loop *loop, uint32_t timeout_ms) {
    const struct epoll *ep = loop->backend;
    xev__os_wake_wait(ep->wake, timeout_ms);
}

static xev_fd epoll_descriptor(xev_loop *loop) { return ((struct epoll *)loop->backend)->fd; }

static int epoll_wake(xev_loop *loop) {
    const struct epoll *ep = loop->backend;
    return xev__os_wake_signal(ep->wake);
}

const struct xev_backend_ops xev__epoll_ops = {
    .name = "epoll",
    .kind = XEV_BACKEND_EPOLL,
    .how = XEV__HOW_BY_READINESS,
    .init = epoll_init,
    .deinit = epoll_deinit,
    .features = xev__readiness_features,
    .start = xev__readiness_start,
    .at_once = xev__readiness_at_once,
    .cancel = xev__readiness_cancel,
    .forget = epoll_forget,
    .still_reports = epoll_still_reports,
    .poll = epoll_poll,
    .nap = epoll_nap,
    .prepare = xev__readiness_prepare,
    .descriptor = epoll_descriptor,
    .wake = epoll_wake,
    .buffer_back = xev__readiness_buffer_back,
    .buffers_free = xev__readiness_buffers_free,
};
