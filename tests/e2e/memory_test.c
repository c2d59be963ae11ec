/* Two thousand peers that ask and never read, and ten thousand that say nothing, at a server whose
 * memory is limited to 64 MiB: it is not killed, and serves others. The limit is that of a cgroup,
 * which the test makes where it may; and of the process's data (RLIMIT_DATA), always. A cgroup of
 * version 2 counts what the system holds of the server's sockets, too. One of version 1 counts that
 * apart: there the test adds the two, each at its highest. */
#include <sys/stat.h>

#include "tests/e2e/server.h"

enum { PEERS = 2000, SILENT_PEERS = 10000, LIMIT = 64 << 20, VALUE = 100000 };

static bool is_kv;

/* ---- the cgroup ---- */

static char group[128];

static bool put_text(const char *dir, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) {
        (void)close(fd);
    }
    return ok;
}

static bool make_group_in(const char *root, const char *limit_file, const char *swap_file) {
    char text[32];
    snprintf(group, sizeof group, "%s/xev-test-%d", root, (int)getpid());
    snprintf(text, sizeof text, "%d", LIMIT);
    if (mkdir(group, 0700) < 0) {
        return false;
    }
    if (!put_text(group, limit_file, text)) {
        (void)rmdir(group);
        return false;
    }
    (void)put_text(group, swap_file, limit_file[7] == 'm' ? "0" : text); /* where there is swap */
    (void)put_text(group, "memory.kmem.tcp.limit_in_bytes", "1G");       /* so that it is counted */
    return true;
}

/* What the system held of the group's TCP sockets at most, where that is counted apart from what
 * the limit is for (version 1 of cgroups); else 0. */
static long sockets_kib(void) {
    char path[256], text[32] = "0";
    snprintf(path, sizeof path, "%s/memory.kmem.tcp.max_usage_in_bytes", group);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        CHECK_GT(read(fd, text, sizeof text - 1), 0);
        close_fd(fd);
    }
    return atol(text) / 1024;
}

static bool make_group(void) {
    return make_group_in("/sys/fs/cgroup", "memory.max", "memory.swap.max") ||
           make_group_in("/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                         "memory.memsw.limit_in_bytes");
}

/* How many there may be. */
static size_t raise_descriptors(void) {
    struct rlimit files;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
    return (size_t)files.rlim_cur;
}

static void enter_group(void) {
    if (!put_text(group, "cgroup.procs", "0")) {
        _exit(126);
    }
}

static void limit_data(void) {
    const struct rlimit data = {LIMIT, LIMIT}, stack = {256 << 10, 256 << 10};
    (void)setrlimit(RLIMIT_STACK, &stack); /* of threads, too: those count as data */
    (void)setrlimit(RLIMIT_DATA, &data);
}

/* ---- the peers ---- */

static void ask_once(int fd, const char *question, const char *answer) {
    char text[64];
    size_t len = strlen(answer);
    CHECK_EQ(send(fd, question, strlen(question), MSG_NOSIGNAL), strlen(question));
    CHECK_EQ(recv(fd, text, len, MSG_WAITALL), len);
    CHECK_MEM_EQ(text, answer, len);
}

static void check_serves(int fd) {
    if (is_kv) {
        ask_once(fd, "PING\r\n", "+PONG\r\n");
    } else {
        ask_once(fd, "hello", "hello");
    }
}

static void set_value(int fd) {
    static char text[VALUE + 64];
    int n = snprintf(text, sizeof text, "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n", VALUE);
    memset(text + n, 'v', VALUE);
    memcpy(text + n + VALUE, "\r\n", 2);
    for (int at = 0; at < n + VALUE + 2;) {
        ssize_t sent = send(fd, text + at, (size_t)(n + VALUE + 2 - at), MSG_NOSIGNAL);
        CHECK_GT(sent, 0);
        at += (int)sent;
    }
    CHECK_EQ(recv(fd, text, 5, MSG_WAITALL), 5);
    CHECK_MEM_EQ(text, "+OK\r\n", 5);
}

static uint64_t now_s(void) {
    struct timespec ts;
    CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
    return (uint64_t)ts.tv_sec;
}

/* Until nobody takes any more, or some seconds have passed. Those that are reset connect again. */
static uint64_t ask_without_reading(const struct server *s, int *fds) {
    static char data[65536];
    static struct pollfd p[PEERS];
    const char get[] = "GET big\r\n";
    uint64_t total = 0, resets = 0, until = now_s() + 10;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = is_kv ? get[i % (sizeof get - 1)] : 'x';
    }
    size_t whole = sizeof data / (sizeof get - 1) * (sizeof get - 1);
    for (int quiet = 0; quiet < 3 && now_s() < until;) {
        bool moved = false;
        for (int i = 0; i < PEERS; i++) {
            ssize_t n =
                send(fds[i], data, is_kv ? whole / 100 : whole, MSG_DONTWAIT | MSG_NOSIGNAL);
            total += n > 0 ? (uint64_t)n : 0;
            moved = moved || n > 0;
            if (n < 0 && errno != EAGAIN) {
                resets++;
                reset_close(fds[i]);
                fds[i] = client_socket(s);
                (void)try_connect(s, fds[i]); /* it may be reset again before that returns */
                moved = true;
            }
            p[i] = (struct pollfd){.fd = fds[i], .events = POLLOUT};
        }
        quiet = moved || poll(p, PEERS, 50) > 0 ? 0 : quiet + 1;
    }
    printf("%llu bytes were taken, %llu connections were reset\n", (unsigned long long)total,
           (unsigned long long)resets);
    return total;
}

static long peak_kib(const struct server *s) {
    char path[64], line[128];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)s->pid);
    FILE *f = fopen(path, "re");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        (void)sscanf(line, "VmHWM: %ld", &kib);
    }
    CHECK_EQ(fclose(f), 0);
    return kib;
}

static void check_survives(void (*setup)(void)) {
    static int fds[PEERS];
    struct server s;
    int status;
    (void)raise_descriptors();
    is_kv = strstr(getenv("SERVER"), "kv_sharded") != NULL;
    server_start_with(&s, 2, (const char *const[]){NULL}, setup);
    int witness = client(&s);
    check_serves(witness);
    if (is_kv) {
        set_value(witness);
    }
    for (int i = 0; i < PEERS; i++) {
        fds[i] = client_socket(&s);
        small_buffers(fds[i]);
        connect_fd(&s, fds[i]);
    }
    CHECK_GT(ask_without_reading(&s, fds), 0);
    CHECK_EQ(waitpid(s.pid, &status, WNOHANG), 0); /* it is alive */
    int fd = client(&s);
    check_serves(fd);
    check_serves(witness);
    printf("at most %ld KiB, and the system %ld KiB for its sockets\n", peak_kib(&s),
           sockets_kib());
    CHECK_LT(peak_kib(&s) + sockets_kib(), LIMIT / 1024);
    for (int i = 0; i < PEERS; i++) {
        reset_close(fds[i]);
    }
    close_fd(fd);
    close_fd(witness);
    server_signal(&s, SIGTERM);
    server_wait_end(&s); /* it has said what it closed */
    CHECK(WIFEXITED(s.status));
    CHECK_EQ(WEXITSTATUS(s.status), 0);
}

TEST_TIMEOUT(peers_that_never_read_do_not_get_it_killed_in_a_small_cgroup, 120) {
    if (test_slowdown() > 1) {
        fprintf(stderr, "SKIPPED: sanitizers take more memory than that\n");
        return;
    }
    if (!make_group()) {
        fprintf(stderr, "SKIPPED: no cgroup with a memory limit can be made here: %s\n",
                strerror(errno));
        return;
    }
    check_survives(enter_group);
    CHECK_EQ(rmdir(group), 0);
}

TEST_TIMEOUT(peers_that_never_read_do_not_exhaust_a_small_data_limit, 120) {
    if (test_slowdown() > 1) {
        fprintf(stderr, "SKIPPED: sanitizers take more memory than that\n");
        return;
    }
    check_survives(limit_data);
}

TEST_TIMEOUT(ten_thousand_that_say_nothing_keep_nobody_out, 120) {
    static int fds[SILENT_PEERS];
    struct server s;
    char byte;
    if (raise_descriptors() < SILENT_PEERS + 1000) {
        fprintf(stderr, "SKIPPED: too few descriptors may be open here\n");
        return;
    }
    is_kv = strstr(getenv("SERVER"), "kv_sharded") != NULL;
    server_start_with(&s, 2, (const char *const[]){NULL}, test_slowdown() > 1 ? NULL : limit_data);
    int witness = client(&s);
    for (int i = 0; i < SILENT_PEERS; i++) {
        fds[i] = client(&s);
        if (i % 1000 == 0) {
            check_serves(witness);
        }
    }
    int fd = client(&s); /* is accepted behind all of them */
    check_serves(fd);
    check_serves(witness);
    for (int i = 0; i < SILENT_PEERS; i++) { /* nobody was closed for it */
        CHECK_EQ(recv(fds[i], &byte, 1, MSG_DONTWAIT), -1);
        CHECK_EQ(errno, EAGAIN);
    }
    printf("at most %ld KiB\n", peak_kib(&s));
    server_signal(&s, SIGTERM);
    for (int i = 0; i < SILENT_PEERS; i++) {
        CHECK_EQ(recv(fds[i], &byte, 1, 0), 0);
        close_fd(fds[i]);
    }
    close_fd(fd);
    close_fd(witness);
    server_wait_end(&s);
    CHECK(WIFEXITED(s.status));
    CHECK_EQ(WEXITSTATUS(s.status), 0);
}
