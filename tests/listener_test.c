/* Listeners of shards: a shared port, addresses that are taken, drain, exhaustion. */
#include "tests/shard_scene.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

static xev_listener listeners[SCENE_SHARDS], others[SCENE_SHARDS];
static xev_addr addr;
static atomic_int accepts[SCENE_SHARDS]; /* callbacks with a descriptor */
static atomic_int all_accepts;
static atomic_int failures; /* callbacks with an error */
static sem_t up, ended;
static bool set_keepalive; /* on listeners, by shards one after the other */

/* ---- clients: plain sockets ---- */

static int client_socket(void) {
    int fd = socket(xev_addr_family(&addr) == XEV_AF_INET6 ? AF_INET6 : AF_INET,
                    SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    return fd;
}

static int try_connect(int fd, uint32_t port) {
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    bool six = xev_addr_family(&addr) == XEV_AF_INET6;
    struct sockaddr *sa = six ? (struct sockaddr *)(void *)&v6 : (struct sockaddr *)(void *)&v4;
    return connect(fd, sa, six ? sizeof v6 : sizeof v4) == 0 ? 0 : -errno;
}

static int client(void) {
    int fd = client_socket();
    CHECK_EQ(try_connect(fd, xev_addr_port(&addr)), 0);
    return fd;
}

/* A client whose connection the listener's side has completed as well: connect returns when the
 * last part of the handshake is sent, which the other side may take in later. */
static int completed_client(void) {
    int fd = client(), left = 1;
    CHECK_EQ(send(fd, "h", 1, MSG_NOSIGNAL), 1);
    while (left > 0) { /* not acknowledged */
        sched_yield();
        CHECK_EQ(ioctl(fd, SIOCOUTQ, &left), 0);
    }
    return fd;
}

/* The server's side says its shard's number and closes. */
static int said(int fd) {
    unsigned char c;
    if (recv(fd, &c, 1, MSG_WAITALL) != 1) {
        return -1;
    }
    CHECK_EQ(recv(fd, &c, 1, 0), 0);
    return c;
}

/* ---- the server ---- */

static void serve(xev_listener *listener, int result, void *userdata) {
    xev_shard *self = xev_listener_shard(listener);
    CHECK(self == xev_shard_current());
    CHECK(userdata == &accepts);
    if (result < 0) {
        failures++;
        sem_give(&ended);
        return;
    }
    unsigned char id = (unsigned char)xev_shard_id(self), hello;
    (void)recv(result, &hello, 1, MSG_DONTWAIT); /* if any; unread it would reset the connection */
    CHECK((fcntl(result, F_GETFD) & FD_CLOEXEC) != 0);
    int no_delay = 0, keeps_alive = 0;
    CHECK_EQ(getsockopt(result, IPPROTO_TCP, TCP_NODELAY, &no_delay, &(socklen_t){sizeof(int)}), 0);
    CHECK_EQ(no_delay, 1);
    CHECK_EQ(getsockopt(result, SOL_SOCKET, SO_KEEPALIVE, &keeps_alive, &(socklen_t){sizeof(int)}),
             0);
    CHECK_EQ(keeps_alive, set_keepalive);
    CHECK_EQ(send(result, &id, 1, MSG_NOSIGNAL), 1);
    CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(result)), 0);
    accepts[id]++;
    all_accepts++;
}

static int listen_in(xev_shard *self, xev_listener *l, xev_addr *at) {
    int rc = xev_shard_listen(self, l, at, 0, &accepts, serve);
    if (rc == 0) {
        CHECK(xev_listener_shard(l) == self);
        set_keepalive = true;
        CHECK_EQ(xev_tcp_set_keepalive(xev_listener_tcp(l), 60000), 0); /* connections inherit it */
    }
    return rc;
}

static int listen_on_shared_port(xev_shard *self) {
    xev_listener *l = &listeners[xev_shard_id(self)];
    int rc = listen_in(self, l, &addr);
    if (rc == 0 && xev_shard_id(self) == 0) {
        CHECK_EQ(xev_listener_addr(l, &addr), 0);
    }
    return rc;
}

static void any_port(const char *host) { CHECK_EQ(xev_addr_parse(&addr, host, 0), 0); }

static void zero_is_up(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        sem_give(&up);
    }
}

static void check_counters(xev_shard *self) {
    uint32_t id = xev_shard_id(self);
    xev_addr was;
    CHECK_EQ(counters_of(self).accepted, accepts[id]);
    CHECK_EQ(xev_listener_addr(&listeners[id], &was), 0); /* closed by now */
    CHECK_EQ(xev_addr_port(&was), xev_addr_port(&addr));
}

static void begin(const char *host) {
    sem_new(&up);
    sem_new(&ended);
    any_port(host);
    sc.init = listen_on_shared_port;
    sc.body = zero_is_up;
    sc.deinit = check_counters;
    memset(accepts, 0, sizeof accepts);
    all_accepts = 0;
}

/* ---- a shared port ---- */

enum { CLIENTS = 200 };

static void *connect_many(void *arg) {
    uint32_t shards = *(uint32_t *)arg;
    uint32_t by[SCENE_SHARDS] = {0};
    int fds[CLIENTS];
    sem_take(&up);
    CHECK_GT(xev_addr_port(&addr), 0);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client();
    }
    for (int i = 0; i < CLIENTS; i++) {
        int id = said(fds[i]);
        CHECK_GE(id, 0);
        CHECK_LT(id, shards);
        by[id]++;
        CHECK_EQ(close(fds[i]), 0);
    }
    /* The callback that counts runs on after it has written. */
    while (all_accepts < CLIENTS) {
        sched_yield();
    }
    for (uint32_t i = 0; i < shards; i++) {
        CHECK_GT(by[i], 0);
        CHECK_EQ(by[i], accepts[i]);
        CHECK_EQ(counters_of(xev_runtime_shard(&sc.rt, i)).accepted, by[i]);
    }
    xev_runtime_stop(&sc.rt);
    return NULL;
}

static void check_shared(const char *host, uint32_t shards) {
    begin(host);
    pthread_t t = thread_start(connect_many, &shards);
    CHECK_EQ(scene_run(shards), 0);
    thread_join(t);
    CHECK_EQ(all_accepts, CLIENTS);
    CHECK_EQ(failures, 0);
}

TEST(shards_share_a_port_and_count_what_they_accept) { check_shared("127.0.0.1", 2); }
TEST(five_shards_share_a_port) { check_shared("127.0.0.1", 5); }
TEST(ipv6_shards_share_a_port) { check_shared("::1", 3); }
TEST(any_address) { check_shared("0.0.0.0", 2); }

TEST(the_port_can_be_had_again_at_once_and_nothing_is_left) {
    check_shared("127.0.0.1", 2);
    uint32_t fds = descriptors();
    uint32_t port = xev_addr_port(&addr);
    for (int i = 0; i < 3; i++) {
        uint32_t shards = 2;
        begin("127.0.0.1");
        CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", port), 0);
        pthread_t t = thread_start(connect_many, &shards);
        CHECK_EQ(scene_run(shards), 0);
        thread_join(t);
        CHECK_EQ(descriptors(), fds);
    }
}

static int listen_on_two_ports(xev_shard *self) {
    static xev_addr second;
    CHECK_EQ(listen_on_shared_port(self), 0);
    uint32_t id = xev_shard_id(self);
    if (id == 0) {
        CHECK_EQ(xev_addr_parse(&second, "127.0.0.1", 0), 0);
    }
    CHECK_EQ(listen_in(self, &others[id], &second), 0);
    CHECK_EQ(xev_listener_addr(&others[id], &second), 0);
    CHECK_NE(xev_addr_port(&second), xev_addr_port(&addr));
    return 0;
}

static void *connect_to_both(void *arg) {
    (void)arg;
    sem_take(&up);
    xev_addr second;
    CHECK_EQ(xev_listener_addr(&others[0], &second), 0);
    for (int i = 0; i < 20; i++) {
        int fd = client_socket();
        CHECK_EQ(try_connect(fd, xev_addr_port(i % 2 == 0 ? &addr : &second)), 0);
        CHECK_GE(said(fd), 0);
        CHECK_EQ(close(fd), 0);
    }
    xev_runtime_stop(&sc.rt);
    return NULL;
}

TEST(several_listeners_per_shard) {
    begin("127.0.0.1");
    sc.init = listen_on_two_ports;
    pthread_t t = thread_start(connect_to_both, NULL);
    CHECK_EQ(scene_run(2), 0);
    thread_join(t);
    CHECK_EQ(all_accepts, 20);
}

/* ---- addresses that cannot be had ---- */

static int plain_listener(bool reuse_port) {
    int fd = client_socket(), on = 1;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    if (reuse_port) {
        CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
    }
    CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&sa, len), 0);
    CHECK_EQ(listen(fd, 5), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)(void *)&sa, &len), 0);
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", ntohs(sa.sin_port)), 0);
    return fd;
}

static void check_busy(void) {
    uint32_t fds = descriptors();
    sc.init = listen_on_shared_port;
    CHECK_EQ(scene_run(2), XEV_EADDRINUSE);
    CHECK_EQ(logged(INIT), 1);
    CHECK_EQ(logged(DEINIT), 0);
    CHECK_EQ(descriptors(), fds);
}

TEST(a_port_of_a_plain_listener_is_busy) {
    any_port("127.0.0.1");
    int fd = plain_listener(false);
    check_busy();
    CHECK_EQ(close(fd), 0);
}

TEST(a_port_of_another_reuseport_listener_is_busy) {
    any_port("127.0.0.1");
    int fd = plain_listener(true);
    check_busy();
    CHECK_EQ(close(fd), 0);
}

TEST(a_port_of_another_process_is_busy) {
    any_port("127.0.0.1");
    int fd = plain_listener(true), pipes[2];
    CHECK_EQ(pipe(pipes), 0);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        char c;
        close(pipes[1]);
        _exit((int)read(pipes[0], &c, 1)); /* until the parent closes it */
    }
    CHECK_EQ(close(fd), 0); /* the child alone has it now */
    check_busy();
    close(pipes[1]);
    close(pipes[0]);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

static uint32_t millis_since(struct timespec start) {
    struct timespec now;
    CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    int64_t ms = (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000;
    return (uint32_t)ms;
}

/* As the kernel does with a killed process's. */
static void *free_it_later(void *arg) {
    struct timespec ts = {.tv_nsec = 50 * 1000000};
    CHECK_EQ(nanosleep(&ts, NULL), 0);
    CHECK_EQ(close(*(int *)arg), 0);
    return NULL;
}

TEST(a_start_waits_for_a_port_that_comes_free) {
    any_port("127.0.0.1");
    int fd = plain_listener(true);
    sc.o.listen_retry_ms = HOUR_MS;
    sc.init = listen_on_shared_port;
    sc.body = zero_stops_all;
    pthread_t t = thread_start(free_it_later, &fd);
    CHECK_EQ(scene_run(2), 0);
    thread_join(t);
}

TEST(a_start_does_not_wait_for_a_port_where_it_shall_not) {
    struct timespec start;
    any_port("127.0.0.1");
    int fd = plain_listener(true);
    sc.o.listen_retry_ms = UINT32_MAX;
    CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &start), 0);
    check_busy();
    CHECK_EQ(close(fd), 0);
    CHECK_LT(millis_since(start), HOUR_MS); /* and not 49 days */
}

TEST(a_start_waits_for_a_port_as_long_as_it_was_told) {
    struct timespec start;
    any_port("127.0.0.1");
    int fd = plain_listener(true);
    sc.o.listen_retry_ms = 30;
    CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &start), 0);
    check_busy();
    CHECK_GE(millis_since(start), 30);
    CHECK_EQ(close(fd), 0);
}

static int stop_and_listen(xev_shard *self) {
    stop_all(self);
    return listen_on_shared_port(self);
}

TEST(a_stop_ends_the_wait_for_a_port) {
    any_port("127.0.0.1");
    int fd = plain_listener(false);
    sc.o.listen_retry_ms = HOUR_MS;
    sc.init = stop_and_listen;
    CHECK_EQ(scene_run(2), XEV_EADDRINUSE);
    CHECK_EQ(close(fd), 0);
}

static void listen_again(xev_shard *self) {
    xev_addr taken = addr;
    CHECK_EQ(listen_in(self, &others[0], &taken), XEV_EADDRINUSE);
    stop_all(self);
}

TEST(a_shard_that_serves_waits_for_no_port) {
    struct timespec start;
    any_port("127.0.0.1");
    sc.o.listen_retry_ms = HOUR_MS;
    sc.init = listen_on_shared_port;
    sc.body = listen_again;
    CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &start), 0);
    CHECK_EQ(scene_run(1), 0);
    CHECK_LT(millis_since(start), HOUR_MS);
}

static int wildcard_then_loopback(xev_shard *self) {
    xev_addr loopback;
    int rc = listen_in(self, &listeners[0], &addr);
    CHECK_EQ(rc, 0);
    CHECK_EQ(xev_listener_addr(&listeners[0], &addr), 0);
    CHECK_EQ(xev_addr_parse(&loopback, "127.0.0.1", xev_addr_port(&addr)), 0);
    return listen_in(self, &others[0], &loopback);
}

TEST(on_shard_zero_the_address_must_be_free_of_our_own_too) {
    any_port("0.0.0.0");
    uint32_t fds = descriptors();
    sc.init = wildcard_then_loopback;
    CHECK_EQ(scene_run(1), XEV_EADDRINUSE);
    CHECK_EQ(descriptors(), fds);
}

static int listen_where_we_are_not(xev_shard *self) {
    CHECK_EQ(xev_addr_parse(&addr, "192.0.2.1", 0), 0);
    CHECK_EQ(listen_in(self, &listeners[0], &addr), XEV_EADDRNOTAVAIL);
    addr = (xev_addr){0};
    CHECK_LT(listen_in(self, &listeners[0], &addr), 0);
    stop_all(self);
    return 0;
}

TEST(a_listen_that_failed_leaves_the_shard_as_it_was) {
    sc.init = listen_where_we_are_not;
    CHECK_EQ(scene_run(1), 0);
}

static int listen_then_two_fails(xev_shard *self) {
    CHECK_EQ(listen_on_shared_port(self), 0);
    return xev_shard_id(self) == 2 ? XEV_ENOSPC : 0;
}

TEST(a_failed_start_closes_the_listeners) {
    uint32_t fds = descriptors();
    any_port("127.0.0.1");
    sc.init = listen_then_two_fails;
    CHECK_EQ(scene_run(4), XEV_ENOSPC);
    CHECK_EQ(descriptors(), fds);
    int fd = client_socket();
    CHECK_EQ(try_connect(fd, xev_addr_port(&addr)), -ECONNREFUSED);
    CHECK_EQ(close(fd), 0);
}

/* ---- the backlog ---- */

static uint32_t backlog_of(const xev_listener *l) {
    struct tcp_info info;
    socklen_t len = sizeof info;
    CHECK_EQ(getsockopt(l->tcp.fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0); /* private: tcp */
    return info.tcpi_sacked; /* of a listener: what its backlog holds at most */
}

static int listen_with_backlogs(xev_shard *self) {
    uint32_t most = 0;
    FILE *f = fopen("/proc/sys/net/core/somaxconn", "re");
    CHECK(f != NULL);
    CHECK_EQ(fscanf(f, "%u", &most), 1);
    fclose(f);
    CHECK_GE(most, 7);
    CHECK_EQ(xev_shard_listen(self, &listeners[0], &addr, -1, &accepts, serve), XEV_EINVAL);
    CHECK_EQ(xev_shard_listen(self, &listeners[0], &addr, 7, &accepts, serve), 0);
    CHECK_EQ(backlog_of(&listeners[0]), 7);
    CHECK_EQ(xev_shard_listen(self, &others[0], &addr, 0, &accepts, serve), 0);
    CHECK_EQ(backlog_of(&others[0]), most < 4096 ? most : 4096);
    stop_all(self);
    return 0;
}

TEST(the_backlog_is_the_one_asked_for) {
    any_port("127.0.0.1");
    sc.init = listen_with_backlogs;
    CHECK_EQ(scene_run(1), 0);
}

/* ---- descriptors ---- */

enum { FEW = 200, MORE = 300 };

static void limit_fds(rlim_t limit) {
    struct rlimit files = {limit, MORE};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
}

/* ---- pause ---- */

enum { GUESTS = 5, LOOKS = 10 };
static int guests[GUESTS], looks, pauses;
static xev_completion look;

static bool accepting(void) { /* private: accept */
    return xev_completion_state(&listeners[0].accept) == XEV_COMPLETION_ACTIVE;
}

static void invite(void) {
    for (int i = 0; i < GUESTS; i++) {
        guests[i] = completed_client();
    }
}

static void check_served(void) {
    CHECK_EQ(all_accepts, GUESTS);
    for (int i = 0; i < GUESTS; i++) {
        CHECK_EQ(said(guests[i]), 0);
        CHECK_EQ(close(guests[i]), 0);
    }
}

static void look_every_5_ms(xev_shard *self, xev_cb cb) {
    xev_timer_run(NULL, xev_shard_loop(self), &look, 5, self, cb);
}

static xev_cb_action resume_after_looks(xev_loop *loop, xev_completion *c, int result,
                                        void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    if (looks == 0 && accepting()) {
        return XEV_REARM;
    }
    if (looks == 0) {
        invite();
    }
    if (looks < LOOKS) {
        CHECK_EQ(all_accepts, 0);
    } else if (looks == LOOKS) {
        xev_listener_resume(&listeners[0]);
    }
    looks++;
    if (all_accepts < GUESTS) {
        return XEV_REARM;
    }
    stop_all(userdata);
    return XEV_DISARM;
}

static void pause_and_look(xev_shard *self) {
    xev_listener_pause(&listeners[0]);
    xev_listener_pause(&listeners[0]);
    look_every_5_ms(self, resume_after_looks);
}

TEST(a_paused_listener_lets_clients_wait_until_it_is_resumed) {
    begin("127.0.0.1");
    sc.body = pause_and_look;
    CHECK_EQ(scene_run(1), 0);
    check_served();
}

static void serve_and_pause(xev_listener *listener, int result, void *userdata) {
    serve(listener, result, userdata);
    xev_listener_pause(listener);
    pauses++;
    if (pauses % 2 == 0) {
        xev_listener_resume(listener); /* before the pause has come into effect */
        xev_listener_pause(listener);
        xev_listener_resume(listener);
    }
}

static int listen_and_pause(xev_shard *self) {
    int rc = xev_shard_listen(self, &listeners[0], &addr, 0, &accepts, serve_and_pause);
    return rc == 0 ? xev_listener_addr(&listeners[0], &addr) : rc;
}

static xev_cb_action resume_when_paused(xev_loop *loop, xev_completion *c, int result,
                                        void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    if (!accepting()) {
        xev_listener_resume(&listeners[0]);
    }
    if (all_accepts < GUESTS) {
        return XEV_REARM;
    }
    stop_all(userdata);
    return XEV_DISARM;
}

static void invite_and_look(xev_shard *self) {
    invite();
    look_every_5_ms(self, resume_when_paused);
}

TEST(a_listener_may_be_paused_and_resumed_from_its_callback) {
    begin("127.0.0.1");
    sc.init = listen_and_pause;
    sc.body = invite_and_look;
    CHECK_EQ(scene_run(1), 0);
    check_served();
    CHECK_EQ(pauses, GUESTS);
}

static xev_cb_action stop_when_paused(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    if (accepting()) {
        return XEV_REARM;
    }
    invite();
    stop_all(userdata);
    return XEV_DISARM;
}

static void pause_and_stop_when_paused(xev_shard *self) {
    xev_listener_pause(&listeners[0]);
    look_every_5_ms(self, stop_when_paused);
}

static void pause_and_stop_at_once(xev_shard *self) {
    invite();
    xev_listener_pause(&listeners[0]);
    stop_all(self);
}

static void drain_resumes_too_late(xev_shard *self) {
    (void)self;
    xev_listener_resume(&listeners[0]);
    xev_listener_pause(&listeners[0]);
}

TEST(who_waits_at_a_paused_listener_is_handed_over_by_the_drain) {
    uint32_t fds = descriptors();
    for (int at_once = 0; at_once < 2; at_once++) {
        begin("127.0.0.1");
        sc.body = at_once ? pause_and_stop_at_once : pause_and_stop_when_paused;
        sc.drain = sc.stop = drain_resumes_too_late;
        CHECK_EQ(scene_run(1), 0);
        check_served();
        CHECK_EQ(descriptors(), fds);
    }
}

static xev_cb_action stop_without_descriptors(xev_loop *loop, xev_completion *c, int result,
                                              void *userdata) {
    if (stop_when_paused(loop, c, result, userdata) == XEV_REARM) {
        return XEV_REARM;
    }
    int next = dup(guests[0]);
    CHECK_EQ(close(next), 0);
    limit_fds((rlim_t)next);
    return XEV_DISARM;
}

static void pause_and_stop_without_descriptors(xev_shard *self) {
    xev_listener_pause(&listeners[0]);
    look_every_5_ms(self, stop_without_descriptors);
}

TEST(a_drain_that_cannot_hand_over_who_waits_says_why) {
    begin("127.0.0.1");
    sc.body = pause_and_stop_without_descriptors;
    sc.o.drain_ms = 200; /* for which it tries */
    CHECK_EQ(scene_run(1), XEV_ETIMEDOUT);
    CHECK_EQ(failures, 2); /* when it began, and at the deadline */
    CHECK_EQ(all_accepts, 0);
    for (int i = 0; i < GUESTS; i++) {
        CHECK_EQ(said(guests[i]), -1);
        CHECK_EQ(close(guests[i]), 0);
    }
}

/* ---- drain ---- */

enum { WAITING = 60 };

static sem_t held, release;
static xev_message hold_messages[SCENE_SHARDS];
static int waiting[WAITING];

static void hold(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    sem_give(&held);
    sem_take(&release);
}

static void hold_self(xev_shard *self) {
    CHECK_EQ(xev_shard_send(self, &hold_messages[xev_shard_id(self)], hold, NULL), 0);
}

/* Connects while no shard looks, asks for the stop, and only then lets them go on. */
static void *fill_backlog_and_stop(void *arg) {
    (void)arg;
    for (int i = 0; i < 2; i++) {
        sem_take(&held);
    }
    for (int i = 0; i < WAITING; i++) {
        waiting[i] = completed_client();
    }
    xev_runtime_stop(&sc.rt);
    for (int i = 0; i < 2; i++) {
        sem_give(&release);
    }
    for (int i = 0; i < WAITING; i++) {
        CHECK_GE(said(waiting[i]), 0);
        CHECK_EQ(close(waiting[i]), 0);
    }
    return NULL;
}

TEST(what_stands_in_the_backlog_at_drain_is_served) {
    begin("127.0.0.1");
    sem_new(&held);
    sem_new(&release);
    sc.body = hold_self;
    for (uint32_t i = 0; i < rounds(20); i++) {
        any_port("127.0.0.1");
        all_accepts = accepts[0] = accepts[1] = 0;
        pthread_t t = thread_start(fill_backlog_and_stop, NULL);
        CHECK_EQ(scene_run(2), 0);
        thread_join(t);
        CHECK_EQ(all_accepts, WAITING);
        CHECK_EQ(failures, 0);
    }
}

static void check_refused(xev_shard *self) {
    (void)self;
    int fd = client_socket();
    CHECK_EQ(try_connect(fd, xev_addr_port(&addr)), -ECONNREFUSED);
    CHECK_EQ(close(fd), 0);
}

TEST(after_the_drain_nobody_listens) {
    any_port("127.0.0.1");
    sc.init = listen_on_shared_port;
    sc.body = zero_stops_all;
    sc.stop = check_refused;
    CHECK_EQ(scene_run(3), 0);
}

static void listen_too_late(xev_shard *self) {
    any_port("127.0.0.1");
    CHECK_EQ(listen_in(self, &listeners[0], &addr), XEV_ECANCELED);
}

TEST(from_the_drain_on_nobody_starts_to_listen) {
    uint32_t fds = descriptors();
    sc.o.drain_ms = HOUR_MS; /* nothing holds it */
    sc.body = zero_stops_all;
    sc.drain = listen_too_late;
    sc.stop = listen_too_late;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(descriptors(), fds);
}

/* ---- exhaustion of descriptors ---- */

static void *exhaust_and_recover(void *arg) {
    int hoard[FEW], clients[3], count = 0;
    (void)arg;
    sem_take(&up);
    for (int i = 0; i < 3; i++) {
        clients[i] = client_socket();
    }
    for (int fd; (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0; count++) {
        hoard[count] = fd;
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(try_connect(clients[i], xev_addr_port(&addr)), 0);
    }
    sem_take(&ended); /* the callback has been told */
    CHECK_EQ(all_accepts, 0);
    limit_fds(MORE); /* room for all at one stroke: one by one they may run out again */
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(said(clients[i]), 0);
        CHECK_EQ(close(clients[i]), 0);
    }
    while (count > 0) {
        CHECK_EQ(close(hoard[--count]), 0);
    }
    xev_runtime_stop(&sc.rt);
    return NULL;
}

TEST(exhaustion_is_reported_once_and_passes) {
    begin("127.0.0.1");
    limit_fds(FEW);
    pthread_t t = thread_start(exhaust_and_recover, NULL);
    CHECK_EQ(scene_run(1), 0);
    thread_join(t);
    CHECK_EQ(all_accepts, 3);
    CHECK_EQ(failures, 1);
}
