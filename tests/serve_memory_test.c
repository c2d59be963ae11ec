/* Services whose loops find no memory for more connections: those that there is memory for are
 * served, the others are closed and counted, and the next is served when there is memory again. */
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
