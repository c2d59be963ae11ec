/* The drain of listeners. A client that was connected before is served, and no other gets
 * connected. This holds whatever callbacks run meanwhile, and where descriptors are short. */
#include "tests/shard_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

static xev_listener listener;
static xev_addr addr;
static int accepts, errors, last_error;

/* ---- clients: plain sockets ---- */

enum { CLIENTS = 300 };
static int clients[CLIENTS];
static int clients_len;

static void connect_to_listener(bool wait) {
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)xev_addr_port(&addr))};
    if (clients_len == CLIENTS) {
        return;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
    CHECK_GE(fd, 0);
    int rc = connect(fd, (struct sockaddr *)(void *)&sa, sizeof sa);
    CHECK(rc == 0 || (!wait && (errno == EINPROGRESS || errno == ECONNREFUSED)));
    clients[clients_len++] = fd;
}

/* They stand in the backlog, and not only on their way there. */
static void fill_backlog(int count) {
    for (int i = 0; i < count; i++) {
        connect_to_listener(true);
        CHECK_EQ(send(clients[i], "h", 1, MSG_NOSIGNAL), 1);
    }
    for (int i = 0, left; i < count; i++) {
        do { /* not acknowledged */
            CHECK_EQ(ioctl(clients[i], SIOCOUTQ, &left), 0);
        } while (left > 0);
    }
}

/* 1: the server's answer and its end; 0: never connected; -1: connected, and no answer. */
static int fate(int fd) {
    char c;
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
    CHECK_EQ(fcntl(fd, F_SETFL, 0), 0);
    if (poll(&p, 1, 0) == 0) {
        return 0; /* its request is still on its way */
    }
    ssize_t n = recv(fd, &c, 1, MSG_WAITALL);
    return n == 1 ? 1 : n < 0 && errno == ECONNREFUSED ? 0 : -1;
}

/* How many were served; all the others were never connected. Where no filter can be set only the
 * first of them, who stood in the backlog when the drain began, need to be served: a client that
 * connects at the last moment may be reset. */
static int check_fates(bool filtered, int first) {
    int served = 0;
    for (int i = 0; i < clients_len; i++) {
        int is = fate(clients[i]);
        CHECK(is >= 0 || (!filtered && i >= first));
        served += is > 0;
        CHECK_EQ(close(clients[i]), 0);
    }
    return served;
}

/* ---- the server ---- */

static void answer_and_close(int fd) {
    char hello;
    (void)recv(fd, &hello, 1, MSG_DONTWAIT); /* unread it would reset the connection */
    CHECK_EQ(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(fd)), 0);
}

static void serve(xev_listener *l, int result, void *userdata) {
    (void)userdata;
    CHECK(l == &listener);
    if (result < 0) {
        errors++;
        last_error = result;
        return;
    }
    accepts++;
    answer_and_close(result);
}

static int listen_with(xev_shard *self, xev_listener_fn callback) {
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 0), 0);
    CHECK_EQ(xev_shard_listen(self, &listener, &addr, 0, NULL, callback), 0);
    return xev_listener_addr(&listener, &addr);
}

static int listen_and_serve(xev_shard *self) { return listen_with(self, serve); }

static xev_listener_status status(void) {
    xev_listener_status s;
    xev_listener_status_get(&listener, &s);
    return s;
}

/* ---- whatever runs in the drain ---- */

static xev_hook before, after;
static xev_completion nothing, asking;
static int asked;

static void connect_in_hook(xev_loop *loop, xev_hook *hook) {
    (void)loop;
    (void)hook;
    connect_to_listener(false);
}

static xev_cb_action connect_in_callback(xev_loop *loop, xev_completion *c, int result,
                                         void *userdata) {
    (void)userdata;
    CHECK_EQ(result, XEV_ENOENT);
    connect_to_listener(false);
    if (++asked < 20) {
        xev_cancel(loop, &nothing, c, NULL, connect_in_callback);
    }
    return XEV_DISARM;
}

static void serve_and_connect(xev_listener *l, int result, void *userdata) {
    serve(l, result, userdata);
    if (accepts < 20) { /* else this would go on by itself, and keep the others out */
        connect_to_listener(false);
    }
}

static int listen_serve_and_connect(xev_shard *self) {
    return listen_with(self, serve_and_connect);
}

static void fill_some_and_stop(xev_shard *self) {
    fill_backlog(5);
    stop_all(self);
}

static void connect_everywhere(xev_shard *self) {
    xev_loop *loop = xev_shard_loop(self);
    before.callback = after.callback = connect_in_hook;
    xev_loop_hook_add(loop, XEV_HOOK_BEFORE_POLL, &before);
    xev_loop_hook_add(loop, XEV_HOOK_AFTER_POLL, &after);
    xev_cancel(loop, &nothing, &asking, NULL, connect_in_callback);
    connect_to_listener(false);
}

static void connect_at_the_end(xev_shard *self) {
    (void)self;
    connect_to_listener(false);
}

TEST(who_connects_while_the_drain_runs_is_served_or_never_connected) {
    sc.init = listen_serve_and_connect;
    sc.body = fill_some_and_stop;
    sc.drain = connect_everywhere;
    sc.stop = connect_at_the_end;
    CHECK_EQ(scene_run(1), 0);
    CHECK_LT(clients_len, CLIENTS); /* so the last ones came at the very end */
    CHECK_EQ(check_fates(true, 0), accepts);
    CHECK_GE(accepts, 5);
    CHECK_EQ(errors, 0);
}

static int listen_without_gate(xev_shard *self) {
    int on = 1;
    CHECK_EQ(listen_serve_and_connect(self), 0);
    return setsockopt(xev_listener_tcp(&listener).fd, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof on);
}

TEST(where_no_filter_can_be_set_those_who_were_there_are_served) {
    sc.init = listen_without_gate;
    sc.body = fill_some_and_stop;
    sc.drain = connect_everywhere;
    sc.stop = connect_at_the_end;
    CHECK_EQ(scene_run(1), 0);
    CHECK_LT(clients_len, CLIENTS);
    CHECK_EQ(check_fates(false, 5), accepts);
    CHECK_GE(accepts, 5);
    CHECK_EQ(errors, 0);
}

/* ---- a long backlog ---- */

static int before_turn, most_in_turn;

static void look_at_turn(xev_loop *loop, xev_hook *hook) {
    (void)loop;
    (void)hook;
    int now = accepts - before_turn;
    before_turn = accepts;
    most_in_turn = now > most_in_turn ? now : most_in_turn;
}

static int listen_paused(xev_shard *self) {
    CHECK_EQ(listen_and_serve(self), 0);
    xev_listener_pause(&listener);
    CHECK_EQ(status().state, XEV_LISTENER_PAUSED);
    before.callback = look_at_turn;
    xev_loop_hook_add(xev_shard_loop(self), XEV_HOOK_BEFORE_POLL, &before);
    return 0;
}

static void fill_and_stop(xev_shard *self) {
    if (xev_completion_state(&listener.accept) == XEV_COMPLETION_ACTIVE) { /* private */
        CHECK_EQ(xev_shard_send(self, &sc.begin[0], scene_begin, &sc), 0);
        return;
    }
    fill_backlog(CLIENTS);
    CHECK_EQ(status().waiting, CLIENTS);
    stop_all(self);
}

static void is_closed(xev_shard *self) {
    (void)self;
    xev_listener_status s = status();
    CHECK_EQ(s.state, XEV_LISTENER_CLOSED);
    CHECK_EQ(s.waiting, 0);
    CHECK_EQ(s.unserved, 0);
    CHECK_EQ(s.accepted, (uint64_t)accepts);
}

TEST(the_drain_of_a_long_backlog_leaves_the_others_their_turn) {
    sc.init = listen_paused;
    sc.body = fill_and_stop;
    sc.stop = is_closed;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(accepts, CLIENTS);
    CHECK_EQ(check_fates(true, 0), CLIENTS);
    CHECK_LE(most_in_turn, 64);
}

/* ---- few descriptors ---- */

enum { SPARE = 10, GUESTS = 100 };

struct guest {
    xev_completion timer;
    int fd;
};
static struct guest guests[GUESTS];

static xev_cb_action leave(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    const struct guest *g = userdata;
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    answer_and_close(g->fd);
    return XEV_DISARM;
}

static void serve_later(xev_listener *l, int result, void *userdata) {
    if (result < 0) {
        serve(l, result, userdata);
        return;
    }
    struct guest *g = &guests[accepts++];
    g->fd = result;
    xev_timer_run(NULL, xev_shard_loop(xev_listener_shard(l)), &g->timer, 2, g, leave);
}

static int listen_and_serve_later(xev_shard *self) {
    CHECK_EQ(listen_with(self, serve_later), 0);
    xev_listener_pause(&listener);
    return 0;
}

static void limit_spare(int spare) {
    int next = dup(clients[0]);
    struct rlimit files = {(rlim_t)(next + spare), (rlim_t)(next + spare)};
    CHECK_EQ(close(next), 0);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
}

static void fill_and_stop_with_few_descriptors(xev_shard *self) {
    if (xev_completion_state(&listener.accept) == XEV_COMPLETION_ACTIVE) {
        CHECK_EQ(xev_shard_send(self, &sc.begin[0], scene_begin, &sc), 0);
        return;
    }
    fill_backlog(GUESTS);
    limit_spare(SPARE);
    stop_all(self);
}

TEST(the_drain_serves_who_waits_as_descriptors_come_free) {
    sc.init = listen_and_serve_later;
    sc.body = fill_and_stop_with_few_descriptors;
    sc.stop = is_closed;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(accepts, GUESTS);
    CHECK_EQ(check_fates(true, 0), GUESTS);
    CHECK_GT(errors, 0);
    CHECK_EQ(last_error, XEV_EMFILE);
}

static void fill_and_stop_without_descriptors(xev_shard *self) {
    if (xev_completion_state(&listener.accept) == XEV_COMPLETION_ACTIVE) {
        CHECK_EQ(xev_shard_send(self, &sc.begin[0], scene_begin, &sc), 0);
        return;
    }
    fill_backlog(GUESTS);
    limit_spare(0);
    stop_all(self);
}

static void was_cut(xev_shard *self) {
    (void)self;
    xev_listener_status s = status();
    CHECK_EQ(s.state, XEV_LISTENER_CLOSED);
    CHECK_EQ(s.error, XEV_EMFILE);
    CHECK_EQ(s.unserved, GUESTS);
    CHECK_EQ(s.accepted, 0);
    CHECK_EQ(errors, 2); /* when it began, and at the deadline */
}

TEST(the_drain_says_whom_it_could_not_serve_by_its_deadline) {
    sc.o.drain_ms = 200;
    sc.init = listen_and_serve_later;
    sc.body = fill_and_stop_without_descriptors;
    sc.stop = was_cut;
    CHECK_EQ(scene_run(1), XEV_ETIMEDOUT);
    CHECK_EQ(errors, 2);
    CHECK_EQ(last_error, XEV_EMFILE);
    CHECK_EQ(accepts, 0);
    for (int i = 0; i < GUESTS; i++) {
        CHECK_EQ(fate(clients[i]), -1);
        CHECK_EQ(close(clients[i]), 0);
    }
}
