/* Services whose loops find no memory for more connections: those that there is memory for are
 * served, the others are closed and counted, and the next is served when there is memory again. */
#include <netinet/tcp.h>
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
        int fd = connect_to(service);
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
    const xev_serve_limits none = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, NULL};
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

TEST(what_the_system_holds_has_default_limits_where_memory_is_short) {
    const struct rlimit memory = {UINT64_C(1) << 29, RLIM_INFINITY};
    if (test_slowdown() > 1) {
        return; /* sanitizers take more than that */
    }
    wanted = (struct limits){(1 << 29) / 8192, (1 << 29) / 16384};
    CHECK_EQ(setrlimit(RLIMIT_DATA, &memory), 0);
    check_limits("127.0.0.1:0", (struct limits){0, 0});
    serve = NULL;
    wanted = (struct limits){(1 << 29) / 8192, 0};
    check_limits(abstract_address(), (struct limits){0, 0});
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
