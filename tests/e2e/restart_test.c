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

/* overlap: the new process serves before the old one is told to end; otherwise, as systemd restarts
 * a service, only when it has ended, and clients wait at the socket meanwhile. */
static void check_restarts(int rounds, bool overlap) {
    static struct server servers[2];
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
        if (overlap) {
            start_at_held(next);
        }
        while (served - before < CLIENTS) { /* under load */
            usleep(200);
        }
        server_stop(old);
        accepted += total_accepted(old);
        if (!overlap) {
            start_at_held(next);
        }
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

static int rounds(int n) { return test_slowdown() > 1 ? n / 10 : n; }

TEST_TIMEOUT(restarts_that_no_client_notices, 120) { check_restarts(rounds(100), true); }
TEST_TIMEOUT(restarts_during_which_clients_wait, 120) { check_restarts(rounds(50), false); }

/* ---- systemd's convention ---- */

static void give_two_as_systemd(void) {
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (dup2(STDIN_FILENO, 3) != 3 || dup2(held, 4) != 4 || setenv("LISTEN_PID", pid, 1) != 0 ||
        setenv("LISTEN_FDS", "2", 1) != 0 || setenv("LISTEN_FDNAMES", "other:echo", 1) != 0) {
        _exit(126);
    }
}

TEST(sockets_of_systemd) {
    static const char *const addresses[] = {"systemd:echo", "systemd:1"};
    hold_listener();
    for (int i = 0; i < 2; i++) {
        struct server s;
        const char *const more[] = {"--address", addresses[i], NULL};
        server_start_with(&s, 2, more, give_two_as_systemd);
        CHECK_EQ(s.port, at.port);
        int fd = client(&s);
        check_echo(fd, "hello");
        close_fd(fd);
        server_stop(&s);
    }
    close_fd(held);
}

static void check_says(const char *address, void (*setup)(void), const char *text) {
    struct server s;
    const char *const args[] = {"--address", address, "--backend", backend_wanted(), NULL};
    server_exec(&s, args, setup);
    server_wait_end(&s);
    check_exit(&s, 1);
    if (strstr(s.err_text, text) == NULL) {
        CHECK_FAIL("it says %s instead of %s", s.err_text, text);
    }
}

TEST(sockets_that_systemd_has_not_given) {
    hold_listener();
    check_says("systemd:echo", NULL,
               "LISTEN_FDS of systemd:echo: the process was started with no sockets");
    check_says("systemd:nobody", give_two_as_systemd,
               "LISTEN_FDNAMES of systemd:nobody: no socket of that name or number");
    check_says("systemd:2", give_two_as_systemd,
               "LISTEN_FDNAMES of systemd:2: no socket of that name or number");
    check_says("systemd:", give_two_as_systemd,
               "address of systemd:: no name or number of a socket");
    check_says("systemd:other", give_two_as_systemd, "descriptor of systemd:other: not a socket");
    close_fd(held);
}
