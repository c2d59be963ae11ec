/* examples/echo_sharded from outside: its process, its sockets, its output. Its command line is
 * tested in echo_sharded_cli_test.c. */
#include "tests/e2e/server.h"

static uint32_t rounds(uint32_t n) { return test_slowdown() > 1 ? (n + 9) / 10 : n; }

/* Byte number i of connection id. */
static uint8_t byte_at(uint64_t id, uint64_t i) {
    uint64_t x = (i + 1) * 0x9e3779b97f4a7c15u + id * 0xbf58476d1ce4e5b9u;
    return (uint8_t)(x >> 56 ^ x >> 24);
}

static void fill_bytes(uint8_t *to, uint64_t id, uint64_t from, size_t len) {
    for (size_t i = 0; i < len; i++) {
        to[i] = byte_at(id, from + i);
    }
}

static void check_bytes(const uint8_t *got, uint64_t id, uint64_t from, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (got[i] != byte_at(id, from + i)) {
            CHECK_FAIL("connection %llu, byte %llu of the stream", (unsigned long long)id,
                       (unsigned long long)(from + i));
        }
    }
}

static void send_bytes(int fd, uint64_t id, uint64_t from, size_t len) {
    uint8_t *data = malloc(len);
    CHECK(data != NULL);
    fill_bytes(data, id, from, len);
    put(fd, data, len);
    free(data);
}

/* Exactly len bytes and then the end. */
static void check_rest(int fd, uint64_t id, uint64_t from, uint64_t len) {
    static uint8_t data[65536];
    uint64_t at = 0;
    ssize_t n;
    while ((n = recv(fd, data, sizeof data, 0)) > 0) {
        CHECK_LE(at + (uint64_t)n, len);
        check_bytes(data, id, from + at, (size_t)n);
        at += (uint64_t)n;
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(at, len);
}

/* ---- connections ---- */

TEST_TIMEOUT(thousands_of_connections_in_turn, 60) {
    struct server s;
    uint32_t count = rounds(2000);
    server_start(&s, 2);
    for (uint32_t i = 0; i < count; i++) {
        int fd = client(&s);
        check_echo(fd, "hello");
        close_fd(fd);
    }
    server_stop(&s);
    CHECK_EQ(total_accepted(&s), count);
    CHECK_EQ(total_bytes(&s), 5 * (uint64_t)count);
}

TEST(a_thousand_connections_at_once) {
    enum { COUNT = 1000 };
    static int fds[COUNT];
    struct server s;
    server_start(&s, 2);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = client(&s);
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            send_bytes(fds[i], (uint64_t)i, 100 * (uint64_t)round, 100);
        }
        for (int i = 0; i < COUNT; i++) {
            uint8_t back[100];
            take(fds[i], back, sizeof back);
            check_bytes(back, (uint64_t)i, 100 * (uint64_t)round, sizeof back);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        close_fd(fds[i]);
    }
    server_stop(&s);
    CHECK_EQ(total_accepted(&s), COUNT);
    CHECK_EQ(total_bytes(&s), 300 * COUNT);
    CHECK_GT(s.shard[0].accepted, 0);
    CHECK_GT(s.shard[1].accepted, 0);
    CHECK_GT(s.shard[0].messages, 0);
    CHECK_GT(s.shard[1].messages, 0);
}

TEST(ipv6) {
    static const char *const more[] = {"--host", "::1", NULL};
    struct server s;
    server_start_with(&s, 2, more, NULL);
    CHECK_EQ(s.family, AF_INET6);
    int fd = client(&s);
    check_echo(fd, "six");
    close_fd(fd);
    server_stop(&s);
    CHECK_EQ(total_bytes(&s), 3);
}

TEST(spinning_and_unpinned) {
    static const char *const more[] = {"--no-pin", "--spin-us", "50", NULL};
    struct server s;
    server_start_with(&s, 3, more, NULL);
    int fd = client(&s);
    for (int i = 0; i < 100; i++) {
        check_echo(fd, "round and round");
    }
    close_fd(fd);
    server_stop(&s);
}

TEST(what_is_sent_before_the_end_of_stream_is_echoed) {
    struct server s;
    server_start(&s, 1);
    for (uint64_t i = 1; i <= 100; i++) {
        int fd = client(&s);
        send_bytes(fd, i, 0, i * 300);
        end_writing(fd);
        check_rest(fd, i, 0, i * 300);
        close_fd(fd);
    }
    server_stop(&s);
}

/* ---- streams ---- */

/* Sends total bytes in random pieces and reads them back in random pieces, at the same time. */
static void pump(int fd, uint64_t id, uint64_t total, uint64_t *random) {
    static uint8_t out[65536], in[65536];
    uint64_t sent = 0, got = 0;
    while (got < total) {
        struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (sent < total ? POLLOUT : 0))};
        CHECK_GE(poll(&p, 1, -1), 1);
        if ((p.revents & POLLOUT) != 0) {
            size_t len = 1 + random_next(random) % sizeof out;
            len = len < total - sent ? len : (size_t)(total - sent);
            fill_bytes(out, id, sent, len);
            ssize_t n = send(fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL);
            CHECK(n > 0 || errno == EAGAIN);
            sent += n > 0 ? (uint64_t)n : 0;
        }
        if ((p.revents & ~POLLOUT) != 0) {
            ssize_t n = recv(fd, in, 1 + random_next(random) % sizeof in, MSG_DONTWAIT);
            CHECK_GT(n, 0);
            check_bytes(in, id, got, (size_t)n);
            got += (uint64_t)n;
            CHECK_LE(got, sent);
        }
    }
}

TEST_TIMEOUT(a_hundred_mebibytes_byte_for_byte, 60) {
    uint64_t random = random_seed(), total = rounds(100) * UINT64_C(1048576);
    struct server s;
    server_start(&s, 2);
    int fd = client(&s);
    pump(fd, 1, total, &random);
    end_writing(fd);
    check_end(fd);
    close_fd(fd);
    server_stop(&s);
    CHECK_EQ(total_bytes(&s), total);
}

/* Reads nothing until it can send no more, so the server has paused it; then everything. */
TEST(a_peer_that_was_paused_gets_every_byte) {
    enum { TOTAL = 256 * 1024 * 1024 }; /* more than the systems may hold */
    static uint8_t data[65536];
    struct server s;
    uint64_t sent = 0, got = 0;
    server_start(&s, 1);
    int fd = client_socket(&s);
    small_buffers(fd);
    connect_fd(&s, fd);
    for (int quiet = 0; quiet < 3;) {
        fill_bytes(data, 9, sent, 5000);
        ssize_t n = send(fd, data, 5000, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            CHECK_EQ(errno, EAGAIN);
            quiet += poll(&p, 1, 30) == 0;
            continue;
        }
        quiet = 0;
        sent += (uint64_t)n;
        CHECK_LT(sent, TOTAL);
    }
    end_writing(fd);
    for (ssize_t n; (n = recv(fd, data, sizeof data, 0)) != 0; got += (uint64_t)n) {
        CHECK_GT(n, 0);
        check_bytes(data, 9, got, (size_t)n);
    }
    CHECK_EQ(got, sent);
    close_fd(fd);
    server_stop(&s);
    CHECK_EQ(total_bytes(&s), sent);
}

/* ---- bad peers ---- */

TEST(peers_that_reset) {
    static const char data[200000];
    uint64_t random = random_seed();
    struct server s;
    server_start(&s, 2);
    int witness = client(&s);
    for (int i = 0; i < 300; i++) {
        int fd = client(&s);
        if (i % 3 > 0) {
            (void)send(fd, data, 1 + random_next(&random) % sizeof data, MSG_DONTWAIT);
        }
        if (i % 3 > 1) {
            char c;
            CHECK_EQ(recv(fd, &c, 1, 0), 1);
        }
        reset_close(fd);
        if (i % 10 == 0) {
            check_echo(witness, "still there");
        }
    }
    check_echo(witness, "still there");
    close_fd(witness);
    server_stop(&s);
}

TEST(half_open_and_silent_peers) {
    struct server s;
    int silent[50];
    server_start(&s, 2);
    for (int i = 0; i < 50; i++) {
        silent[i] = client(&s);
        close_fd(client(&s)); /* closes at once */
        int fd = client(&s);  /* ends its side, having said nothing */
        end_writing(fd);
        check_end(fd);
        close_fd(fd);
        fd = client(&s); /* goes away with its echo unread */
        put(fd, "never read", 10);
        close_fd(fd);
    }
    uint64_t random = random_seed();
    for (int i = 0; i < 50; i++) { /* any bytes at all */
        uint8_t noise[1000], back[1000];
        for (size_t j = 0; j < sizeof noise; j++) {
            noise[j] = (uint8_t)random_next(&random);
        }
        put(silent[i], noise, sizeof noise);
        take(silent[i], back, sizeof back);
        CHECK_MEM_EQ(back, noise, sizeof back);
        close_fd(silent[i]);
    }
    server_stop(&s);
    CHECK_EQ(total_accepted(&s), 200);
}

/* The server's end of fd, in the kernel's list of sockets: the timer that runs there, and in how
 * many hundredths of a second it is due. */
static void server_end(const struct server *s, int fd, unsigned *timer, unsigned long *due) {
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    char line[512];
    unsigned local, peer;
    CHECK_EQ(getsockname(fd, (struct sockaddr *)(void *)&sa, &len), 0);
    FILE *f = fopen("/proc/net/tcp", "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, " %*u: %*x:%x %*x:%x %*x %*x:%*x %x:%lx", &local, &peer, timer, due) ==
                4 &&
            local == s->port && peer == ntohs(sa.sin_port)) {
            CHECK_EQ(fclose(f), 0);
            return;
        }
    }
    CHECK_FAIL("the server has no such connection");
}

/* Until it is the one that asks the peer, within a minute, whether it is there. */
static void wait_keepalive(const struct server *s, int fd) {
    unsigned timer = 0;
    unsigned long due = 0;
    for (;;) {
        server_end(s, fd, &timer, &due);
        if (timer == 2 && due <= 60 * 100) {
            return;
        }
        usleep(10000);
    }
}

/* Or else the server would keep one that vanished without a word for ever. */
TEST(a_peer_that_lasts_is_asked_whether_it_is_there) {
    struct server s;
    server_start(&s, 2);
    int used = client(&s), silent = client(&s);
    check_echo(used, "hello");
    wait_keepalive(&s, used);
    wait_keepalive(&s, silent);
    int late = client(&s);
    wait_keepalive(&s, late);
    check_echo(used, "still there");
    close_fd(used);
    close_fd(silent);
    close_fd(late);
    server_stop(&s);
}

TEST(a_peer_that_never_reads_is_not_read_from_for_ever) {
    enum { MUCH = 256 * 1024 * 1024 };
    struct server s;
    server_start(&s, 1);
    int witness = client(&s);
    check_echo(witness, "warm");
    uint64_t before = server_rss_kib(&s);
    int fd = client(&s);
    CHECK_LT(fill(fd, 65536, MUCH), MUCH);
    check_echo(witness, "still there");
    CHECK_LT(server_rss_kib(&s), before + server_wait_kib());
    reset_close(fd);
    check_echo(witness, "still there");
    close_fd(witness);
    server_stop(&s);
}

enum { PEERS = 300 };

/* Of each 64 KiB of output, and as much that was read by then, in blocks of up to twice that. */
static uint64_t peers_wait_kib(void) {
    return (test_slowdown() > 1 ? 16u : 1u) * PEERS * 256 + server_wait_kib();
}

static uint64_t clock_s(void) {
    struct timespec ts;
    CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
    return (uint64_t)ts.tv_sec;
}

/* The server gives a peer up that has taken nothing for half a minute; this is well before. */
enum { PATIENCE_S = 20 };

/* All that the sockets take, len bytes at a time, in turn; or what they take until end_s. */
static uint64_t fill_all(const int *fds, size_t len, uint64_t end_s) {
    static const char zeros[65536];
    struct pollfd p[PEERS];
    uint64_t total = 0;
    for (int quiet = 0; quiet < 3 && clock_s() < end_s;) {
        bool moved = false;
        for (int i = 0; i < PEERS; i++) {
            ssize_t n = send(fds[i], zeros, len, MSG_DONTWAIT | MSG_NOSIGNAL);
            CHECK(n > 0 || errno == EAGAIN);
            total += n > 0 ? (uint64_t)n : 0;
            moved = moved || n > 0;
            p[i] = (struct pollfd){.fd = fds[i], .events = POLLOUT};
        }
        quiet = moved || poll(p, PEERS, 50) > 0 ? 0 : quiet + 1;
    }
    return total;
}

static void check_many_that_never_read(size_t len) {
    struct server s;
    static int fds[PEERS];
    server_start(&s, 1);
    int witness = client(&s);
    check_echo(witness, "warm");
    uint64_t before = server_rss_kib(&s), begin_s = clock_s();
    for (int i = 0; i < PEERS; i++) {
        fds[i] = client_socket(&s);
        small_buffers(fds[i]);
        connect_fd(&s, fds[i]);
    }
    (void)fill_all(fds, len, begin_s + PATIENCE_S);
    check_echo(witness, "still there");
    int fd = client(&s);
    check_echo(fd, "and new ones too");
    CHECK_LT(server_rss_kib(&s), before + peers_wait_kib());
    for (int i = 0; i < PEERS; i++) {
        /* Not at their expense: a peer is given up after half a minute, and not earlier. */
        struct pollfd p = {.fd = fds[i]};
        CHECK(poll(&p, 1, 0) == 0 || clock_s() > begin_s + PATIENCE_S);
        reset_close(fds[i]);
    }
    check_echo(witness, "still there");
    close_fd(fd);
    close_fd(witness);
    server_stop(&s);
    CHECK_EQ(total_accepted(&s), PEERS + 2);
}

TEST_TIMEOUT(many_peers_that_never_read_what_they_send_in_large_pieces, 60) {
    check_many_that_never_read(65536);
}

/* However little is in it, a piece takes a buffer. */
TEST_TIMEOUT(many_peers_that_never_read_what_they_send_in_small_pieces, 60) {
    check_many_that_never_read(1500);
}

/* ---- the end ---- */

/* The server is between two instructions of its own, and stays there. */
static void freeze(struct server *s) {
    int status;
    server_signal(s, SIGSTOP);
    CHECK_EQ(waitpid(s->pid, &status, WUNTRACED), s->pid);
    CHECK(WIFSTOPPED(status));
}

enum { LOADED = 100 };

struct load {
    int fd;
    uint64_t sent, got;
};

static void start_load(struct server *s, struct load *load, uint64_t *random) {
    for (uint64_t i = 0; i < LOADED; i++) {
        uint8_t back[64];
        load[i] = (struct load){.fd = client(s)};
        if (random_next(random) % 2 == 0) {
            send_bytes(load[i].fd, i, 0, sizeof back);
            take(load[i].fd, back, sizeof back);
            check_bytes(back, i, 0, sizeof back);
            load[i].sent = load[i].got = sizeof back;
        }
    }
}

/* Up to three pieces on each, as much as a socket takes that nobody reads. */
static void add_load(struct load *load, uint64_t *random) {
    for (int piece = 0; piece < 3; piece++) {
        for (uint64_t i = 0; i < LOADED; i++) {
            size_t len = random_next(random) % 15000;
            if (len > 0) {
                send_bytes(load[i].fd, i, load[i].sent, len);
                load[i].sent += len;
            }
        }
    }
    for (int i = 0; i < LOADED; i++) {
        wait_acknowledged(load[i].fd);
    }
}

static void check_load(struct load *load) {
    for (uint64_t i = 0; i < LOADED; i++) {
        check_rest(load[i].fd, i, load[i].got, load[i].sent - load[i].got);
        close_fd(load[i].fd);
    }
}

static uint64_t load_sum(const struct load *load) {
    uint64_t sum = 0;
    for (int i = 0; i < LOADED; i++) {
        sum += load[i].sent;
    }
    return sum;
}

TEST(sigterm_loses_no_byte_that_was_received) {
    uint64_t random = random_seed();
    static struct load load[LOADED];
    for (int round = 0; round < 5; round++) {
        struct server s;
        server_start(&s, 2);
        start_load(&s, load, &random);
        add_load(load, &random);
        server_signal(&s, SIGTERM);
        check_load(load);
        server_wait_end(&s);
        check_exit(&s, 0);
        CHECK_STR_EQ(s.err_text, "");
        read_closing_lines(&s);
        CHECK_EQ(total_accepted(&s), LOADED);
        CHECK_EQ(total_bytes(&s), load_sum(load));
    }
}

/* Nothing of it has been read, and half of the connections have not been accepted. */
TEST(sigterm_loses_nothing_that_waits_in_the_kernel) {
    uint64_t random = random_seed();
    static struct load load[LOADED], late[LOADED];
    for (int round = 0; round < 5; round++) {
        struct server s;
        server_start(&s, 2);
        start_load(&s, load, &random);
        freeze(&s);
        add_load(load, &random);
        for (int i = 0; i < LOADED; i++) {
            late[i] = (struct load){.fd = client(&s)};
        }
        add_load(late, &random);
        for (int i = 0; i < LOADED; i += 2) {
            end_writing(late[i].fd);
        }
        server_signal(&s, SIGTERM);
        server_signal(&s, SIGCONT);
        check_load(load);
        check_load(late);
        server_wait_end(&s);
        check_exit(&s, 0);
        CHECK_STR_EQ(s.err_text, "");
        read_closing_lines(&s);
        CHECK_EQ(total_accepted(&s), 2 * LOADED);
        CHECK_EQ(total_bytes(&s), load_sum(load) + load_sum(late));
    }
}

/* ---- a drain under load: all connections send and read all the time ---- */

enum { BUSY_MAX = 1000, WINDOW = 4096 };

struct busy {
    uint64_t sent, got, due; /* due: had reached the server before the signal */
    struct pollfd p;         /* fd -1: it has ended */
};

static void send_more(struct busy *b, uint64_t id, uint64_t *random) {
    uint8_t data[WINDOW];
    size_t room = WINDOW - (size_t)(b->sent - b->got);
    size_t len = room > 0 ? 1 + random_next(random) % room : 0;
    fill_bytes(data, id, b->sent, len);
    ssize_t n = len > 0 ? send(b->p.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    CHECK(n >= 0 || errno == EAGAIN); /* no reset */
    b->sent += n > 0 ? (uint64_t)n : 0;
}

static void read_some(struct busy *b, uint64_t id) {
    uint8_t data[WINDOW];
    ssize_t n = recv(b->p.fd, data, sizeof data, 0);
    CHECK_GE(n, 0);
    CHECK_LE(b->got + (uint64_t)n, b->sent);
    check_bytes(data, id, b->got, (size_t)n);
    b->got += (uint64_t)n;
    if (n == 0) {
        CHECK_GE(b->got, b->due);
        close_fd(b->p.fd);
        b->p.fd = -1;
    }
}

/* Each that is readable reads, and sends more. Returns how many have ended. */
static uint32_t go_on(struct busy *busy, struct pollfd *ready, uint32_t count, uint64_t *random) {
    uint32_t ended = 0;
    for (uint32_t i = 0; i < count; i++) {
        ready[i] = busy[i].p;
        ended += busy[i].p.fd < 0;
    }
    CHECK(ended == count || poll(ready, count, -1) > 0);
    for (uint32_t i = 0; i < count; i++) {
        if (ready[i].fd >= 0 && ready[i].revents != 0) {
            read_some(&busy[i], i);
        }
        if (busy[i].p.fd >= 0) {
            send_more(&busy[i], i, random);
        }
    }
    return ended;
}

TEST_TIMEOUT(sigterm_under_a_thousand_busy_connections, 120) {
    static struct busy busy[BUSY_MAX];
    static struct pollfd ready[BUSY_MAX];
    uint64_t random = random_seed(), bytes = 0;
    uint32_t count = rounds(BUSY_MAX);
    struct server s;
    server_start(&s, 2);
    for (uint32_t i = 0; i < count; i++) {
        busy[i].p = (struct pollfd){.fd = client(&s), .events = POLLIN};
        send_more(&busy[i], i, &random);
    }
    for (int turn = 0; turn < 20; turn++) {
        CHECK_EQ(go_on(busy, ready, count, &random), 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        wait_acknowledged(busy[i].p.fd);
        busy[i].due = busy[i].sent;
    }
    for (uint32_t i = 0; i < count; i++) {
        send_more(&busy[i], i, &random);
        if (i == count / 2) {
            server_signal(&s, SIGTERM);
        }
    }
    while (go_on(busy, ready, count, &random) < count) {
    }
    server_wait_end(&s);
    check_exit(&s, 0);
    CHECK_STR_EQ(s.err_text, "");
    read_closing_lines(&s);
    for (uint32_t i = 0; i < count; i++) {
        bytes += busy[i].got;
    }
    CHECK_EQ(total_accepted(&s), count);
    CHECK_EQ(total_bytes(&s), bytes); /* every reply has arrived */
}

/* The peer reads only after the signal, and has sent more than a buffer holds. */
TEST(sigterm_while_a_peer_is_paused) {
    struct server s;
    server_start(&s, 1);
    int fd = client_socket(&s);
    small_buffers(fd);
    connect_fd(&s, fd);
    uint64_t sent = 0;
    static uint8_t zeros[65536];
    sent = fill(fd, 4096, UINT64_C(1) << 30);
    server_signal(&s, SIGTERM);
    uint64_t got = 0;
    for (ssize_t n; (n = recv(fd, zeros, sizeof zeros, 0)) != 0; got += (uint64_t)n) {
        CHECK_GT(n, 0);
    }
    /* What had not reached the server when it looked is not in it, that is, our own buffer. */
    CHECK_LE(got, sent);
    CHECK_GE(got + 65536, sent);
    close_fd(fd);
    server_wait_end(&s);
    check_exit(&s, 0);
}

static void check_ends_on(int number) {
    struct server s;
    server_start(&s, 2);
    int idle = client(&s), used = client(&s);
    check_echo(used, "hello");
    server_signal(&s, number);
    check_end(idle);
    check_end(used);
    close_fd(idle);
    close_fd(used);
    server_wait_end(&s);
    check_exit(&s, 0);
    CHECK_STR_EQ(s.err_text, "");
    read_closing_lines(&s);
    CHECK_EQ(total_accepted(&s), 2);
}

TEST(sigterm_closes_idle_connections) { check_ends_on(SIGTERM); }
TEST(sigint_does_the_same) { check_ends_on(SIGINT); }

TEST(nobody_can_connect_once_it_drains) {
    struct server s;
    server_start(&s, 2);
    int fd = client(&s);
    check_echo(fd, "hello");
    server_signal(&s, SIGTERM);
    check_end(fd); /* it drains, and waits for us to close */
    int rc, late;
    do { /* each shard closes its listener in its own time; who comes at that moment is reset */
        late = client_socket(&s);
        rc = try_connect(&s, late);
        close_fd(late);
    } while (rc == 0 || rc == -ECONNRESET);
    CHECK_EQ(rc, -ECONNREFUSED);
    close_fd(fd);
    server_wait_end(&s);
    check_exit(&s, 0);
}

TEST(second_sigterm_ends_it_at_once) {
    struct server s;
    server_start(&s, 2);
    int fd = client(&s);
    check_echo(fd, "hello");
    server_signal(&s, SIGTERM);
    check_end(fd);
    usleep(120000); /* one within 100 ms is the same request */
    server_signal(&s, SIGTERM);
    server_wait_end(&s);
    check_exit(&s, 0);
    CHECK_STR_EQ(s.err_text,
                 "echo_sharded: a second signal ended it; the connections left were cut\n");
    read_closing_lines(&s);
    close_fd(fd);
}

TEST(the_drain_has_a_deadline) {
    static const char *const more[] = {"--drain-ms", "50", NULL};
    struct server s;
    server_start_with(&s, 2, more, NULL);
    int fd = client(&s);
    check_echo(fd, "hello");
    server_signal(&s, SIGTERM);
    server_wait_end(&s);
    check_exit(&s, 0);
    CHECK(strstr(s.err_text, "deadline") != NULL);
    CHECK(strchr(s.err_text, '\n') == s.err_text + strlen(s.err_text) - 1);
    read_closing_lines(&s);
    close_fd(fd);
}

/* ---- descriptors ---- */

static void few_descriptors(void) {
    struct rlimit limit = {64, 64};
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

TEST(descriptors_run_out_and_come_back) {
    enum { COUNT = 120 };
    int fds[COUNT];
    char said[256] = "";
    struct server s;
    server_start_with(&s, 1, NULL, few_descriptors);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = client(&s);
        put(fds[i], "hello", 5);
    }
    ssize_t n = read(s.err, said, sizeof said - 1); /* it has run out */
    CHECK_GT(n, 0);
    CHECK(strstr(said, "too many open descriptors") != NULL);
    for (int i = 0; i < COUNT; i++) { /* whoever has its echo makes room for another */
        char back[5];
        take(fds[i], back, sizeof back);
        CHECK_MEM_EQ(back, "hello", sizeof back);
        close_fd(fds[i]);
    }
    int fd = client(&s);
    check_echo(fd, "as before");
    close_fd(fd);
    server_signal(&s, SIGTERM);
    server_wait_end(&s);
    check_exit(&s, 0);
    read_closing_lines(&s);
    CHECK_EQ(total_accepted(&s), COUNT + 1);
}

/* ---- a stderr that takes nothing ---- */

static void few_descriptors_and_a_full_stderr(void) {
    static const char block[4096];
    int fd[2];
    if (pipe(fd) != 0) {
        _exit(126);
    }
    (void)fcntl(fd[1], F_SETFL, O_NONBLOCK);
    while (write(fd[1], block, sizeof block) > 0) {
    }
    (void)fcntl(fd[1], F_SETFL, 0);
    (void)dup2(fd[1], STDERR_FILENO); /* and nobody reads fd[0] */
    few_descriptors();
}

static void few_descriptors_and_a_closed_stderr(void) {
    int fd[2];
    if (pipe(fd) != 0) {
        _exit(126);
    }
    (void)close(fd[0]);
    (void)dup2(fd[1], STDERR_FILENO);
    (void)signal(SIGPIPE, SIG_DFL);
    few_descriptors();
}

/* It has something to say about its descriptors, and goes on when that does not get through. */
static void check_serves_with(void (*setup)(void)) {
    enum { COUNT = 120 };
    int fds[COUNT];
    struct server s;
    server_start_with(&s, 1, NULL, setup);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = client(&s);
        put(fds[i], "hello", 5);
    }
    for (int i = 0; i < COUNT; i++) {
        char back[5];
        take(fds[i], back, sizeof back);
        close_fd(fds[i]);
    }
    server_signal(&s, SIGTERM);
    server_wait_end(&s);
    check_exit(&s, 0);
    read_closing_lines(&s);
    CHECK_EQ(total_accepted(&s), COUNT);
}

TEST(a_full_stderr_holds_nobody_up) { check_serves_with(few_descriptors_and_a_full_stderr); }
TEST(a_stderr_that_nobody_reads_ends_nothing) {
    check_serves_with(few_descriptors_and_a_closed_stderr);
}

TEST(a_terminal_that_goes_away_drains) {
    struct server s;
    server_start(&s, 2);
    int fd = client(&s);
    check_echo(fd, "hello");
    server_signal(&s, SIGHUP);
    check_end(fd);
    close_fd(fd);
    server_wait_end(&s);
    check_exit(&s, 0);
    read_closing_lines(&s);
}
