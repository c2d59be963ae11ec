/* A server program as a child process, and plain sockets to talk to it. The environment has the
 * program's path in SERVER and the server's backend in XEV_BACKEND. */
#ifndef TESTS_E2E_SERVER_H
#define TESTS_E2E_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"

enum { ARGS_MAX = 32, TEXT_BYTES = 8192, SHARDS_MAX = 8 };

struct server {
    pid_t pid;
    int out, err; /* our ends of its stdout and stderr */
    int family;
    uint32_t port, shards;
    int status;                /* once it has ended: as of waitpid */
    char out_text[TEXT_BYTES]; /* all of it, once it has ended */
    char err_text[TEXT_BYTES];
    size_t out_len;
    struct {
        uint64_t accepted, bytes, messages;
    } shard[SHARDS_MAX]; /* its closing lines */
};

/* ---- the process ---- */

static inline void append_text(int fd, char *text, size_t *len) {
    ssize_t n;
    while ((n = read(fd, text + *len, TEXT_BYTES - 1 - *len)) > 0) {
        *len += (size_t)n;
        CHECK_LT(*len, TEXT_BYTES - 1);
    }
    text[*len] = '\0';
}

/* Starts it with args (NULL-terminated); setup runs in the child before it. */
static inline void program_exec(struct server *s, const char *program, const char *const *args,
                                void (*setup)(void)) {
    const char *argv[ARGS_MAX + 1] = {program};
    int out[2], err[2];
    CHECK(argv[0] != NULL);
    for (int i = 0; args[i] != NULL; i++) {
        CHECK_LT(i + 1, ARGS_MAX);
        argv[i + 1] = args[i];
    }
    memset(s, 0, sizeof *s);
    s->family = AF_INET;
    CHECK_EQ(pipe2(out, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(err, O_CLOEXEC), 0);
    s->pid = fork();
    CHECK_GE(s->pid, 0);
    if (s->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that failed leaves no server behind */
        (void)dup2(out[1], STDOUT_FILENO);
        (void)dup2(err[1], STDERR_FILENO);
        if (setup != NULL) {
            setup();
        }
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    CHECK_EQ(close(out[1]), 0);
    CHECK_EQ(close(err[1]), 0);
    s->out = out[0];
    s->err = err[0];
}

static inline void server_exec(struct server *s, const char *const *args, void (*setup)(void)) {
    program_exec(s, getenv("SERVER"), args, setup);
}

/* Reads its first line. */
static inline void server_wait_ready(struct server *s, const char *backend) {
    while (memchr(s->out_text, '\n', s->out_len) == NULL) {
        ssize_t n = read(s->out, s->out_text + s->out_len, TEXT_BYTES - 1 - s->out_len);
        if (n <= 0) {
            size_t len = 0;
            append_text(s->err, s->err_text, &len);
            CHECK_FAIL("the server ended instead of listening, and said: %s", s->err_text);
        }
        s->out_len += (size_t)n;
    }
    char host[64], wanted[160];
    CHECK_EQ(sscanf(s->out_text, "listening on %63s shards=%u", host, &s->shards), 2);
    CHECK(strrchr(host, ':') != NULL);
    s->port = (uint32_t)atoi(strrchr(host, ':') + 1);
    CHECK_GT(s->port, 0);
    *strrchr(host, ':') = '\0';
    snprintf(wanted, sizeof wanted, "listening on %s:%u shards=%u backend=%s cpus=", host, s->port,
             s->shards, backend);
    CHECK_EQ(strncmp(s->out_text, wanted, strlen(wanted)), 0);
    s->family = host[0] == '[' ? AF_INET6 : AF_INET;
}

static inline const char *backend_wanted(void) {
    const char *name = getenv("XEV_BACKEND");
    CHECK(name != NULL);
    return name;
}

/* On any port, on the backend under test, with more flags (NULL-terminated, or NULL). Without one
 * of these its drain has an hour: what a slow machine takes is no deadline of these tests. */
static inline void server_start_with(struct server *s, uint32_t shards, const char *const *more,
                                     void (*setup)(void)) {
    char number[16];
    const char *args[ARGS_MAX] = {"--port",   "0",    "--backend",  backend_wanted(),
                                  "--shards", number, "--drain-ms", "3600000"};
    snprintf(number, sizeof number, "%u", shards);
    for (int i = 0; more != NULL && more[i] != NULL; i++) {
        args[8 + i] = more[i];
    }
    server_exec(s, args, setup);
    server_wait_ready(s, backend_wanted());
    CHECK_EQ(s->shards, shards);
}

static inline void server_start(struct server *s, uint32_t shards) {
    server_start_with(s, shards, NULL, NULL);
}

static inline void server_signal(struct server *s, int number) {
    CHECK_EQ(kill(s->pid, number), 0);
}

static inline void server_wait_end(struct server *s) {
    size_t err_len = 0;
    append_text(s->out, s->out_text, &s->out_len);
    append_text(s->err, s->err_text, &err_len);
    CHECK_EQ(waitpid(s->pid, &s->status, 0), s->pid);
    CHECK_EQ(close(s->out), 0);
    CHECK_EQ(close(s->err), 0);
}

static inline void check_exit(struct server *s, int code) {
    if (!WIFEXITED(s->status) || WEXITSTATUS(s->status) != code) {
        CHECK_FAIL("status %x instead of exit code %d; stdout: %s stderr: %s", (unsigned)s->status,
                   code, s->out_text, s->err_text);
    }
}

static inline void read_closing_lines(struct server *s) {
    const char *line = strchr(s->out_text, '\n');
    for (uint32_t i = 0; i < s->shards && i < SHARDS_MAX; i++) {
        unsigned long long a, b, m;
        uint32_t id;
        char wanted[120];
        CHECK(line != NULL);
        CHECK_EQ(
            sscanf(line + 1, "shard %u accepted=%llu bytes=%llu messages=%llu\n", &id, &a, &b, &m),
            4);
        snprintf(wanted, sizeof wanted, "shard %u accepted=%llu bytes=%llu messages=%llu\n", i, a,
                 b, m);
        CHECK_EQ(strncmp(line + 1, wanted, strlen(wanted)), 0);
        s->shard[i].accepted = a;
        s->shard[i].bytes = b;
        s->shard[i].messages = m;
        line = strchr(line + 1, '\n');
    }
    CHECK_STR_EQ(line, "\n"); /* and no more */
}

/* SIGTERM, an orderly end, nothing on stderr. */
static inline void server_stop(struct server *s) {
    server_signal(s, SIGTERM);
    server_wait_end(s);
    check_exit(s, 0);
    CHECK_STR_EQ(s->err_text, "");
    read_closing_lines(s);
}

static inline uint64_t total_accepted(const struct server *s) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->shards; i++) {
        n += s->shard[i].accepted;
    }
    return n;
}

static inline uint64_t total_bytes(const struct server *s) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->shards; i++) {
        n += s->shard[i].bytes;
    }
    return n;
}

/* A number above 0 of the process's status, by its name there. */
static inline uint64_t server_status_of(const struct server *s, const char *name) {
    char path[64], line[256];
    unsigned long long value = 0;
    size_t len = strlen(name);
    snprintf(path, sizeof path, "/proc/%d/status", (int)s->pid);
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    while (value == 0 && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, len) == 0 && line[len] == ':') {
            value = strtoull(line + len + 1, NULL, 10);
        }
    }
    CHECK_EQ(fclose(f), 0);
    CHECK_GT(value, 0);
    return value;
}

/* Resident memory in KiB. */
static inline uint64_t server_rss_kib(const struct server *s) {
    return server_status_of(s, "VmRSS");
}

/* What one shard may take, in KiB, for a peer that is made to wait. On io_uring the kernel may have
 * filled each buffer of the loop (8 MiB) when the shard says stop, and what it filled is kept in
 * the connection's own memory once more; the rest is for tables, and for buffers lent meanwhile.
 * A sanitizer has a shadow, and holds memory back. */
static inline uint64_t server_wait_kib(void) { return 24 * 1024 * (test_slowdown() > 1 ? 6 : 1); }

/* ---- clients ---- */

static inline int client_socket(const struct server *s) {
    int fd = socket(s->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    return fd;
}

static inline int try_connect(const struct server *s, int fd) {
    struct sockaddr_in v4 = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)s->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                              .sin6_addr = in6addr_loopback,
                              .sin6_port = htons((uint16_t)s->port)};
    bool six = s->family == AF_INET6;
    struct sockaddr *sa = six ? (struct sockaddr *)(void *)&v6 : (struct sockaddr *)(void *)&v4;
    return connect(fd, sa, six ? sizeof v6 : sizeof v4) == 0 ? 0 : -errno;
}

static inline void connect_fd(const struct server *s, int fd) { CHECK_EQ(try_connect(s, fd), 0); }

static inline int client(const struct server *s) {
    int fd = client_socket(s);
    connect_fd(s, fd);
    return fd;
}

/* One that the server resets: at once, maybe before the connect returns. */
static inline void check_client_is_reset(const struct server *s) {
    char byte;
    ssize_t n = -1;
    int fd = client_socket(s), rc = try_connect(s, fd);
    while (rc == 0 && (n = recv(fd, &byte, 1, 0)) > 0) {
    }
    CHECK_EQ(n, -1);
    CHECK_EQ(rc == 0 ? -errno : rc, -ECONNRESET);
    CHECK_EQ(close(fd), 0);
}

static inline void put(int fd, const void *data, size_t len) {
    CHECK_EQ(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static inline void take(int fd, void *data, size_t len) {
    CHECK_EQ(recv(fd, data, len, MSG_WAITALL), (ssize_t)len);
}

static inline void check_echo(int fd, const char *text) {
    char back[256];
    size_t len = strlen(text);
    CHECK_LT(len, sizeof back);
    put(fd, text, len);
    take(fd, back, len);
    CHECK_MEM_EQ(back, text, len);
}

static inline void check_end(int fd) {
    char c;
    CHECK_EQ(recv(fd, &c, 1, 0), 0);
}

static inline void end_writing(int fd) { CHECK_EQ(shutdown(fd, SHUT_WR), 0); }

static inline void close_fd(int fd) { CHECK_EQ(close(fd), 0); }

static inline void reset_close(int fd) {
    struct linger l = {.l_onoff = 1, .l_linger = 0};
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
    close_fd(fd);
}

/* Until the peer's kernel has said that it has everything we sent. */
static inline void wait_acknowledged(int fd) {
    for (;;) {
        int left = -1;
        CHECK_EQ(ioctl(fd, SIOCOUTQ, &left), 0);
        if (left == 0) {
            return;
        }
        usleep(200);
    }
}

/* Before it connects: so that little fills both ends. The peer's kernel makes its send buffer by
 * the segment size. */
static inline void small_buffers(int fd) {
    int size = 8192, segment = 536;
    CHECK_EQ(setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment), 0);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
}

/* Sends len bytes at a time until the socket has taken nothing for a while. Returns the bytes. */
static inline uint64_t fill(int fd, size_t len, uint64_t most) {
    static const char zeros[65536];
    uint64_t total = 0;
    for (int quiet = 0; quiet < 3 && total < most;) {
        ssize_t n = send(fd, zeros, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            total += (uint64_t)n;
            quiet = 0;
            continue;
        }
        CHECK_EQ(errno, EAGAIN);
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        quiet += poll(&p, 1, 30) == 0;
    }
    return total;
}

/* ---- random ---- */

static inline uint64_t random_next(uint64_t *state) {
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x;
}

/* A seed, printed; XEV_TEST_SEED repeats one. */
static inline uint64_t random_seed(void) {
    const char *text = getenv("XEV_TEST_SEED");
    struct timespec now; /* a process's number is the same in each sandbox */
    CHECK_EQ(clock_gettime(CLOCK_REALTIME, &now), 0);
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10)
                                 : (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    printf("seed %llu\n", (unsigned long long)seed);
    return seed;
}

#endif
