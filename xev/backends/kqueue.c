/* kqueue, through the readiness adaptor: macOS, FreeBSD, NetBSD, OpenBSD.
 *
 * A descriptor is added when an operation on it would block for the first time: EVFILT_READ with
 * EV_CLEAR, once, until the close. EVFILT_WRITE is added for each time that there is no room, with
 * EV_ONESHOT, since each acknowledgement of the peer would be an event; or with EV_CLEAR while the
 * descriptor is polled. What is to be added is kept, and goes to the kernel with the next wait. The
 * kernel looks at the condition then, so nothing that happened in between is lost. What is to be
 * taken away goes to the kernel at once, and is never kept.
 *
 * An event carries the number and the generation of the entry, never a pointer. A knote belongs to
 * the descriptor's number and ends with its close, also while a dup of it is open; a change that
 * was kept for a descriptor that has been closed meanwhile is dropped with its entry.
 *
 * What the kernel refuses comes as an event with EV_ERROR, since the list of events has room for
 * all changes. Such events come alone: the kernel has then waited for nothing, and the others come
 * with the next wait.
 *
 * A wake is EVFILT_USER; where the kernel has none (OpenBSD before 7.7, NetBSD before 10), a byte
 * in a pipe. */
#include <sys/types.h>

#include <sys/event.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "xev/backends/readiness.h"
#include "xev/fd.h"
#include "xev/os/clock.h"
#include "xev/os/descriptor.h"

#define EVENTS 512
#define CHANGES 256
#define WAKE_TAG UINT64_MAX
/* The udata of an event is a pointer. Systems with smaller ones have no room for the generation. */
_Static_assert(sizeof(uintptr_t) == sizeof(uint64_t), "a tag fits the udata of an event");

struct kqueue {
    struct xev__readiness ready; /* first: the adaptor finds it there */
    int fd;
    xev_fd wake_read, wake_write;   /* the pipe, where there is no EVFILT_USER */
    uint32_t woken;                 /* atomic: for nap, which does not look at the queue */
    uint16_t changes_len;           /* NetBSD counts by size_t, the others by int */
    struct kevent changes[CHANGES]; /* to be made with the next wait */
    struct kevent events[EVENTS];
};

static uint64_t tag_of(const xev_loop *loop, const struct xev__fd *e) {
    return (uint64_t)e->gen << 32 | xev__fds_number(loop->fds, e);
}

static struct xev__fd *entry_of(const xev_loop *loop, uint64_t tag) {
    return xev__fds_at(loop->fds, (uint32_t)tag, (uint32_t)(tag >> 32));
}

static uint64_t tag_in(const struct kevent *ev) { return (uint64_t)(uintptr_t)ev->udata; }

static void set_change(struct kevent *change, xev_fd fd, int filter, unsigned flags, uint64_t tag) {
    *change = (struct kevent){0};
    change->ident = (uintptr_t)fd;
    change->filter = (__typeof__(change->filter))filter;
    change->flags = (__typeof__(change->flags))flags;
    change->udata = (__typeof__(change->udata))(uintptr_t)tag;
}

/* Make changes now; 0, or the code of the first one that was refused. EV_RECEIPT: the kernel
 * returns an answer for each of them, and no other event. */
static int change_now(xev_loop *loop, struct kevent *changes, uint16_t count) {
    const struct kqueue *kq = loop->backend;
    for (int i = 0; i < count; i++) {
        changes[i].flags |= EV_RECEIPT;
    }
    const struct timespec at_once = {0};
    xev__count(&loop->count.syscalls, 1);
    int n = kevent(kq->fd, changes, count, changes, count, &at_once);
    if (n < 0) {
        return -errno;
    }
    for (int i = 0; i < n; i++) {
        if ((changes[i].flags & EV_ERROR) != 0 && changes[i].data != 0) {
            return -(int)changes[i].data;
        }
    }
    return 0;
}

/* The changes that begin the reports on e in the directions dirs. */
static uint16_t changes_for(const xev_loop *loop, struct xev__fd *e, uint8_t dirs,
                            struct kevent changes[2]) {
    uint16_t n = 0;
    if ((dirs & xev__bit(XEV__READ)) != 0) {
        set_change(&changes[n++], e->fd, EVFILT_READ, EV_ADD | EV_CLEAR, tag_of(loop, e));
    }
    if ((dirs & xev__bit(XEV__WRITE)) != 0) {
        e->writes_once = e->head[XEV__POLLS] == NULL;
        set_change(&changes[n++], e->fd, EVFILT_WRITE,
                   EV_ADD | (e->writes_once ? EV_ONESHOT : EV_CLEAR), tag_of(loop, e));
    }
    return n;
}

static int kqueue_arm(xev_loop *loop, struct xev__fd *e, uint8_t dirs) {
    struct kqueue *kq = loop->backend;
    uint8_t missing = (uint8_t)(dirs & ~e->reports) & 3u;
    assert(missing != 0 && e->fd != XEV_INVALID_FD);
    if (e->head[XEV__POLLS] != NULL && !xev__os_can_watch(e->fd)) {
        return XEV_EPERM; /* the kernel would watch the end of a regular file; poll(2) does not */
    }
    /* Urgent data is not reported, and a receive stops before it: a short one does not show that
     * the stream is empty. */
    e->short_read = XEV__SHORT_IS_NOTHING;
    if (kq->changes_len + 2 > CHANGES) {
        struct kevent changes[2];
        int rc = change_now(loop, changes, changes_for(loop, e, missing, changes));
        e->reports = (e->reports | (rc == 0 ? missing : 0)) & 3u;
        return rc;
    }
    uint16_t len = kq->changes_len;
    kq->changes_len = (uint16_t)(len + changes_for(loop, e, missing, &kq->changes[len]));
    e->changing = true;
    e->reports = (e->reports | missing) & 3u;
    return 0;
}

/* The changes that are kept for e are not to be made. */
static void drop_changes(const xev_loop *loop, struct kqueue *kq, struct xev__fd *e) {
    uint64_t tag = tag_of(loop, e);
    for (int i = kq->changes_len; e->changing && i-- > 0;) {
        if (tag_in(&kq->changes[i]) == tag) {
            uint8_t dir = kq->changes[i].filter == EVFILT_READ ? 1u << XEV__READ : 1u << XEV__WRITE;
            e->reports &= (uint8_t)~dir & 3u;
            kq->changes[i] = kq->changes[--kq->changes_len];
        }
    }
    e->changing = false;
}

static void kqueue_start(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    if (c->op == XEV__OP_POLL && c->arg.io.aux == XEV_POLL_PRI) {
        xev__pend(loop, c, XEV_ENOTSUP); /* no filter reports urgent data on all these systems */
        return;
    }
    xev__readiness_start(loop, e, c);
}

static void kqueue_forget(xev_loop *loop, struct xev__fd *e) {
    struct kqueue *kq = loop->backend;
    assert(e->ops == 0);
    drop_changes(loop, kq, e);
    struct kevent changes[2];
    uint16_t n = 0;
    if ((e->reports & xev__bit(XEV__READ)) != 0) {
        set_change(&changes[n++], e->fd, EVFILT_READ, EV_DELETE, 0);
    }
    if ((e->reports & xev__bit(XEV__WRITE)) != 0) {
        set_change(&changes[n++], e->fd, EVFILT_WRITE, EV_DELETE, 0);
    }
    if (n > 0) {
        (void)change_now(loop, changes, n); /* refused: the descriptor was closed, and it is gone */
    }
    e->reports = 0;
}

/* EV_ENABLE changes nothing, and is refused where the knote has gone with an earlier descriptor of
 * this number. */
static bool kqueue_still_reports(xev_loop *loop, struct xev__fd *e) {
    struct kqueue *kq = loop->backend;
    assert(xev__registered(e));
    drop_changes(loop, kq, e);
    struct kevent change[1];
    if ((e->reports & xev__bit(XEV__READ)) != 0) {
        set_change(change, e->fd, EVFILT_READ, EV_ENABLE, tag_of(loop, e));
    } else if ((e->reports & xev__bit(XEV__WRITE)) != 0) {
        set_change(change, e->fd, EVFILT_WRITE, EV_ENABLE, tag_of(loop, e));
    } else {
        return false;
    }
    return change_now(loop, change, 1) == 0;
}

/* ---- wake ---- */

static int open_pipe(xev_loop *loop, struct kqueue *kq) {
    int rc = xev__os_pipe(&kq->wake_read, &kq->wake_write);
    if (rc == 0) {
        rc = xev__os_set_nonblocking(kq->wake_read, true);
        rc = rc == 0 ? xev__os_set_nonblocking(kq->wake_write, true) : rc;
        struct kevent change[1];
        set_change(change, kq->wake_read, EVFILT_READ, EV_ADD | EV_CLEAR, WAKE_TAG);
        rc = rc == 0 ? change_now(loop, change, 1) : rc;
        if (rc < 0) {
            (void)xev__os_close(kq->wake_read);
            (void)xev__os_close(kq->wake_write);
        }
    }
    return rc;
}

static int open_wake(xev_loop *loop, struct kqueue *kq) {
    kq->wake_read = kq->wake_write = XEV_INVALID_FD;
    int rc = XEV_EINVAL;
#if defined(EVFILT_USER)
    struct kevent change[1];
    set_change(change, 0, EVFILT_USER, EV_ADD | EV_CLEAR, WAKE_TAG);
    rc = change_now(loop, change, 1);
#endif
    return rc == XEV_EINVAL ? open_pipe(loop, kq) : rc;
}

static int trigger_wake(const struct kqueue *kq) {
    const char byte = 0;
    if (kq->wake_write != XEV_INVALID_FD) {
        /* A full pipe: the bytes in it are as good. */
        return write(kq->wake_write, &byte, 1) == 1 || errno == EAGAIN ? 0 : -errno;
    }
#if defined(EVFILT_USER)
    struct kevent change[1];
    set_change(change, 0, EVFILT_USER, 0, WAKE_TAG);
    change->fflags = NOTE_TRIGGER;
    return kevent(kq->fd, change, 1, NULL, 0, NULL) < 0 ? -errno : 0;
#else
    return XEV_EBADF;
#endif
}

static int kqueue_wake(xev_loop *loop) {
    enum { TRIES = 8 };
    struct kqueue *kq = loop->backend;
    int saved = errno, rc = XEV_EINTR; /* a signal handler may be the caller, and must keep errno */
    __atomic_store_n(&kq->woken, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < TRIES && rc < 0; i++) {
        rc = trigger_wake(kq);
    }
    errno = saved;
    return rc;
}

static void see_wake(struct kqueue *kq) {
    char bytes[512];
    while (kq->wake_read != XEV_INVALID_FD && read(kq->wake_read, bytes, sizeof bytes) > 0) {
    }
}

/* The queue cannot be waited for. This is rare, and lasts some ms: look, and look again. */
static void kqueue_nap(xev_loop *loop, uint32_t timeout_ms) {
    struct kqueue *kq = loop->backend;
    for (uint32_t ms = 0; ms < timeout_ms; ms++) {
        if (__atomic_exchange_n(&kq->woken, 0, __ATOMIC_ACQUIRE) != 0) {
            return;
        }
        xev__os_sleep_ms(1);
    }
}

/* ---- the backend ---- */

static int kqueue_failed(int code, const char *step, char *why, size_t why_len) {
    snprintf(why, why_len, "kqueue: %s: %s", step, xev_strerror(code));
    return code;
}

static int kqueue_init(xev_loop *loop, char *why, size_t why_len) {
    const xev_allocator *a = &loop->options.allocator;
    struct kqueue *kq = xev__alloc_zeroed(a, sizeof *kq, _Alignof(max_align_t));
    if (kq == NULL) {
        return kqueue_failed(XEV_ENOMEM, "state", why, why_len);
    }
    kq->ready.arm = kqueue_arm;
    int fd = kqueue();
    kq->fd = xev__os_above_std(fd < 0 ? -errno : fd);
    if (kq->fd < 0) {
        int rc = kq->fd;
        xev__free(a, kq, sizeof *kq);
        return kqueue_failed(rc, "kqueue", why, why_len);
    }
    loop->backend = kq;
    int rc = xev__os_set_cloexec(kq->fd);
    rc = rc == 0 ? open_wake(loop, kq) : rc;
    if (rc < 0) {
        loop->backend = NULL;
        (void)close(kq->fd);
        xev__free(a, kq, sizeof *kq);
        return kqueue_failed(rc, "wake", why, why_len);
    }
    return 0;
}

static void kqueue_deinit(xev_loop *loop) {
    struct kqueue *kq = loop->backend;
    if (kq->wake_read != XEV_INVALID_FD) {
        (void)close(kq->wake_read);
        (void)close(kq->wake_write);
    }
    if (!xev__forked(loop)) { /* a forked child has no queue, and its number may be another's */
        (void)close(kq->fd);
    }
    xev__free(&loop->options.allocator, kq, sizeof *kq);
}

static void see_event(xev_loop *loop, struct kqueue *kq, const struct kevent *ev) {
    struct xev__fd *e = entry_of(loop, tag_in(ev));
    if (tag_in(ev) == WAKE_TAG) {
        see_wake(kq);
        return;
    }
    if (e == NULL) {
        return; /* of a descriptor that the loop has let go of */
    }
    uint8_t dir = xev__bit(ev->filter == EVFILT_READ ? XEV__READ : XEV__WRITE);
    if ((ev->flags & EV_ERROR) != 0) {
        if (ev->data != 0) {
            xev__readiness_refused(loop, e, dir, -(int)ev->data);
        }
        return;
    }
    if (ev->filter == EVFILT_WRITE && e->writes_once) {
        e->reports &= (uint8_t)~dir & 3u;
    }
    xev__readiness_event(loop, &kq->ready, e, dir, (ev->flags & EV_EOF) != 0);
}

/* The changes have been made, or refused by events. */
static void end_changes(const xev_loop *loop, struct kqueue *kq) {
    for (int i = 0; i < kq->changes_len; i++) {
        struct xev__fd *e = entry_of(loop, tag_in(&kq->changes[i]));
        if (e != NULL) {
            e->changing = false;
        }
    }
    kq->changes_len = 0;
}

static int kqueue_poll(xev_loop *loop, uint64_t timeout_ns) {
    /* FreeBSD takes a longer time for 24 hours, others refuse some. The core then waits again. */
    const uint64_t longest_s = 3600;
    struct kqueue *kq = loop->backend;
    timeout_ns = kq->ready.head != NULL ? 0 : timeout_ns;
    uint64_t s = timeout_ns / 1000000000u;
    struct timespec ts = {
        .tv_sec = (time_t)(s < longest_s ? s : longest_s),
        .tv_nsec = (long)(s < longest_s ? timeout_ns % 1000000000u : 0),
    };
    int n = kevent(kq->fd, kq->changes, kq->changes_len, kq->events, EVENTS,
                   timeout_ns == UINT64_MAX ? NULL : &ts);
    n = n < 0 ? -errno : n;
    assert(n <= EVENTS);
    xev__woke(loop);
    xev__count(&loop->count.syscalls, 1);
    /* After another error the changes are made again, which does no harm. */
    if (n >= 0 || n == XEV_EINTR) {
        end_changes(loop, kq);
        __atomic_store_n(&kq->woken, 0, __ATOMIC_RELAXED);
    }
    if (n < 0) {
        loop->failed_call = "kevent";
    }
    for (int i = 0; i < n; i++) {
        see_event(loop, kq, &kq->events[i]);
    }
    xev__readiness_run(loop, &kq->ready);
    return n < 0 ? n : 0;
}

/* A host that waits for the queue does not see changes that the kernel has not been told. */
static bool kqueue_prepare(xev_loop *loop) {
    const struct kqueue *kq = loop->backend;
    return kq->ready.head != NULL || kq->changes_len > 0;
}

static xev_fd kqueue_descriptor(xev_loop *loop) { return ((struct kqueue *)loop->backend)->fd; }

const struct xev_backend_ops xev__kqueue_ops = {
    .name = "kqueue",
    .kind = XEV_BACKEND_KQUEUE,
    .how = XEV__HOW_BY_READINESS,
    .init = kqueue_init,
    .deinit = kqueue_deinit,
    .features = xev__readiness_features,
    .start = kqueue_start,
    .at_once = xev__readiness_at_once,
    .cancel = xev__readiness_cancel,
    .forget = kqueue_forget,
    .still_reports = kqueue_still_reports,
    .poll = kqueue_poll,
    .nap = kqueue_nap,
    .prepare = kqueue_prepare,
    .descriptor = kqueue_descriptor,
    .wake = kqueue_wake,
    .buffer_back = xev__readiness_buffer_back,
    .buffers_free = xev__readiness_buffers_free,
};
