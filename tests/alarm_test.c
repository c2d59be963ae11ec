/* Waits with a limit, where the first deadline of a loop stays the same from wait to wait: the
 * kernel is given it once, and not with each wait. The calls that wait are wrapped, and counted. */
#include "tests/loop_scene.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#if !defined(XEV_NO_IO_URING)
#include <liburing.h>
#endif

enum { FIRST = 8 /* waits that have a limit all the same */, TURNS = 40 };

static struct {
    uint32_t limited, unlimited, alarms, lost;
    bool refuse_alarms, lose_alarms;
} waits;

static void count_wait(bool limited) {
    waits.limited += limited;
    waits.unlimited += !limited;
}

int __real_epoll_pwait2(int ep, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask);
int __wrap_epoll_pwait2(int ep, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask);
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *at,
                           struct itimerspec *before);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *at,
                           struct itimerspec *before);

int __wrap_epoll_pwait2(int ep, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask) {
    if (timeout == NULL || timeout->tv_sec != 0 || timeout->tv_nsec != 0) {
        count_wait(timeout != NULL);
    }
    return __real_epoll_pwait2(ep, events, max, timeout, mask);
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *at,
                           struct itimerspec *before) {
    waits.alarms++;
    if (waits.refuse_alarms) {
        errno = ECANCELED;
        return -1;
    }
    return __real_timerfd_settime(fd, flags, at, before);
}

#if !defined(XEV_NO_IO_URING)

int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask);

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask) {
    count_wait(ts != NULL);
    int rc = __real_io_uring_submit_and_wait_timeout(ring, cqe, n, ts, mask);
    const uint64_t alarm = UINT64_C(2) << 62 | 1, nobodys = UINT32_MAX; /* io_uring.h */
    for (unsigned i = 0; waits.lose_alarms && i < io_uring_cq_ready(ring); i++) {
        struct io_uring_cqe *e = &ring->cq.cqes[(*ring->cq.khead + i) & *ring->cq.kring_mask];
        if (e->user_data == alarm) {
            e->user_data = nobodys;
            waits.lost++;
        }
    }
    return rc;
}

#endif

/* The other backends give each wait its limit, and where a ring has its events at once there is no
 * wait: there the cases only check the timers. */
static bool counts(const xev_loop *loop) {
    const char *backend = xev_loop_backend(loop);
    return strcmp(backend, "epoll") == 0 ||
           (xev_loop_features(loop) & XEV_FEATURE_DEFER_TASKRUN) != 0;
}

struct scene {
    xev_loop loop;
    xev_tcp pair[2];
};

static void begin(struct scene *s) {
    loop_start(&s->loop);
    socket_pair(s->pair);
}

static void end(struct scene *s) {
    close_in(&s->loop, s->pair[0]);
    close_in(&s->loop, s->pair[1]);
    xev_loop_deinit(&s->loop);
}

/* Waits that an arriving byte ends; of these are waits' counts. */
static void wait_often(struct scene *s, uint32_t turns) {
    waits.limited = waits.unlimited = waits.alarms = 0;
    for (uint32_t i = 0; i < turns; i++) {
        struct op recv_op = {0};
        char byte;
        xev_tcp_recv(s->pair[0], &s->loop, &recv_op.c, &byte, 1, &recv_op, op_cb);
        run_no_wait(&s->loop); /* the receive waits for the byte */
        CHECK_EQ(recv_op.calls, 0);
        put_bytes(s->pair[1], "x", 1);
        run_for(&s->loop, &recv_op, 1);
        CHECK_EQ(recv_op.result, 1);
    }
}

static void start_timer(struct scene *s, struct op *timer, uint64_t ms) {
    xev_timer_run(NULL, &s->loop, &timer->c, ms, timer, op_cb);
}

static void cancel_timer(struct scene *s, struct op *timer) {
    struct op cancel = {0};
    xev_timer_cancel(NULL, &s->loop, &timer->c, &cancel.c, &cancel, op_cb);
    run_for(&s->loop, &cancel, 1);
    run_for(&s->loop, timer, 1);
    CHECK_EQ(timer->result, XEV_ECANCELED);
}

TEST(a_deadline_that_stays_is_given_to_the_kernel_once) {
    struct scene s;
    begin(&s);
    struct op timer = {0};
    start_timer(&s, &timer, HOUR_MS);
    wait_often(&s, TURNS);
    if (counts(&s.loop)) {
        CHECK_EQ(waits.limited, FIRST);
        CHECK_EQ(waits.unlimited, TURNS - FIRST);
    }
    wait_often(&s, TURNS);
    if (counts(&s.loop)) {
        CHECK_EQ(waits.limited, 0);
        CHECK_EQ(waits.alarms, 0);
    }
    cancel_timer(&s, &timer);
    end(&s);
}

TEST(a_deadline_that_changes_is_a_limit_of_each_wait) {
    struct scene s;
    begin(&s);
    for (uint32_t i = 0; i < TURNS; i++) {
        struct op timer = {0};
        start_timer(&s, &timer, HOUR_MS - i);
        wait_often(&s, FIRST - 1);
        if (counts(&s.loop)) {
            CHECK_EQ(waits.limited, FIRST - 1);
            CHECK_EQ(waits.alarms, 0);
        }
        cancel_timer(&s, &timer);
    }
    end(&s);
}

TEST(a_timer_whose_deadline_the_kernel_has_ends_the_wait) {
    struct scene s;
    begin(&s);
    struct op timer = {0};
    uint64_t begun = clock_ns();
    start_timer(&s, &timer, 300);
    wait_often(&s, TURNS);
    run_for(&s.loop, &timer, 1);
    CHECK_EQ(timer.result, 0);
    CHECK_GE(clock_ns() - begun, 300 * MS_NS);
    end(&s);
}

TEST(an_earlier_timer_is_not_late) {
    struct scene s;
    begin(&s);
    struct op late = {0}, early = {0}, earlier = {0};
    start_timer(&s, &late, HOUR_MS);
    wait_often(&s, TURNS);
    uint64_t begun = clock_ns();
    start_timer(&s, &early, 400);
    wait_often(&s, TURNS); /* the kernel is given the earlier one instead */
    start_timer(&s, &earlier, 1);
    run_for(&s.loop, &earlier, 1);
    run_for(&s.loop, &early, 1);
    CHECK_GE(clock_ns() - begun, 400 * MS_NS);
    CHECK_EQ(late.calls, 0);
    wait_often(&s, TURNS); /* and the later one again */
    if (counts(&s.loop)) {
        CHECK_LE(waits.limited, FIRST);
    }
    cancel_timer(&s, &late);
    end(&s);
}

TEST(a_deadline_that_has_gone_wakes_for_nothing_once) {
    struct scene s;
    begin(&s);
    struct op gone, timer = {0};
    uint64_t ms = 1500;
    for (;; ms *= 2) { /* until this thread comes to the cancel in time */
        gone = (struct op){0};
        start_timer(&s, &gone, ms);
        wait_often(&s, TURNS);
        if (gone.calls == 0) {
            break;
        }
    }
    cancel_timer(&s, &gone);
    uint64_t begun = clock_ns();
    start_timer(&s, &timer, ms + 400);
    waits.limited = waits.unlimited = 0;
    run_for(&s.loop, &timer, 1);
    CHECK_GE(clock_ns() - begun, (ms + 400) * MS_NS);
    if (counts(&s.loop)) {
        CHECK_LE(waits.limited + waits.unlimited, 4);
    }
    end(&s);
}

TEST(where_the_kernel_refuses_it_each_wait_has_its_limit) {
    struct scene s;
    begin(&s);
    struct op late = {0}, soon = {0};
    start_timer(&s, &late, HOUR_MS);
    waits.refuse_alarms = true;
    wait_often(&s, TURNS);
    if (strcmp(xev_loop_backend(&s.loop), "epoll") == 0) {
        CHECK_EQ(waits.unlimited, 0);
        CHECK_GT(waits.alarms, 0);
    }
    start_timer(&s, &soon, 300);
    wait_often(&s, TURNS);
    run_for(&s.loop, &soon, 1);
    waits.refuse_alarms = false;
    cancel_timer(&s, &late);
    end(&s);
}

/* The kernel had no memory for its event. */
TEST(an_alarm_that_is_lost_makes_no_later_timer_late) {
    struct scene s;
    begin(&s);
    bool loses = strcmp(xev_loop_backend(&s.loop), "io_uring") == 0 && counts(&s.loop);
    waits.lose_alarms = true;
    for (uint64_t ms = 100; ms == 100 || (loses && waits.lost == 0); ms *= 2) {
        struct op timer = {0};
        start_timer(&s, &timer, ms);
        wait_often(&s, TURNS);
        run_for(&s.loop, &timer, 1);
    }
    waits.lose_alarms = false;
    struct op timer = {0}, next = {0}, last = {0};
    start_timer(&s, &timer, 100);
    run_for(&s.loop, &timer, 1);
    start_timer(&s, &next, 300);
    wait_often(&s, TURNS); /* it is set again */
    run_for(&s.loop, &next, 1);
    start_timer(&s, &last, HOUR_MS);
    wait_often(&s, TURNS);
    if (loses) {
        CHECK_GT(waits.unlimited, 0);
    }
    cancel_timer(&s, &last);
    end(&s);
}
