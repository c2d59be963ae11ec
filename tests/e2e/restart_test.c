/* Restarts of examples/echo_sharded at a socket that this test holds, as a supervisor does: the new
 * process accepts at it before the old one drains. Clients that come and go all the time notice
 * nothing. */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/e2e/server.h"

enum { HELD_FD = 9, CLIENTS = 8 };

static int held;
static atomic_bool over;
static atomic_uint served;
static struct server at; /* where the clients connect; its port and family do not change */

static void give_held(void) {
    if (dup2(held, HELD_FD) != HELD_FD) {
        _exit(126);
    }
}

static void hold_listener(void) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    held = fcntl(fd, F_DUPFD_CLOEXEC, HELD_FD + 1); /* where nothing of the child is to be */
    CHECK_GE(held, 0);
    close_fd(fd);
    CHECK_EQ(bind(held, (struct sockaddr *)(void *)&sa, len), 0);
    CHECK_EQ(listen(held, 1024), 0);
    CHECK_EQ(getsockname(held, (struct sockaddr *)(void *)&sa, &len), 0);
    at.family = AF_INET;
    at.port = ntohs(sa.sin_port);
}

static void start_at_held(struct server *s) {
    static const char *const more[] = {"--address", "fd:9", NULL};
    server_start_with(s, 2, more, give_held);
    CHECK_EQ(s->port, at.port);
}

/* Each connection is answered in full, and ends in order. */
static void *come_and_go(void *arg) {
    uint32_t n = 0;
    while (!over) {
        char text[32];
        snprintf(text, sizeof text, "client %d, number %u", (int)(intptr_t)arg, n++);
        int fd = client(&at);
        check_echo(fd, text);
        end_writing(fd);
        check_end(fd);
        close_fd(fd);
        served++;
    }
    return NULL;
}

TEST_TIMEOUT(restarts_that_no_client_notices, 120) {
    static struct server servers[2];
    int rounds = test_slowdown() > 1 ? 10 : 100;
    pthread_t threads[CLIENTS];
    hold_listener();
    start_at_held(&servers[0]);
    for (int i = 0; i < CLIENTS; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, come_and_go, (void *)(intptr_t)i), 0);
    }
    uint64_t accepted = 0;
    for (int i = 0; i < rounds; i++) {
        struct server *old = &servers[i % 2], *next = &servers[(i + 1) % 2];
        unsigned before = served;
        start_at_held(next);
        while (served - before < CLIENTS) { /* both serve under load */
            usleep(200);
        }
        server_stop(old);
        accepted += total_accepted(old);
    }
    over = true;
    for (int i = 0; i < CLIENTS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    struct server *last = &servers[rounds % 2];
    server_stop(last);
    CHECK_EQ(accepted + total_accepted(last), served);
    close_fd(held);
}
