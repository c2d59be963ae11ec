/* A listener whose accept fails: the error is reported once, the accept is repeated in growing
 * intervals, and the listener's status says so. */
#include "tests/shard_scene.h"

#include <netinet/in.h>
#include <sys/socket.h>

static xev_listener listener;
static xev_addr addr;
static int accepts, errors, last_error;
static uint64_t turns;
static xev_hook hook;
static xev_completion timer;

static void serve(xev_listener *l, int result, void *userdata) {
    (void)userdata;
    CHECK(l == &listener);
    if (result < 0) {
        errors++;
        last_error = result;
        return;
    }
    accepts++;
    CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(result)), 0);
}

static void count_turn(xev_loop *loop, xev_hook *h) {
    (void)loop;
    (void)h;
    turns++;
}

static int listen_and_count(xev_shard *self) {
    hook.callback = count_turn;
    xev_loop_hook_add(xev_shard_loop(self), XEV_HOOK_BEFORE_POLL, &hook);
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 0), 0);
    CHECK_EQ(xev_shard_listen(self, &listener, &addr, 0, NULL, serve), 0);
    return xev_listener_addr(&listener, &addr);
}

static xev_listener_status status(void) {
    xev_listener_status s;
    xev_listener_status_get(&listener, &s);
    return s;
}

static void shut_listener_down(void) {
    CHECK_EQ(shutdown(xev_listener_tcp(&listener).fd, SHUT_RDWR), 0);
}

static void after_ms(xev_shard *self, uint64_t ms, xev_cb cb) {
    xev_timer_run(NULL, xev_shard_loop(self), &timer, ms, self, cb);
}

static xev_cb_action stop_when_accepted(xev_loop *loop, xev_completion *c, int result,
                                        void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    if (accepts == 0) {
        return XEV_REARM;
    }
    CHECK_EQ(status().state, XEV_LISTENER_ACCEPTING);
    CHECK_EQ(status().error, 0);
    CHECK_EQ(status().accepted, 1);
    stop_all(userdata);
    return XEV_DISARM;
}

static void connect_once(void) {
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    /* The shutdown may have taken a port away that the system had chosen. */
    CHECK_EQ(getsockname(xev_listener_tcp(&listener).fd, (struct sockaddr *)(void *)&sa, &len), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    CHECK_EQ(connect(fd, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    CHECK_EQ(close(fd), 0);
}

static void is_failing(void) {
    CHECK_EQ(errors, 1);
    CHECK_EQ(last_error, XEV_EINVAL);
    CHECK_EQ(status().state, XEV_LISTENER_FAILING);
    CHECK_EQ(status().error, XEV_EINVAL);
}

static xev_cb_action listen_again(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)loop;
    CHECK_EQ(result, 0);
    is_failing();
    CHECK_LT(turns, 60); /* it does not spin */
    CHECK_EQ(listen(xev_listener_tcp(&listener).fd, 16), 0);
    connect_once();
    after_ms(userdata, 1, stop_when_accepted);
    return XEV_DISARM;
}

static void shut_down_and_listen_again(xev_shard *self) {
    shut_listener_down();
    after_ms(self, 200, listen_again);
}

TEST(a_listener_that_was_shut_down_is_reported_once_and_tried_again) {
    sc.init = listen_and_count;
    sc.body = shut_down_and_listen_again;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(accepts, 1);
    CHECK_EQ(errors, 1);
}

static xev_cb_action resume_until_told_again(xev_loop *loop, xev_completion *c, int result,
                                             void *userdata) {
    (void)c;
    (void)loop;
    CHECK_EQ(result, 0);
    if (errors == 0) {
        return XEV_REARM;
    }
    if (errors == 1) {
        is_failing();
        xev_listener_pause(&listener);
        CHECK_EQ(status().state, XEV_LISTENER_PAUSED);
        xev_listener_resume(&listener);
        CHECK_EQ(status().state, XEV_LISTENER_ACCEPTING);
        after_ms(userdata, 1, resume_until_told_again);
        errors = 2; /* the test's own; a third is the listener's */
        return XEV_DISARM;
    }
    if (errors == 2) {
        return XEV_REARM;
    }
    CHECK_EQ(errors, 3);
    CHECK_EQ(status().state, XEV_LISTENER_FAILING);
    stop_all(userdata);
    return XEV_DISARM;
}

static void shut_down_and_resume(xev_shard *self) {
    shut_listener_down();
    after_ms(self, 1, resume_until_told_again);
}

static void is_closed(xev_shard *self) {
    (void)self;
    CHECK_EQ(status().state, XEV_LISTENER_CLOSED);
    CHECK_EQ(status().unserved, 0);
}

TEST(a_listener_that_is_resumed_reports_the_same_error_anew) {
    sc.init = listen_and_count;
    sc.body = shut_down_and_resume;
    sc.stop = is_closed;
    CHECK_EQ(scene_run(1), 0); /* and holds no drain */
    CHECK_EQ(errors, 3);
    CHECK_EQ(accepts, 0);
}

static xev_cb_action pause_for_good(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)loop;
    CHECK_EQ(result, 0);
    if (errors == 0) {
        return XEV_REARM;
    }
    if (status().state == XEV_LISTENER_FAILING) {
        xev_listener_pause(&listener);
        turns = 0;
        after_ms(userdata, 50, pause_for_good);
        return XEV_DISARM;
    }
    CHECK_EQ(status().state, XEV_LISTENER_PAUSED); /* nothing has started it */
    CHECK_EQ(xev_completion_state(&listener.accept), XEV_COMPLETION_DEAD); /* private */
    CHECK_LT(turns, 30);
    stop_all(userdata);
    return XEV_DISARM;
}

static void shut_down_and_pause(xev_shard *self) {
    shut_listener_down();
    after_ms(self, 1, pause_for_good);
}

TEST(a_paused_listener_is_not_tried_again) {
    sc.init = listen_and_count;
    sc.body = shut_down_and_pause;
    sc.stop = is_closed;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(errors, 1);
}

static int listen_shut_down_and_fail(xev_shard *self) {
    CHECK_EQ(listen_and_count(self), 0);
    shut_listener_down();
    return XEV_ENOSPC;
}

TEST(a_start_that_fails_ends_one_that_fails_too) {
    sc.init = listen_shut_down_and_fail;
    CHECK_EQ(scene_run(1), XEV_ENOSPC);
}
