/* examples/echo_sharded: its flags, what it refuses, and the backend that it falls back to. */
#include "tests/e2e/server.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>

/* Exactly one line, and that begins with the program's name. */
static void check_one_line(const char *text) {
    size_t len = strlen(text);
    if (strncmp(text, "echo_sharded: ", 14) != 0 || strchr(text, '\n') != text + len - 1) {
        CHECK_FAIL("not one line of the program's: %s", text);
    }
}

/* Ends with code, one line on stderr that names what is wrong, nothing on stdout. */
static void check_refused(const char *const *args, int code, const char *names,
                          void (*setup)(void)) {
    struct server s;
    server_exec(&s, args, setup);
    server_wait_end(&s);
    check_exit(&s, code);
    check_one_line(s.err_text);
    CHECK_STR_EQ(s.out_text, "");
    if (strstr(s.err_text, names) == NULL) {
        CHECK_FAIL("%s is not named: %s", names, s.err_text);
    }
}

TEST(flags_that_are_wrong) {
    static const char *const wrong[][5] = {
        {"--port", "65536"},      {"--port", "-1"},
        {"--port", "x"},          {"--port", ""},
        {"--port", "80x"},        {"--port", " 80"},
        {"--shards", "0"},        {"--shards", "1025"},
        {"--shards", "two"},      {"--shards", "99999999999999999999"},
        {"--backend", "kqueue"},  {"--backend", ""},
        {"--host", "nowhere"},    {"--host", ""},
        {"--host", "1.2.3"},      {"--spin-us", "-5"},
        {"--spin-us", "1000001"}, {"--drain-ms", "0"},
        {"--drain-ms", "x"},      {"--log-level", "loud"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *args[] = {"--port", "0", wrong[i][0], wrong[i][1], NULL};
        check_refused(args, 2, wrong[i][0], NULL);
    }
}

TEST(flags_that_are_not_there) {
    static const char *const unknown[] = {"--prot", "0", NULL}, *const word[] = {"7000", NULL},
                             *const missing[] = {"--port", NULL},
                             *const letter[] = {"-p", "1", NULL},
                             *const value[] = {"--no-pin=3", NULL};
    check_refused(unknown, 2, "--prot", NULL);
    check_refused(word, 2, "7000", NULL);
    check_refused(missing, 2, "port", NULL);
    check_refused(letter, 2, "p", NULL);
    check_refused(value, 2, "no-pin", NULL);
}

TEST(alone_is_one_shard) {
    static const char *const two[] = {"--alone", "--shards", "2", NULL}, *const slow[] = {
                                                                             "--alone", "--slow-ms",
                                                                             "9", NULL};
    check_refused(two, 2, "--alone", NULL);
    check_refused(slow, 2, "--slow-ms", NULL);
}

TEST(alone_it_has_one_thread) {
    static const char *const more[] = {"--alone", NULL};
    struct server s;
    server_start_with(&s, 1, more, NULL);
    int fd = client(&s);
    check_echo(fd, "one");
    /* ThreadSanitizer has one of its own. */
    CHECK(test_slowdown() > 1 || server_status_of(&s, "Threads") == 1);
    check_echo(fd, "thread");
    close_fd(fd);
    server_stop(&s);
    CHECK_EQ(total_bytes(&s), 9);
}

TEST(help) {
    static const char *const args[] = {"--help", NULL};
    static const char *const flags[] = {"--host",      "--port",    "--shards",   "--backend",
                                        "--no-pin",    "--spin-us", "--drain-ms", "--address",
                                        "--log-level", "--help"};
    struct server s;
    server_exec(&s, args, NULL);
    server_wait_end(&s);
    check_exit(&s, 0);
    CHECK_STR_EQ(s.err_text, "");
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        CHECK(strstr(s.out_text, flags[i]) != NULL);
    }
}

TEST(ready_and_closing_lines) {
    for (uint32_t shards = 1; shards <= 3; shards++) {
        struct server s;
        server_start(&s, shards);
        server_stop(&s);
        CHECK_EQ(total_accepted(&s), 0);
        CHECK_EQ(total_bytes(&s), 0);
    }
}

TEST(what_is_told_to_stderr_has_a_level) {
    static const char *const more[] = {"--log-level",       "info",       "--slow-ms",
                                       "3600000",           "--drain-ms", "9000",
                                       "--sample-messages", "1",          NULL};
    struct server s;
    server_start_with(&s, 2, more, NULL);
    server_signal(&s, SIGTERM);
    server_wait_end(&s);
    check_exit(&s, 0);
    CHECK_STR_EQ(s.err_text, "xev: 2 shards serve\n"
                             "xev: the drain begins, for 9000 ms at most\n"
                             "xev: the drain is over\n");
}

TEST(one_shard_per_cpu_by_default) {
    const char *const args[] = {"--port", "0", "--backend", backend_wanted(), NULL};
    struct server s;
    server_exec(&s, args, NULL);
    server_wait_ready(&s, backend_wanted());
    CHECK_GE(s.shards, 1);
    CHECK_LE(s.shards, sysconf(_SC_NPROCESSORS_ONLN));
    server_signal(&s, SIGTERM);
    server_wait_end(&s);
    check_exit(&s, 0);
}

static void check_port_refused(const char *port, const char *names, void (*setup)(void)) {
    const char *const args[] = {"--port",   port, "--backend", backend_wanted(),
                                "--shards", "2",  NULL};
    check_refused(args, 1, names, setup);
}

TEST(a_busy_port) {
    struct server first;
    char port[16];
    server_start(&first, 2);
    snprintf(port, sizeof port, "%u", first.port);
    check_port_refused(port, "already in use", NULL); /* though SO_REUSEPORT would let it in */
    int fd = client(&first);
    check_echo(fd, "mine");
    close_fd(fd);
    server_stop(&first);
}

TEST(a_busy_port_of_a_plain_listener) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    char port[16];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&sa, len), 0);
    CHECK_EQ(listen(fd, 1), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)(void *)&sa, &len), 0);
    snprintf(port, sizeof port, "%u", ntohs(sa.sin_port));
    check_port_refused(port, port, NULL);
    close_fd(fd);
}

/* Whoever we are: an exec after this gives the right to low ports to nobody. */
static void no_low_ports(void) { (void)prctl(PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE, 0, 0, 0); }

TEST(a_port_that_needs_permission) {
    FILE *f = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "r");
    int start = 0;
    char port[16];
    CHECK(f != NULL);
    CHECK_EQ(fscanf(f, "%d", &start), 1);
    CHECK_EQ(fclose(f), 0);
    if (start <= 1) {
        puts("not tested: every port is free to all here");
        return;
    }
    snprintf(port, sizeof port, "%d", start - 1);
    check_port_refused(port, "permission denied", no_low_ports);
}

TEST(an_address_that_is_not_ours) {
    static const char *const args[] = {"--port", "0", "--host", "192.0.2.1", NULL};
    check_refused(args, 1, "192.0.2.1", NULL);
}

TEST(a_cpu_that_is_not_there) {
    static const char *const args[] = {"--port", "0", "--cpus", "60000", NULL};
    check_refused(args, 1, "CPU 60000: there is no such CPU", NULL);
}

static void want_no_backend(void) { (void)setenv("XEV_BACKEND", "fast", 1); }

TEST(a_backend_that_is_not_there) {
    static const char *const args[] = {"--port", "0", NULL};
    check_refused(args, 1, "XEV_BACKEND: no such backend: fast", want_no_backend);
}

TEST(a_socket_that_it_was_not_started_with) {
    static const char *const name[] = {"--address", "systemd:http", NULL}, *const number[] = {
                                                                               "--address", "fd:99",
                                                                               NULL};
    check_refused(name, 1, "the process was started with no sockets", NULL);
    check_refused(number, 1, "fd:99: the process has no such descriptor open", NULL);
}

static void descriptors_for_some_shards(void) {
    struct rlimit limit = {20, 20};
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* Nothing was served, so there is nothing to count. */
TEST(a_start_that_fails_half_way) {
    const char *const args[] = {"--port",   "0", "--backend", backend_wanted(),
                                "--shards", "8", NULL};
    check_refused(args, 1, "too many open descriptors", descriptors_for_some_shards);
}

/* ---- without io_uring ---- */

static void refuse_setup(uint32_t error) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        _exit(126);
    }
}

static void refuse_io_uring(void) {
    refuse_setup(EPERM);
    (void)unsetenv("XEV_BACKEND");
}

/* As `ulimit -l 0` in the shell of a user. The kernel lets whoever has CAP_IPC_LOCK go beyond the
 * limit; what is executed after this has it not, also if it is root's. Some kernels do not count
 * the memory of a ring against the limit; a filter then stands for one that does. */
static void lock_no_memory(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
    struct rlimit none = {0, 0};
    (void)prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0); /* refused: we do not have it */
    if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || syscall(SYS_capget, &head, caps) != 0) {
        _exit(126);
    }
    caps[0].effective &= ~(1u << CAP_IPC_LOCK);
    caps[0].inheritable &= ~(1u << CAP_IPC_LOCK);
    struct io_uring_params ring = {0};
    if (syscall(SYS_capset, &head, caps) != 0) {
        _exit(126);
    }
    long fd = syscall(SYS_io_uring_setup, 1, &ring);
    if (fd >= 0) {
        close_fd((int)fd);
        refuse_setup(ENOMEM);
    }
    (void)unsetenv("XEV_BACKEND");
}

static void lock_no_memory_auto(void) {
    lock_no_memory();
    (void)setenv("XEV_BACKEND", "auto", 1);
}

static void lock_no_memory_io_uring(void) {
    lock_no_memory();
    (void)setenv("XEV_BACKEND", "io_uring", 1);
}

/* And once is enough. */
static bool io_uring_is_there(void) { return strcmp(backend_wanted(), "io_uring") == 0; }

/* It says why, and serves by epoll. */
static void check_falls_back(void (*setup)(void), const char *why) {
    static const char *const args[] = {"--port", "0", "--shards", "2", NULL};
    struct server s;
    server_exec(&s, args, setup);
    server_wait_ready(&s, "epoll");
    int fd = client(&s);
    check_echo(fd, "hello");
    close_fd(fd);
    server_signal(&s, SIGTERM);
    server_wait_end(&s);
    check_exit(&s, 0);
    check_one_line(s.err_text);
    CHECK(strstr(s.err_text, "epoll") != NULL);
    CHECK(strstr(s.err_text, "io_uring") != NULL);
    if (strstr(s.err_text, why) == NULL) {
        CHECK_FAIL("%s is not named: %s", why, s.err_text);
    }
}

TEST(without_io_uring_it_says_so_and_serves_by_epoll) {
    if (io_uring_is_there()) {
        check_falls_back(refuse_io_uring, "not permitted");
    }
}

TEST(without_locked_memory_it_names_the_limit_and_serves_by_epoll) {
    if (io_uring_is_there()) {
        check_falls_back(lock_no_memory, "ulimit -l");
        check_falls_back(lock_no_memory_auto, "ulimit -l");
    }
}

static const char *const by_name[] = {"--port", "0", "--backend", "io_uring", NULL};

TEST(io_uring_asked_for_by_name_and_refused) {
    if (io_uring_is_there()) {
        check_refused(by_name, 1, "not permitted", refuse_io_uring);
    }
}

TEST(io_uring_asked_for_by_name_without_locked_memory) {
    static const char *const args[] = {"--port", "0", NULL};
    if (io_uring_is_there()) {
        check_refused(by_name, 1, "ulimit -l", lock_no_memory);
        check_refused(args, 1, "XEV_ENOLOCKMEM", lock_no_memory_io_uring);
    }
}
