/* examples/tcp_proxy: bytes, ends and resets both ways, the choice of upstreams and their failures,
 * slow peers, the drain. The upstreams are sockets of the test. */
#include "tests/e2e/server.h"

#include <stddef.h>
#include <sys/un.h>

enum { UPS = 3 };

struct proxy {
    struct server server;
    int listener[UPS];
    char address[UPS][32];
};

/* Bound; it listens if it is to. */
static int bound_socket(bool listens, char *address, size_t room) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)(void *)&sa, &len), 0);
    snprintf(address, room, "127.0.0.1:%u", (unsigned)ntohs(sa.sin_port));
    CHECK(!listens || listen(fd, 256) == 0);
    return fd;
}

/* With upstreams of which those in the mask listen. more: other flags, or NULL. */
static void proxy_start(struct proxy *p, uint32_t shards, unsigned ups, unsigned listening,
                        const char *const *more) {
    const char *flags[ARGS_MAX] = {NULL};
    int n = 0;
    for (unsigned i = 0; i < UPS; i++) {
        p->listener[i] = bound_socket((listening >> i & 1) != 0, p->address[i], 32);
        if (i < ups) {
            flags[n++] = "--upstream";
            flags[n++] = p->address[i];
        }
    }
    for (; more != NULL && *more != NULL; more++) {
        flags[n++] = *more;
    }
    server_start_with(&p->server, shards, flags, NULL);
}

/* SIGTERM, and an orderly end. Its stderr stays to be looked at. */
static void proxy_stop(struct proxy *p) {
    server_signal(&p->server, SIGTERM);
    server_wait_end(&p->server);
    check_exit(&p->server, 0);
    for (int i = 0; i < UPS; i++) {
        close_fd(p->listener[i]);
    }
}

static int accept_up(const struct proxy *p, int i) {
    int fd = accept4(p->listener[i], NULL, NULL, SOCK_CLOEXEC);
    CHECK_GE(fd, 0);
    return fd;
}

/* Which upstream has a connection waiting, once one has. */
static int accept_any(const struct proxy *p, int *which) {
    struct pollfd polls[UPS];
    for (int i = 0; i < UPS; i++) {
        int listens = 0;
        socklen_t len = sizeof listens;
        CHECK_EQ(getsockopt(p->listener[i], SOL_SOCKET, SO_ACCEPTCONN, &listens, &len), 0);
        polls[i] = (struct pollfd){.fd = listens ? p->listener[i] : -1, .events = POLLIN};
    }
    CHECK_GE(poll(polls, UPS, -1), 1);
    for (*which = 0; *which < UPS - 1 && (polls[*which].revents & POLLIN) == 0; ++*which) {
    }
    return accept_up(p, *which);
}

static void check_reset(int fd) {
    char byte;
    ssize_t n;
    do {
        n = recv(fd, &byte, 1, 0);
    } while (n > 0);
    CHECK_EQ(n, -1);
    CHECK_EQ(errno, ECONNRESET);
}

static const char *const quiet[] = {"--check-ms", "3600000", NULL};

TEST(bytes_and_half_closes_go_both_ways) {
    struct proxy p;
    char text[8];
    proxy_start(&p, 2, 1, 1, quiet);
    for (int first = 0; first < 2; first++) { /* who ends first */
        int fd[2] = {client(&p.server), -1};
        fd[1] = accept_up(&p, 0);
        for (int i = 0; i < 4; i++) {
            put(fd[i % 2], "12345678", 8);
            take(fd[1 - i % 2], text, 8);
            CHECK_MEM_EQ(text, "12345678", 8);
        }
        end_writing(fd[first]);
        check_end(fd[1 - first]);
        put(fd[1 - first], "answer", 6); /* the other direction is open */
        take(fd[first], text, 6);
        CHECK_MEM_EQ(text, "answer", 6);
        end_writing(fd[1 - first]);
        check_end(fd[first]);
        close_fd(fd[0]);
        close_fd(fd[1]);
    }
    proxy_stop(&p);
    CHECK_STR_EQ(p.server.err_text, "");
}

TEST(what_was_sent_before_the_upstream_answered_arrives) {
    struct proxy p;
    char text[5];
    proxy_start(&p, 1, 2, 2, quiet);
    int fd = client(&p.server);
    put(fd, "early", 5);
    end_writing(fd);
    int up = accept_up(&p, 1);
    take(up, text, 5);
    CHECK_MEM_EQ(text, "early", 5);
    check_end(up);
    close_fd(up);
    check_end(fd);
    close_fd(fd);
    proxy_stop(&p);
    CHECK(strstr(p.server.err_text, p.address[0]) != NULL);
    CHECK(strstr(p.server.err_text, "is left out: ") != NULL);
}

TEST(resets_go_both_ways) {
    struct proxy p;
    proxy_start(&p, 2, 1, 1, quiet);
    for (int from = 0; from < 2; from++) {
        char text[1];
        int fd[2] = {client(&p.server), -1};
        fd[1] = accept_up(&p, 0);
        put(fd[0], "x", 1);
        take(fd[1], text, 1);
        reset_close(fd[from]);
        check_reset(fd[1 - from]);
        close_fd(fd[1 - from]);
    }
    proxy_stop(&p);
}

TEST(where_no_upstream_answers_the_client_is_reset) {
    struct proxy p;
    proxy_start(&p, 1, 2, 0, quiet);
    for (int i = 0; i < 3; i++) {
        check_client_is_reset(&p.server);
    }
    CHECK_EQ(listen(p.listener[1], 4), 0); /* though it is left out, it is the last resort */
    int fd = client(&p.server);
    close_fd(accept_up(&p, 1));
    check_end(fd);
    close_fd(fd);
    proxy_stop(&p);
    CHECK(strstr(p.server.err_text, "is back") != NULL);
}

TEST(round_robin_and_least_connections) {
    for (int least = 0; least < 2; least++) {
        const char *const flags[] = {"--balance", least ? "least-connections" : "round-robin",
                                     "--check-ms", "3600000", NULL};
        struct proxy p;
        int fd[2 * UPS], up[2 * UPS], which;
        proxy_start(&p, 1, UPS, 7, flags);
        for (int i = 0; i < 2 * UPS; i++) {
            fd[i] = client(&p.server);
            up[i] = accept_any(&p, &which);
            CHECK_EQ(which, i % UPS);
        }
        for (int i = 1; i < 2 * UPS; i += UPS) { /* upstream 1 has none any more */
            end_writing(fd[i]);
            check_end(up[i]);
            close_fd(up[i]);
            check_end(fd[i]);
            close_fd(fd[i]);
        }
        for (int i = 1; i < 2 * UPS; i += UPS) {
            fd[i] = client(&p.server);
            up[i] = accept_any(&p, &which);
            CHECK_EQ(which, least ? 1 : i / UPS);
        }
        for (int i = 0; i < 2 * UPS; i++) {
            close_fd(fd[i]);
            check_end(up[i]);
            close_fd(up[i]);
        }
        proxy_stop(&p);
    }
}

TEST(an_upstream_that_came_back_gets_connections_again) {
    static const char *const flags[] = {"--check-ms", "20", "--out-ms", "1", NULL};
    struct proxy p;
    proxy_start(&p, 1, 2, 2, flags); /* each shard has a view of its own */
    for (int i = 0; i < 4; i++) {
        char text[1];
        int fd = client(&p.server);
        put(fd, "x", 1);
        for (;;) { /* past the checks, which send nothing */
            int up = accept_up(&p, 1);
            ssize_t n = recv(up, text, 1, 0);
            close_fd(up);
            if (n == 1) {
                break;
            }
        }
        check_end(fd);
        close_fd(fd);
    }
    CHECK_EQ(listen(p.listener[0], 64), 0);
    close_fd(accept_up(&p, 0)); /* the check; or a client's */
    for (bool found = false; !found;) {
        char text[1];
        int fd = client(&p.server);
        put(fd, "x", 1);
        for (bool served = false; !served;) {
            int which, up = accept_any(&p, &which);
            served = recv(up, text, 1, 0) == 1;
            found |= served && which == 0;
            close_fd(up);
        }
        close_fd(fd);
    }
    proxy_stop(&p);
    CHECK(strstr(p.server.err_text, "is left out: ") != NULL);
    CHECK(strstr(p.server.err_text, "is back") != NULL);
}

TEST(a_slow_peer_holds_the_other_back) {
    struct proxy p;
    static char buf[65536];
    proxy_start(&p, 1, 1, 1, quiet);
    for (int from = 0; from < 2; from++) {
        int fd[2] = {client(&p.server), -1};
        fd[1] = accept_up(&p, 0);
        uint64_t before = server_rss_kib(&p.server);
        uint64_t sent = fill(fd[from], sizeof buf, 1u << 30), got = 0;
        CHECK_LT(sent, 1u << 30);
        CHECK_LT(server_rss_kib(&p.server), before + server_wait_kib());
        end_writing(fd[from]);
        for (ssize_t n; (n = recv(fd[1 - from], buf, sizeof buf, 0)) > 0;) {
            got += (uint64_t)n;
        }
        CHECK_EQ(got, sent);
        close_fd(fd[1 - from]);
        check_end(fd[from]);
        close_fd(fd[from]);
    }
    proxy_stop(&p);
}

TEST(a_silent_connection_ends) {
    static const char *const flags[] = {"--check-ms", "3600000", "--idle-ms", "100", NULL};
    struct proxy p;
    proxy_start(&p, 1, 1, 1, flags);
    int fd = client(&p.server), up = accept_up(&p, 0);
    char byte;
    CHECK_LE(recv(fd, &byte, 1, 0), 0); /* an end or a reset: whose deadline was the first? */
    CHECK_LE(recv(up, &byte, 1, 0), 0);
    close_fd(fd);
    close_fd(up);
    proxy_stop(&p);
}

TEST(a_drain_waits_for_connections_and_then_cuts_them) {
    for (int cut = 0; cut < 2; cut++) {
        static const char *const flags[] = {"--drain-ms", "300", "--check-ms", "3600000", NULL};
        struct proxy p;
        char text[5];
        proxy_start(&p, 2, 1, 1, cut ? flags : quiet);
        int fd = client(&p.server), up = accept_up(&p, 0);
        put(fd, "hello", 5);
        take(up, text, 5);
        server_signal(&p.server, SIGTERM);
        for (int rc = 0; rc == 0;) { /* until nobody listens */
            int probe = client_socket(&p.server);
            rc = try_connect(&p.server, probe);
            if (rc == 0) {
                close_fd(accept_up(&p, 0));
            }
            close_fd(probe);
        }
        if (!cut) {
            put(up, "world", 5);
            take(fd, text, 5);
            CHECK_MEM_EQ(text, "world", 5);
            close_fd(fd);
            check_end(up);
            close_fd(up);
        }
        server_wait_end(&p.server);
        check_exit(&p.server, 0);
        CHECK_EQ(strstr(p.server.err_text, "were cut") != NULL, cut);
        if (cut) {
            close_fd(fd);
            close_fd(up);
        }
        for (int i = 0; i < UPS; i++) {
            close_fd(p.listener[i]);
        }
    }
}

TEST(an_upstream_may_be_a_unix_socket) {
    struct server s;
    char address[160];
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int n = snprintf(sa.sun_path + 1, sizeof sa.sun_path - 1, "tcp_proxy_test_%d", getpid());
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(listener, (struct sockaddr *)(void *)&sa, len), 0);
    CHECK_EQ(listen(listener, 4), 0);
    snprintf(address, sizeof address, "unix:@%s", sa.sun_path + 1);
    const char *const flags[] = {"--upstream", address, "--check-ms", "3600000", NULL};
    server_start_with(&s, 1, flags, NULL);
    int fd = client(&s), up = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    char text[5];
    put(fd, "hello", 5);
    take(up, text, 5);
    CHECK_MEM_EQ(text, "hello", 5);
    close_fd(up);
    check_end(fd);
    close_fd(fd);
    server_signal(&s, SIGTERM);
    server_wait_end(&s);
    check_exit(&s, 0);
    close_fd(listener);
}

static uint32_t port_of(int fd) {
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    CHECK_EQ(getsockname(fd, (struct sockaddr *)(void *)&sa, &len), 0);
    return ntohs(sa.sin_port);
}

TEST(upstreams_are_told_who_the_client_is) {
    for (int version = 1; version <= 2; version++) {
        const char *const flags[] = {"--proxy-protocol", version == 1 ? "v1" : "v2", "--check-ms",
                                     "3600000", NULL};
        struct proxy p;
        char wanted[120], got[120];
        size_t len;
        proxy_start(&p, 2, 2, 2, flags); /* the first one refuses: the header goes to the next */
        int fd = client(&p.server), up = accept_up(&p, 1);
        put(fd, "hello", 5);
        if (version == 1) {
            len =
                (size_t)snprintf(wanted, sizeof wanted, "PROXY TCP4 127.0.0.1 127.0.0.1 %u %u\r\n",
                                 port_of(fd), p.server.port);
        } else {
            static const char head[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\1\x7f\0\0\1";
            memcpy(wanted, head, sizeof head - 1);
            uint16_t ports[2] = {htons((uint16_t)port_of(fd)), htons((uint16_t)p.server.port)};
            memcpy(wanted + sizeof head - 1, ports, 4);
            len = sizeof head - 1 + 4;
        }
        take(up, got, len);
        CHECK_MEM_EQ(got, wanted, len);
        take(up, got, 5);
        CHECK_MEM_EQ(got, "hello", 5);
        close_fd(fd);
        check_end(up);
        close_fd(up);
        proxy_stop(&p);
    }
}

/* ---- the pool ---- */

/* What upstream 0 has of connections: of checks, of the pool, of clients. */
struct ups {
    struct pollfd polls[64]; /* the first is the listener */
    nfds_t len;
};

/* Accepts, and drops those that have ended, until one has received something; returns it, out of
 * the others. */
static int next_served(const struct proxy *p, struct ups *u) {
    char byte;
    for (;;) {
        u->polls[0] = (struct pollfd){.fd = p->listener[0], .events = POLLIN};
        u->len = u->len > 0 ? u->len : 1;
        CHECK_GE(poll(u->polls, u->len, -1), 1);
        for (nfds_t i = u->len - 1; i > 0; i--) {
            if (u->polls[i].revents == 0) {
                continue;
            }
            int fd = u->polls[i].fd;
            u->polls[i] = u->polls[--u->len];
            if (recv(fd, &byte, 1, MSG_PEEK) == 1) {
                return fd;
            }
            close_fd(fd);
        }
        if (u->polls[0].revents != 0) {
            CHECK_LT(u->len, 64);
            u->polls[u->len++] = (struct pollfd){.fd = accept_up(p, 0), .events = POLLIN};
        }
    }
}

TEST(a_pool_is_open_before_clients_come) {
    static const char *const flags[] = {"--pool",  "2", "--proxy-protocol", "v1", "--check-ms",
                                        "3600000", NULL};
    struct proxy p;
    char wanted[120], got[120];
    proxy_start(&p, 1, 1, 1, flags);
    struct ups u = {.len = 3};
    for (int i = 1; i <= 2; i++) {
        u.polls[i] = (struct pollfd){.fd = accept_up(&p, 0), .events = POLLIN};
    }
    for (int round = 0; round < 2; round++) {
        int fd = client_socket(&p.server);
        connect_fd(&p.server, fd);
        put(fd, "hello", 5);
        int up = next_served(&p, &u);
        int len = snprintf(wanted, sizeof wanted, "PROXY TCP4 127.0.0.1 127.0.0.1 %u %u\r\nhello",
                           port_of(fd), p.server.port);
        take(up, got, (size_t)len);
        CHECK_MEM_EQ(got, wanted, (size_t)len);
        put(up, "answer", 6);
        take(fd, got, 6);
        CHECK_MEM_EQ(got, "answer", 6);
        end_writing(fd);
        check_end(up);
        close_fd(up);
        check_end(fd);
        close_fd(fd);
        if (round == 0) { /* the upstream closes those that wait; the next client gets a new one */
            if (u.len < 3) {
                u.polls[u.len++] = (struct pollfd){.fd = accept_up(&p, 0), .events = POLLIN};
            }
            while (u.len > 1) {
                close_fd(u.polls[--u.len].fd);
            }
        }
    }
    proxy_stop(&p);
    while (u.len > 1) {
        close_fd(u.polls[--u.len].fd);
    }
    CHECK_STR_EQ(p.server.err_text, "");
}

/* The upstream is not there, comes, closes what waits, and goes. */
TEST(a_pool_follows_its_upstream) {
    static const char *const flags[] = {"--pool", "3", "--check-ms", "20", "--out-ms", "1", NULL};
    struct proxy p;
    struct ups u = {.len = 0};
    proxy_start(&p, 2, 1, 0, flags);
    check_client_is_reset(&p.server);
    CHECK_EQ(listen(p.listener[0], 64), 0);
    for (int i = 0; i < 20; i++) {
        int fd = client(&p.server);
        put(fd, "x", 1);
        int up = next_served(&p, &u);
        char byte;
        take(up, &byte, 1);
        put(up, "y", 1);
        take(fd, &byte, 1);
        CHECK_EQ(byte, 'y');
        close_fd(fd);
        check_end(up);
        close_fd(up);
        if (i == 10) {
            for (nfds_t n = 1; n < u.len; n++) { /* which a client may get at that moment */
                CHECK_EQ(shutdown(u.polls[n].fd, SHUT_WR), 0);
            }
        }
    }
    CHECK_EQ(shutdown(p.listener[0], SHUT_RDWR), 0);
    while (u.len > 1) {
        close_fd(u.polls[--u.len].fd);
    }
    check_client_is_reset(&p.server);
    proxy_stop(&p);
    CHECK(strstr(p.server.err_text, "is left out: ") != NULL);
    CHECK(strstr(p.server.err_text, "is back") != NULL);
}

TEST(clients_that_are_proxies_say_who_theirs_is) {
    static const char *const flags[] = {"--accept-proxy", "--proxy-protocol", "v1",
                                        "--check-ms",     "3600000",          NULL};
    static const char v1[] = "PROXY TCP6 fe80::1 ::1 4711 80\r\nhello";
    static const char v2[] = "\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0hello";
    static const char *const bad[] = {"GET / HTTP/1.1\r\n", "PROXY TCP4 1.2.3.4\r\n", "PROXX",
                                      "\r\n\r\nx"};
    struct proxy p;
    char got[120];
    proxy_start(&p, 2, 1, 1, flags);
    for (size_t step = 1; step < sizeof v1; step += 9) { /* v1 in pieces */
        int fd = client(&p.server);
        for (size_t at = 0; at < sizeof v1 - 1; at += step) {
            put(fd, v1 + at, step < sizeof v1 - 1 - at ? step : sizeof v1 - 1 - at);
        }
        int up = accept_up(&p, 0);
        take(up, got, sizeof v1 - 1);
        CHECK_MEM_EQ(got, v1, sizeof v1 - 1);
        close_fd(up);
        check_end(fd);
        close_fd(fd);
    }
    int fd = client(&p.server);
    put(fd, v2, sizeof v2 - 1);
    end_writing(fd);
    int up = accept_up(&p, 0);
    take(up, got, 20);
    CHECK_MEM_EQ(got, "PROXY UNKNOWN\r\nhello", 20);
    check_end(up);
    close_fd(up);
    check_end(fd);
    close_fd(fd);
    for (size_t i = 0; i < 5; i++) { /* no upstream hears of these */
        fd = client(&p.server);
        if (i < 4) {
            put(fd, bad[i], strlen(bad[i]));
        }
        end_writing(fd);
        check_end(fd);
        close_fd(fd);
    }
    struct pollfd waiting = {.fd = p.listener[0], .events = POLLIN};
    CHECK_EQ(poll(&waiting, 1, 0), 0);
    proxy_stop(&p);
    CHECK_STR_EQ(p.server.err_text, "");
}

/* Clients and upstreams that send, end and reset as they like; each byte that arrives is right. */
TEST_TIMEOUT(peers_may_do_as_they_like, 120) {
    enum { PAIRS = 40, STEPS = 3000 };
    static char pattern[4096];
    struct proxy p;
    struct {
        int fd[2];
        uint32_t sent[2], got[2];
        bool ended[2];
    } pair[PAIRS];
    uint64_t rng = random_seed();
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (char)(i % 1024 * 31 + i % 1024 / 251);
    }
    proxy_start(&p, 2, 1, 1, quiet);
    for (int i = 0; i < PAIRS; i++) {
        memset(&pair[i], 0, sizeof pair[i]);
        pair[i].fd[0] = client(&p.server);
        pair[i].fd[1] = accept_up(&p, 0); /* one at a time: so this is its other end */
    }
    for (int step = 0; step < STEPS; step++) {
        uint64_t r = random_next(&rng);
        int i = (int)(r % PAIRS), side = (int)(r >> 8 & 1);
        char buf[2048];
        ssize_t n;
        switch (r >> 16 & 15) {
        default: { /* send */
            size_t from = pair[i].sent[side] % 1024, len = r >> 32 & 2047;
            if (!pair[i].ended[side]) {
                n = send(pair[i].fd[side], pattern + from, len, MSG_DONTWAIT | MSG_NOSIGNAL);
                pair[i].sent[side] += n > 0 ? (uint32_t)n : 0;
            }
            break;
        }
        case 8:
        case 9:
        case 10:
        case 11:
        case 12:
        case 13: /* receive */
            n = recv(pair[i].fd[side], buf, sizeof buf, MSG_DONTWAIT);
            if (n > 0) {
                CHECK_MEM_EQ(buf, pattern + pair[i].got[side] % 1024, (size_t)n);
                pair[i].got[side] += (uint32_t)n;
            }
            CHECK_LE(pair[i].got[side], pair[i].sent[1 - side]);
            break;
        case 14:
            (void)shutdown(pair[i].fd[side], SHUT_WR);
            pair[i].ended[side] = true;
            break;
        case 15: { /* gone, one way or another; then a new pair */
            bool resets = (r >> 20 & 1) != 0;
            if (resets) {
                reset_close(pair[i].fd[side]);
            } else {
                close_fd(pair[i].fd[side]);
            }
            close_fd(pair[i].fd[1 - side]);
            memset(&pair[i], 0, sizeof pair[i]);
            pair[i].fd[0] = client(&p.server);
            pair[i].fd[1] = accept_up(&p, 0);
            break;
        }
        }
    }
    for (int i = 0; i < PAIRS; i++) {
        close_fd(pair[i].fd[0]);
        close_fd(pair[i].fd[1]);
    }
    proxy_stop(&p); /* an upstream that reset at once may have been left out for that */
}

TEST(flags_that_are_wrong) {
    static const char *const wrong[][2] = {
        {"--upstream", "localhost:1"}, {"--upstream", "127.0.0.1"},
        {"--upstream", "unix:"},       {"--balance", "random"},
        {"--connect-ms", "0"},         {"--check-ms", "x"},
        {"--out-ms", "60001"},         {"--proxy-protocol", "3"},
        {"--idle-ms", "-1"},           {"--pool", "1025"},
    };
    struct server s;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *const args[] = {wrong[i][0], wrong[i][1], NULL};
        server_exec(&s, args, NULL);
        server_wait_end(&s);
        check_exit(&s, 2);
        CHECK(strstr(s.err_text, "tcp_proxy: ") == s.err_text);
        CHECK(strstr(s.err_text, wrong[i][0]) != NULL);
    }
    server_exec(&s, (const char *const[]){"--port", "0", NULL}, NULL);
    server_wait_end(&s);
    check_exit(&s, 2);
    CHECK(strstr(s.err_text, "no --upstream") != NULL);
}
