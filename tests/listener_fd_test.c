/* Listeners of sockets that listened before: Unix sockets, and TCP sockets that other processes
 * share. Their drain serves who is connected by then. */
#include "tests/shard_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

static xev_listener listener;
static xev_addr addr;
static int listening, accepts, errors;

enum { CLIENTS = 200 };
static int clients[CLIENTS];
static int clients_len;

/* An abstract name that the kernel chooses, or a port. */
static void open_listening(enum xev_family family) {
    if (family == XEV_AF_UNIX) {
        xev_unix sock;
        CHECK_EQ(xev_unix_init(&sock, XEV_UNIX_STREAM), 0);
        CHECK_EQ(xev_addr_unix(&addr, NULL, 0), 0);
        CHECK_EQ(xev_unix_bind(sock, &addr, XEV_UNIX_KEEP), 0);
        CHECK_EQ(xev_unix_listen(sock, CLIENTS), 0);
        CHECK_EQ(xev_unix_local_addr(sock, &addr), 0);
        listening = sock.fd;
        return;
    }
    xev_tcp tcp;
    CHECK_EQ(xev_tcp_init(&tcp, family), 0);
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 0), 0);
    CHECK_EQ(xev_tcp_bind(tcp, &addr, false), 0);
    CHECK_EQ(xev_tcp_listen(tcp, CLIENTS), 0);
    CHECK_EQ(xev_tcp_local_addr(tcp, &addr), 0);
    listening = tcp.fd;
}

/* A connected client, or the code of its connect. */
static int try_client(void) {
    bool is_unix = xev_addr_family(&addr) == XEV_AF_UNIX;
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    if (connect(fd, (struct sockaddr *)(void *)addr.storage, addr.len_bytes) < 0) {
        int rc = -errno;
        CHECK_EQ(close(fd), 0);
        return rc;
    }
    return fd;
}

static void fill_backlog(int count) {
    for (clients_len = 0; clients_len < count; clients_len++) {
        clients[clients_len] = try_client();
        CHECK_GE(clients[clients_len], 0);
    }
}

static void check_all_served(void) {
    for (int i = 0; i < clients_len; i++) {
        char c;
        CHECK_EQ(recv(clients[i], &c, 1, MSG_WAITALL), 1);
        CHECK_EQ(recv(clients[i], &c, 1, 0), 0);
        CHECK_EQ(close(clients[i]), 0);
    }
}

static void answer(xev_listener *l, int result, void *userdata) {
    CHECK(l == &listener && userdata == &listening);
    if (result < 0) {
        errors++;
        return;
    }
    accepts++;
    CHECK_EQ(send(result, "x", 1, MSG_NOSIGNAL), 1);
    CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(result)), 0);
}

static bool shared;

static int listen_here(xev_shard *self) {
    return xev_shard_listen_fd(self, &listener, listening, shared, &listening, answer);
}

static void connect_and_stop(xev_shard *self) {
    fill_backlog(CLIENTS);
    stop_all(self);
}

static xev_listener_status status_of(void) {
    xev_listener_status s;
    xev_listener_status_get(&listener, &s);
    return s;
}

/* Those that wait are still to be accepted. */
static void nobody_connects_any_more(xev_shard *self) {
    (void)self;
    CHECK_EQ(status_of().state, XEV_LISTENER_DRAINING);
    CHECK_EQ(try_client(), XEV_ECONNREFUSED);
}

static void check_closed_in_order(xev_shard *self) {
    (void)self;
    xev_listener_status s = status_of();
    CHECK_EQ(s.state, XEV_LISTENER_CLOSED);
    CHECK_EQ(s.accepted, CLIENTS);
    CHECK_EQ(s.unserved, 0);
}

static void check_drain(enum xev_family family, bool nonblocking) {
    open_listening(family);
    if (nonblocking) {
        CHECK_EQ(fcntl(listening, F_SETFL, O_NONBLOCK), 0);
    }
    sc.init = listen_here;
    sc.body = connect_and_stop;
    sc.drain = family == XEV_AF_UNIX ? nobody_connects_any_more : NULL;
    sc.stop = check_closed_in_order;
    CHECK_EQ(scene_run(1), 0);
    check_all_served();
    CHECK_EQ(accepts, CLIENTS);
    CHECK_EQ(errors, 0);
    CHECK(fcntl(listening, F_GETFD) < 0);
    if (family == XEV_AF_UNIX) { /* a port may be another program's by now */
        CHECK_EQ(try_client(), XEV_ECONNREFUSED);
    }
}

TEST(the_drain_serves_clients_of_a_unix_socket) { check_drain(XEV_AF_UNIX, false); }
TEST(the_drain_serves_clients_of_a_tcp_socket) { check_drain(XEV_AF_INET, false); }
TEST(a_descriptor_that_does_not_block) { check_drain(XEV_AF_UNIX, true); }
TEST(a_tcp_descriptor_that_does_not_block) { check_drain(XEV_AF_INET, true); }

static void *serve_one_and_stop(void *arg) {
    char c;
    int fd = try_client();
    CHECK_GE(fd, 0);
    CHECK_EQ(recv(fd, &c, 1, 0), 1); /* it accepts, and waits for others */
    CHECK_EQ(close(fd), 0);
    xev_runtime_stop(&sc.rt);
    return arg;
}

static pthread_t stopper;

static void begin_to_stop(xev_shard *self) {
    (void)self;
    stopper = thread_start(serve_one_and_stop, NULL);
}

static void check_idle(enum xev_family family) {
    for (int i = 0; i < 20; i++) {
        open_listening(family);
        sc.init = listen_here;
        sc.body = begin_to_stop;
        CHECK_EQ(scene_run(1), 0);
        thread_join(stopper);
        CHECK_EQ(accepts, i + 1);
        CHECK_EQ(errors, 0);
    }
}

TEST(the_drain_of_an_idle_unix_socket_is_no_error) { check_idle(XEV_AF_UNIX); }
TEST(the_drain_of_an_idle_tcp_socket_is_no_error) { check_idle(XEV_AF_INET); }

static void check_shared(enum xev_family family) {
    open_listening(family);
    int other = fcntl(listening, F_DUPFD_CLOEXEC, 3);
    CHECK_GE(other, 0);
    shared = true;
    sc.init = listen_here;
    sc.body = connect_and_stop;
    sc.stop = check_closed_in_order;
    CHECK_EQ(scene_run(1), 0);
    check_all_served();
    CHECK_EQ(accepts, CLIENTS);
    int fd = try_client(); /* who shares it would accept it */
    CHECK_GE(fd, 0);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(close(other), 0);
}

TEST(a_unix_socket_that_is_shared_listens_on) { check_shared(XEV_AF_UNIX); }
TEST(a_tcp_socket_that_is_shared_listens_on) { check_shared(XEV_AF_INET); }

/* ---- a pause ---- */

enum { BEFORE = 3 };

static xev_cb_action stop_when_served(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    if (accepts < BEFORE) {
        return XEV_REARM;
    }
    CHECK_EQ(status_of().state, XEV_LISTENER_PAUSED);
    stop_all(userdata);
    return XEV_DISARM;
}

static struct op served_look;

/* The system tells this shard of the clients, and of the pause it knows nothing yet. */
static void connect_and_pause(xev_shard *self) {
    const xev_loop *loop = xev_shard_loop(self);
    bool at_once = strcmp(xev_loop_backend(loop), "io_uring") == 0 && /* in any system call */
                   (xev_loop_features(loop) & XEV_FEATURE_DEFER_TASKRUN) == 0;
    uint32_t least = at_once ? 0 : xev_addr_family(&addr) == XEV_AF_UNIX ? 1 : BEFORE;
    fill_backlog(BEFORE);
    while (status_of().waiting < least) {
        sched_yield(); /* the last part of a handshake is on its way */
    }
    xev_listener_pause(&listener);
    xev_timer_run(NULL, xev_shard_loop(self), &served_look.c, 1, self, stop_when_served);
}

static void check_pause(enum xev_family family) {
    open_listening(family);
    int other = fcntl(listening, F_DUPFD_CLOEXEC, 3);
    CHECK_GE(other, 0);
    shared = true;
    sc.init = listen_here;
    sc.body = connect_and_pause;
    CHECK_EQ(scene_run(1), 0);
    check_all_served();
    CHECK_EQ(accepts, BEFORE);
    CHECK_EQ(errors, 0);
    CHECK_EQ(close(other), 0);
}

TEST(who_came_before_a_pause_is_served_at_a_shared_unix_socket) { check_pause(XEV_AF_UNIX); }
TEST(who_came_before_a_pause_is_served_at_a_shared_tcp_socket) { check_pause(XEV_AF_INET); }

static bool kernel_accepts; /* by itself, and perhaps before it hears of the pause */

/* A start that fails takes nobody from the other processes. */
static int listen_pause_and_fail(xev_shard *self) {
    CHECK_EQ(listen_here(self), 0);
    fill_backlog(BEFORE);
    while (status_of().waiting == 0) {
        sched_yield();
    }
    xev_listener_pause(&listener);
    kernel_accepts = strcmp(xev_loop_backend(xev_shard_loop(self)), "io_uring") == 0;
    return XEV_EPERM;
}

static void check_pause_of_failed_start(enum xev_family family) {
    open_listening(family);
    xev_fd other = fcntl(listening, F_DUPFD_CLOEXEC, 3);
    CHECK_GE(other, 0);
    shared = true;
    sc.init = listen_pause_and_fail;
    CHECK_EQ(scene_run(1), XEV_EPERM);
    CHECK(kernel_accepts || accepts == 0);
    for (int i = 0; i < BEFORE; i++) {
        CHECK_EQ(close(clients[i]), 0);
    }
    CHECK_EQ(close(other), 0);
}

TEST(a_failed_start_accepts_nobody_of_a_paused_unix_socket) {
    check_pause_of_failed_start(XEV_AF_UNIX);
}
TEST(a_failed_start_accepts_nobody_of_a_paused_tcp_socket) {
    check_pause_of_failed_start(XEV_AF_INET);
}

/* ---- a drain without descriptors ---- */

static int held[4096];
static int held_len;
static struct op later;

static void take_descriptors(void) {
    struct rlimit limit = {descriptors() + 8, 0};
    limit.rlim_max = limit.rlim_cur;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int fd; (fd = fcntl(0, F_DUPFD, 3)) >= 0;) {
        CHECK_LT(held_len, 4096);
        held[held_len++] = fd;
    }
}

static void connect_take_and_stop(xev_shard *self) {
    fill_backlog(20);
    take_descriptors();
    stop_all(self);
}

static xev_cb_action give_descriptors(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    (void)loop, (void)c, (void)result, (void)userdata;
    if (errors == 0 && accepts < 20) {
        return XEV_REARM; /* none was missing yet */
    }
    while (held_len > 0) {
        CHECK_EQ(close(held[--held_len]), 0);
    }
    return XEV_DISARM;
}

static void give_later(xev_shard *self) {
    xev_timer_run(NULL, xev_shard_loop(self), &later.c, 1, NULL, give_descriptors);
}

TEST(the_drain_of_a_unix_socket_waits_for_descriptors) {
    open_listening(XEV_AF_UNIX);
    sc.init = listen_here;
    sc.body = connect_take_and_stop;
    sc.drain = give_later;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(accepts, 20);
    check_all_served();
}

/* ---- what is refused ---- */

static void check_refused(xev_shard *self, int fd, int code) {
    CHECK_EQ(xev_shard_listen_fd(self, &listener, fd, false, &listening, answer), code);
    CHECK_GE(fcntl(fd, F_GETFD), 0);
    CHECK_EQ(close(fd), 0);
}

static int listen_on_others(xev_shard *self) {
    int fds[2];
    check_refused(self, open("/dev/null", O_RDONLY | O_CLOEXEC), XEV_ENOTSOCK);
    check_refused(self, socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), XEV_EPROTOTYPE);
    check_refused(self, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), XEV_EINVAL);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    check_refused(self, fds[0], XEV_EINVAL);
    CHECK_EQ(close(fds[1]), 0);
    return 0;
}

static void listen_late(xev_shard *self) {
    open_listening(XEV_AF_UNIX);
    check_refused(self, listening, XEV_ECANCELED);
}

TEST(descriptors_that_do_not_listen_are_refused) {
    sc.init = listen_on_others;
    sc.body = stop_all;
    sc.drain = listen_late;
    CHECK_EQ(scene_run(1), 0);
}
