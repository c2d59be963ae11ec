/* io_uring: what the loop asks of the ring for itself: the end of a wait, by a wake from another
 * thread or by the alarm. */
#include <errno.h>
#include <poll.h>

#include "xev/backends/io_uring.h"
#include "xev/os/clock.h"
#include "xev/os/descriptor.h"

void xev__uring_arm_wake(struct xev__uring *u) {
    assert(!u->wake_armed);
    struct io_uring_sqe *sqe = xev__uring_take_sqe(u);
    if (sqe != NULL) {
        /* The descriptor is polled, not read through the ring: such reads hung on some kernels. */
        io_uring_prep_poll_multishot(sqe, u->wake, POLLIN);
        io_uring_sqe_set_data64(sqe, (uint64_t)XEV__URING_OWN << 62 | XEV__URING_WAKE);
        u->joint.other_events++;
        u->wake_armed = true;
    }
}

bool xev__uring_set_alarm(xev_loop *loop, uint64_t at_ns) {
    struct xev__uring *u = loop->backend;
    struct io_uring_sqe *sqe = u->no_alarm ? NULL : xev__uring_take_sqe(u);
    if (sqe == NULL) {
        return false;
    }
    const uint64_t own = (uint64_t)XEV__URING_OWN << 62, alarm = own | XEV__URING_ALARM;
    u->alarm_at = (struct __kernel_timespec){
        .tv_sec = (int64_t)(at_ns / 1000000000u),
        .tv_nsec = (int64_t)(at_ns % 1000000000u),
    };
    if (u->alarm_runs) {
        io_uring_prep_timeout_update(sqe, &u->alarm_at, alarm, IORING_TIMEOUT_ABS);
        io_uring_sqe_set_data64(sqe, own | XEV__URING_ALARM_MOVE);
    } else {
        io_uring_prep_timeout(sqe, &u->alarm_at, 0, IORING_TIMEOUT_ABS);
        io_uring_sqe_set_data64(sqe, alarm);
    }
    u->joint.other_events++;
    u->alarm_runs = true;
    return true;
}

void xev__uring_own_event(xev_loop *loop, enum xev__uring_own what, int res, uint32_t cqe_flags) {
    struct xev__uring *u = loop->backend;
    if (what != XEV__URING_WAKE) {
        bool moved = what == XEV__URING_ALARM_MOVE, gone = res == -ENOENT || res == -EALREADY;
        if (!moved || res < 0) {
            /* Where there was nothing to move it rings just now, or has rung and its event is
             * lost. */
            u->alarm.rings_ns = 0;
            u->alarm_runs = moved && !gone;
            u->no_alarm = u->no_alarm || res == -EINVAL;
        }
        return;
    }
    /* A multishot poll reports each signal, also where earlier ones were not read. A host's
     * epoll descriptor would report one that is not read for ever. */
    if (u->host != XEV_INVALID_FD) {
        xev__count(&loop->count.syscalls, 1);
        xev__os_wake_drain(u->wake);
    }
    if ((cqe_flags & IORING_CQE_F_MORE) == 0) {
        u->wake_armed = false;
        /* The kernel refuses the poll while it is short of memory, so the next attempt is made
         * later. Until then the loop wakes up by itself and looks into its inbox. */
        u->wake_retry_ns = res < 0 ? xev__os_now_ns() + XEV__URING_LOOK_AGAIN_NS : 0;
    }
}
