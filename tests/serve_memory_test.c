/* Services whose loops find no memory for more connections: those that there is memory for are
 * served, the others are closed and counted, and the next is served when there is memory again. */
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "tests/memory_scene.h"
#include "tests/serve_scene.h"

enum { MOST = 2000 };

static xev_service *service;
static int clients[MOST], unserved;

/* Whether the client is served; if not, it is closed and found that out. */
static bool is_served(int fd) {
    char text[2];
    return send(fd, "?", 1, MSG_NOSIGNAL) == 1 && recv(fd, text, 2, MSG_WAITALL) == 2;
}

static void connect_beyond_memory(void) {
    int count = 0;
    CHECK(is_served(clients[count++] = connect_to(service)));
    inject_plan(1, INJECT_FROM_THERE_ON);
    while (unserved < 10 && count < MOST) {
        int fd = connect_to_full(service);
        if (is_served(fd)) {
            clients[count++] = fd;
        } else {
            unserved++;
            CHECK_EQ(close(fd), 0);
        }
    }
    CHECK_EQ(unserved, 10);
    for (int i = 0; i < count; i++) { /* these need no more memory */
        CHECK(is_served(clients[i]));
    }
    inject_arm(false);
    int next = connect_to(service);
    CHECK(is_served(next));
    CHECK_EQ(close(next), 0);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(close(clients[i]), 0);
    }
}

TEST_TIMEOUT(what_there_is_no_memory_for_is_counted_and_the_next_is_served, 60) {
    const xev_serve_limits none = {.process_max = UINT32_MAX,
                                   .shard_max = UINT32_MAX,
                                   .peer_max = UINT32_MAX,
                                   .reserve = UINT32_MAX};
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t wanted = 2 * MOST + 200;
    limit.rlim_cur = limit.rlim_cur < wanted ? wanted : limit.rlim_cur;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    options.loop.allocator = counted_allocator;
    xev_service_options o = service_options("m", "127.0.0.1:0");
    service = add_service(&o);
    CHECK_EQ(xev_serve_set_limits(serve, &none), 0);
    run_with_clients(1, connect_beyond_memory);
    xev_service_counters c = count_of(service);
    CHECK_EQ(c.connections, 0);
    CHECK_EQ(c.accepted, c.served + c.refused[XEV_SERVE_NO_MEMORY]);
    CHECK_GE(c.accepted, unserved + 2);
    CHECK_EQ(closed_connections, (int64_t)c.served);
    xev_serve_free(serve);
    CHECK_EQ(held_bytes(), 0);
}

/* ---- what the system holds ---- */

struct limits {
    uint32_t unsent, unread;
};

static uint32_t number_of(int fd, int level, int option) {
    uint32_t bytes = 0;
    socklen_t size = sizeof bytes;
    CHECK_EQ(getsockopt(fd, level, option, &bytes, &size), 0);
    return bytes;
}

static ptrdiff_t tell_limits(xev_conn *conn, const void *data, size_t len) {
    int fd = xev_conn_fd(conn);
    bool local = number_of(fd, SOL_SOCKET, SO_DOMAIN) == AF_UNIX;
    const struct limits limits = {
        .unsent = local ? number_of(fd, SOL_SOCKET, SO_SNDBUF)
                        : number_of(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT),
        .unread = local ? 0 : number_of(fd, SOL_SOCKET, SO_RCVBUF) / 2, /* Linux doubles it */
    };
    (void)data;
    (void)xev_conn_write(conn, &limits, sizeof limits);
    return (ptrdiff_t)len;
}

static const xev_conn_handlers telling = {.data = tell_limits};
static xev_service *limited;
static struct limits wanted;

static void ask_limits(void) {
    struct limits limits;
    int fd = connect_to(limited);
    ask_shard(fd);
    CHECK_EQ(recv(fd, &limits, sizeof limits, MSG_WAITALL), sizeof limits);
    CHECK_EQ(limits.unsent, wanted.unsent);
    CHECK_EQ(limits.unread, wanted.unread);
    CHECK_EQ(close(fd), 0);
}

static void check_limits(const char *address, struct limits option) {
    xev_service_options o = service_options("u", address);
    o.conns.handlers = &telling;
    o.unsent_bytes = option.unsent;
    o.unread_bytes = option.unread;
    limited = add_service(&o);
    run_with_clients(1, ask_limits);
    xev_serve_free(serve);
}

TEST(what_the_system_holds_of_a_connection_is_limited) {
    wanted = (struct limits){50000, 60000};
    check_limits("127.0.0.1:0", wanted);
}

/* What its peer sends is the peer's memory. */
TEST(what_the_system_holds_of_a_local_connection_is_limited) {
    wanted = (struct limits){50000, 0};
    check_limits(abstract_address(), (struct limits){50000, 60000});
}

/* A local one, that the process was started with. */
TEST(what_the_system_holds_of_an_inherited_local_connection_is_limited) {
    char address[16];
    xev_addr addr;
    xev_unix sock;
    CHECK_EQ(xev_addr_from_text(&addr, abstract_address()), 0);
    CHECK_EQ(xev_unix_init(&sock, XEV_UNIX_STREAM), 0);
    CHECK_EQ(xev_unix_bind(sock, &addr, XEV_UNIX_KEEP), 0);
    CHECK_EQ(xev_unix_listen(sock, 8), 0);
    snprintf(address, sizeof address, "fd:%d", (int)sock.fd);
    wanted = (struct limits){50000, 0};
    check_limits(address, (struct limits){50000, 60000});
}

TEST(what_the_system_holds_has_default_limits_where_memory_is_short) {
    const struct rlimit memory = {UINT64_C(1) << 29, RLIM_INFINITY};
    if (test_slowdown() > 1) {
        return; /* sanitizers take more than that */
    }
    wanted = (struct limits){(1 << 29) / 16384, (1 << 29) / 16384};
    CHECK_EQ(setrlimit(RLIMIT_DATA, &memory), 0);
    check_limits("127.0.0.1:0", (struct limits){0, 0});
    serve = NULL;
    wanted = (struct limits){(1 << 29) / 16384, 0};
    check_limits(abstract_address(), (struct limits){0, 0});
}

/* ---- what a peer that does not read makes the system hold ---- */

enum { UNSENT = 8192, FLOOD = 1 << 20 };

static char flood[FLOOD];
static size_t answer_bytes;
static xev_conn *flooded;
static atomic_int flooded_fd;

static void write_answer(void) { CHECK_EQ(xev_conn_write(flooded, flood, answer_bytes), 0); }

static ptrdiff_t answer_much(xev_conn *conn, const void *data, size_t len) {
    (void)data;
    flooded = conn;
    for (size_t i = 0; i < len; i++) {
        write_answer();
    }
    atomic_store(&flooded_fd, xev_conn_fd(conn));
    return (ptrdiff_t)len;
}

static const xev_conn_handlers flooding = {.data = answer_much};

/* One turn of the server's loop at least. */
static void nothing(void) {}

/* What is on its way, or is sent a little later since the system paces it, does not count: it
 * becomes less without the peer. */
static void check_unsent(void) {
    for (int bytes = UNSENT + 1; bytes > UNSENT;) {
        call_on(0, nothing);
        CHECK_EQ(ioctl(atomic_load(&flooded_fd), SIOCOUTQNSD, &bytes), 0);
    }
}

static void ask_and_check(int fd) {
    atomic_store(&flooded_fd, -1);
    CHECK_EQ(send(fd, "?", 1, MSG_NOSIGNAL), 1);
    while (atomic_load(&flooded_fd) < 0) {
        call_on(0, nothing);
    }
    check_unsent();
}

static void read_answer(int fd) {
    static char text[65536];
    for (size_t at = 0; at < answer_bytes;) {
        size_t step = answer_bytes - at < sizeof text ? answer_bytes - at : sizeof text;
        ssize_t n = recv(fd, text, step, 0);
        CHECK_GT(n, 0);
        CHECK_MEM_EQ(text, flood + at, (size_t)n);
        at += (size_t)n;
    }
}

static void ask_and_do_not_read(void) {
    int fd = connect_to(limited);
    for (int i = 0; i < 20; i++) {
        ask_and_check(fd);
    }
    for (int i = 0; i < 20; i++) {
        read_answer(fd);
    }
    CHECK_EQ(close(fd), 0);
}

/* The answers come by themselves: the acknowledgements of questions would have no room there. */
static void do_not_read(void) {
    int fd = connect_to(limited), size = 65536; /* else its system makes room for all */
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
    ask_and_check(fd);
    for (int i = 0; i < 999; i++) {
        call_on(0, write_answer);
        check_unsent();
    }
    for (int i = 0; i < 1000; i++) {
        read_answer(fd);
    }
    CHECK_EQ(close(fd), 0);
}

static void check_held(size_t bytes, void (*client)(void)) {
    for (size_t i = 0; i < sizeof flood; i++) {
        flood[i] = (char)(i * 7 + i / 251);
    }
    xev_service_options o = service_options("u", "127.0.0.1:0");
    o.conns.handlers = &flooding;
    o.conns.queued_max_bytes = 64 << 20;
    o.conns.high_bytes = 64 << 20; /* all questions are heard */
    o.conns.deadlines.write_ms =
        UINT32_MAX; /* the client reads late, and later on a slow machine */
    o.unsent_bytes = UNSENT;
    limited = add_service(&o);
    answer_bytes = bytes;
    run_with_clients(1, client);
    xev_serve_free(serve);
}

TEST_TIMEOUT(the_system_is_given_no_more_of_a_large_answer_than_it_may_hold, 60) {
    check_held(FLOOD, ask_and_do_not_read);
}

TEST_TIMEOUT(the_system_is_given_no_more_than_it_may_hold_of_what_a_handler_gathers, 60) {
    check_held(30000, ask_and_do_not_read);
}

TEST_TIMEOUT(the_system_is_given_no_more_of_small_answers_than_it_may_hold, 60) {
    check_held(1000, do_not_read);
}

TEST(a_buffer_that_no_system_has_ends_the_start) {
    xev_service_options o = service_options("u", "127.0.0.1:0");
    o.unread_bytes = UINT32_MAX - 1;
    limited = add_service(&o);
    CHECK_EQ(run_services(1), XEV_EINVAL);
    xev_runtime_failure f;
    xev_runtime_failure_get(&runtime, &f);
    CHECK_STR_EQ(f.call, "unread_bytes");
    CHECK_STR_EQ(f.part, "u");
    xev_serve_free(serve);
}
