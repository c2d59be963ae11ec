/* Services that cannot start: the runtime's failure names the step, the service and the address,
 * and nothing is left of what had started. */
#include "tests/serve_scene.h"

#include <sys/resource.h>

static int inits, deinits;
static int init_fails_at;

static int count_init(xev_shard *self, void *userdata) {
    CHECK(userdata == &inits);
    inits++;
    return (int)xev_shard_id(self) == init_fails_at ? XEV_EPERM : 0;
}

static void count_deinit(xev_shard *self, void *userdata) {
    (void)self;
    CHECK(userdata == &inits);
    deinits++;
}

/* The start of a good service and then of a bad one fails, on shard 0. */
static void check_fails_with(const xev_service_options *bad, int code, const char *step) {
    uint32_t before = descriptors();
    xev_runtime_failure f;
    serve = NULL;
    inits = deinits = 0;
    init_fails_at = -1;
    (void)add_at("good", "127.0.0.1:0");
    (void)add_service(bad);
    options.init = count_init;
    options.deinit = count_deinit;
    options.userdata = &inits;
    options.listen_retry_ms = UINT32_MAX;
    CHECK_EQ(run_services(3), code);
    xev_runtime_failure_get(&runtime, &f);
    CHECK_EQ(f.code, code);
    CHECK_EQ(f.shard, 0);
    CHECK_STR_EQ(f.call, step);
    CHECK_STR_EQ(f.part, bad->name);
    CHECK_MEM_EQ(f.object, bad->address, strnlen(bad->address, sizeof f.object - 1));
    CHECK_EQ(inits + deinits, 0);
    xev_serve_free(serve);
    CHECK_EQ(descriptors(), before);
}

static void check_fails(const char *address, int code, const char *step) {
    xev_service_options o = service_options("bad", address);
    check_fails_with(&o, code, step);
}

/* What the last start has said. */
static void check_why(const char *why) {
    xev_runtime_failure f;
    xev_runtime_failure_get(&runtime, &f);
    CHECK_STR_EQ(f.why, why);
}

TEST(bad_addresses) {
    static const char *const bad[] = {"",
                                      "80",
                                      ":80",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:-1",
                                      "127.0.0.1:8x",
                                      "127.0.0.1: 8",
                                      "::1:80",
                                      "[::1]",
                                      "[::1:80",
                                      "host.example:80",
                                      "1.2.3:80",
                                      "127.0.0.1:99999999999999999999",
                                      "unix:",
                                      "fd:",
                                      "fd:-1",
                                      "fd:x",
                                      "fd:3x",
                                      "fd:2147483648"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        check_fails(bad[i], XEV_EINVAL, "address");
    }
}

TEST(a_path_that_is_too_long) {
    char address[400] = "unix:";
    for (size_t len = 108; len <= 350; len += 121) {
        memset(address + 5, 'p', len);
        address[5 + len] = '\0';
        check_fails(address, XEV_ENAMETOOLONG, "address");
    }
}

TEST(a_host_that_is_too_long) {
    char address[400];
    memset(address, '1', sizeof address);
    memcpy(address + 390, ":80", 4);
    check_fails(address, XEV_EINVAL, "address");
}

TEST(a_busy_port) {
    char address[32];
    xev_addr addr;
    xev_tcp tcp;
    CHECK_EQ(xev_tcp_init(&tcp, XEV_AF_INET), 0);
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 0), 0);
    CHECK_EQ(xev_tcp_bind(tcp, &addr, true), 0);
    CHECK_EQ(xev_tcp_listen(tcp, 1), 0);
    CHECK_EQ(xev_tcp_local_addr(tcp, &addr), 0);
    CHECK_EQ(xev_addr_format(&addr, address, sizeof address), 0);
    check_fails(address, XEV_EADDRINUSE, "listen");
    CHECK_EQ(xev_tcp_close_now(tcp), 0);
}

TEST(an_address_of_another_host) { check_fails("192.0.2.1:0", XEV_EADDRNOTAVAIL, "listen"); }

TEST(a_backlog_below_0) {
    xev_service_options o = service_options("bad", "127.0.0.1:0");
    o.backlog = -1;
    check_fails_with(&o, XEV_EINVAL, "listen");
    check_why("backlog is below 0");
    o.address = path_in_tmp("unix:", "backlog");
    check_fails_with(&o, XEV_EINVAL, "listen");
}

TEST(a_policy_that_the_address_cannot_have) {
    xev_service_options o = service_options("bad", "unix:@x");
    o.policy = XEV_SERVE_HASH;
    check_fails_with(&o, XEV_ENOTSUP, "policy");
    o.address = "fd:1000"; /* it would be closed */
    check_fails_with(&o, XEV_ENOTSUP, "policy");
    o.address = "127.0.0.1:0";
    o.policy = (xev_serve_policy)77;
    check_fails_with(&o, XEV_ENOTSUP, "policy");
}

TEST(an_option_of_connections_that_is_out_of_range_is_named) {
    static const xev_conn_handlers no_data = {.closed = answer_closed};
    const struct {
        xev_conn_options conns;
        const char *why;
    } table[] = {
        {{0}, "handlers is null"},
        {{.handlers = &no_data}, "there is no data handler"},
        {{.handlers = &answers, .user_bytes = (1u << 20) + 1}, "user_bytes is above 1 MiB"},
        {{.handlers = &answers, .connections_max = UINT32_MAX}, "connections_max is above 4194303"},
        {{.handlers = &answers, .unconsumed_max_bytes = (1u << 30) + 1},
         "unconsumed_max_bytes is above 1 GiB"},
        {{.handlers = &answers, .queued_max_bytes = 1u << 31},
         "queued_max_bytes is above 2147483647"},
        {{.handlers = &answers, .queued_max_bytes = 100000},
         "high_bytes (256 KiB if it is not set) is above queued_max_bytes"},
        {{.handlers = &answers, .low_bytes = 1u << 19},
         "low_bytes is above high_bytes (256 KiB if it is not set)"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        xev_service_options o = service_options("bad", "127.0.0.1:0");
        o.conns = table[i].conns;
        check_fails_with(&o, XEV_EINVAL, "conns");
        check_why(table[i].why);
    }
}

TEST(permissions_that_no_file_has) {
    xev_service_options o = service_options("bad", path_in_tmp("unix:", "mode"));
    o.file_mode = 010600;
    check_fails_with(&o, XEV_EINVAL, "mode");
    check_why("file_mode is above 07777");
    CHECK_EQ(access(file_of(o.address), F_OK), -1);
}

TEST(what_is_wrong_with_an_address_is_said) {
    check_fails("host.example:80", XEV_EINVAL, "address");
    check_why("no address: 127.0.0.1:80, [::1]:80, unix:PATH, unix:@NAME, fd:N or systemd:NAME");
    check_fails("fd:x", XEV_EINVAL, "address");
    check_why("no number of a descriptor");
    check_fails("systemd:", XEV_EINVAL, "address");
    check_why("no name or number of a socket");
    check_fails("fd:1000", XEV_EBADF, "descriptor");
    check_why("the process has no such descriptor open");
}

TEST(a_folder_that_is_not_there) { check_fails("unix:/nowhere/at/all", XEV_ENOENT, "bind"); }

TEST(a_unix_socket_that_somebody_listens_at) {
    const char *address = path_in_tmp("unix:", "busy");
    struct stat before, after;
    xev_addr addr;
    xev_unix sock;
    CHECK_EQ(xev_addr_unix(&addr, file_of(address), strlen(file_of(address))), 0);
    CHECK_EQ(xev_unix_init(&sock, XEV_UNIX_STREAM), 0);
    CHECK_EQ(xev_unix_bind(sock, &addr, XEV_UNIX_KEEP), 0);
    CHECK_EQ(xev_unix_listen(sock, 1), 0);
    CHECK_EQ(stat(file_of(address), &before), 0);
    check_fails(address, XEV_EADDRINUSE, "bind");
    CHECK_EQ(stat(file_of(address), &after), 0);
    CHECK_EQ(before.st_ino, after.st_ino);
    CHECK_EQ(xev_unix_close_now(sock), 0);
    CHECK_EQ(unlink(file_of(address)), 0);
}

TEST(a_file_that_is_no_socket_stays) {
    const char *address = path_in_tmp("unix:", "file");
    int fd = open(file_of(address), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK_EQ(write(fd, "mine", 4), 4);
    CHECK_EQ(close(fd), 0);
    check_fails(address, XEV_EADDRINUSE, "bind");
    CHECK_EQ(access(file_of(address), F_OK), 0);
    CHECK_EQ(unlink(file_of(address)), 0);
}

TEST(descriptors_that_do_not_listen) {
    char address[32];
    int fds[2];
    snprintf(address, sizeof address, "fd:%d", 1000);
    check_fails(address, XEV_EBADF, "descriptor");
    for (int i = 0; i < 3; i++) {
        int code = i == 0 ? XEV_ENOTSOCK : i == 1 ? XEV_EPROTOTYPE : XEV_EINVAL;
        uint32_t before = descriptors();
        CHECK_EQ(
            i == 0 ? pipe(fds) : socketpair(AF_UNIX, i == 1 ? SOCK_DGRAM : SOCK_STREAM, 0, fds), 0);
        snprintf(address, sizeof address, "fd:%d", fds[0]);
        xev_service_options o = service_options("bad", address);
        serve = NULL;
        xev_runtime_failure f;
        o.backlog = -1; /* not for a socket that the process was started with */
        (void)add_service(&o);
        options.init = NULL;
        options.deinit = NULL;
        CHECK_EQ(run_services(2), code);
        xev_runtime_failure_get(&runtime, &f);
        CHECK_STR_EQ(f.call, "descriptor");
        CHECK_STR_EQ(f.object, address);
        CHECK_STR_EQ(f.why, i == 0   ? "" /* the code's text says it */
                            : i == 1 ? "it is no stream socket"
                                     : "it is a socket that does not listen");
        CHECK_EQ(fcntl(fds[0], F_GETFD), -1); /* it was the run's */
        CHECK_EQ(close(fds[1]), 0);
        xev_serve_free(serve);
        CHECK_EQ(descriptors(), before);
    }
}

TEST(without_descriptors) {
    struct rlimit limit, low = {0};
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const char *address = path_in_tmp("unix:", "none");
    xev_service_options o = service_options("bad", address);
    (void)add_service(&o);
    bool seen = false;
    int first = dup(STDIN_FILENO); /* the lowest number that is free */
    CHECK_EQ(close(first), 0);
    low.rlim_max = limit.rlim_max;
    for (low.rlim_cur = (rlim_t)first; !seen; low.rlim_cur++) {
        xev_runtime_failure f;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
        int rc = run_services(1);
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
        CHECK_LT(rc, 0);
        xev_runtime_failure_get(&runtime, &f);
        seen = strcmp(f.call, "socket") == 0;
    }
    CHECK_EQ(access(file_of(address), F_OK), -1);
    xev_serve_free(serve);
}

/* ---- the program's own init ---- */

TEST(an_init_callback_that_fails) {
    const char *address = path_in_tmp("unix:", "init");
    xev_runtime_failure f;
    uint32_t before = descriptors();
    (void)add_at("a", "127.0.0.1:0");
    (void)add_at("b", address);
    options.init = count_init;
    options.deinit = count_deinit;
    options.userdata = &inits;
    for (init_fails_at = 0; init_fails_at < 3; init_fails_at++) {
        for (int own = 0; own < 2; own++) {
            inits = deinits = 0;
            options.deinit_failed = own == 1;
            CHECK_EQ(run_services(3), XEV_EPERM);
            xev_runtime_failure_get(&runtime, &f);
            CHECK_STR_EQ(f.call, "init");
            CHECK_EQ(f.shard, init_fails_at);
            CHECK_EQ(inits, init_fails_at + 1);
            CHECK_EQ(deinits, init_fails_at + own);
            CHECK_EQ(access(file_of(address), F_OK), -1);
        }
    }
    xev_serve_free(serve);
    CHECK_EQ(descriptors(), before);
}

TEST(bad_options_of_the_runtime) {
    (void)add_at("a", "127.0.0.1:0");
    CHECK_EQ(run_services(XEV_SHARDS_MAX + 1), XEV_EINVAL);
    xev_serve_free(serve);
}

/* Both would listen at it, and both close it. */
TEST(a_descriptor_is_of_one_service) {
    char address[16];
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint32_t before = descriptors();
    xev_runtime_failure f;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&in, sizeof in), 0);
    CHECK_EQ(listen(fd, 8), 0);
    snprintf(address, sizeof address, "fd:%d", fd);
    (void)add_at("first", address);
    (void)add_at("second", address);
    CHECK_EQ(run_services(1), XEV_EINVAL);
    xev_runtime_failure_get(&runtime, &f);
    CHECK_STR_EQ(f.call, "address");
    CHECK_STR_EQ(f.part, "second");
    CHECK_STR_EQ(f.why, "another service has it");
    CHECK_EQ(descriptors(), before);
    xev_serve_free(serve);
}
