/* Failures in the start of services, each call in turn, and in handing connections over. The run
 * reports the error and names the step, or does without; nothing is left. Linked with --wrap. */
#include "tests/inject.h"
#include "tests/serve_scene.h"

static atomic_bool no_messages, no_balance;
static atomic_int mallocs_left = INT32_MAX; /* when they are used up one fails */

static _Atomic(const char *) failed; /* the call that failed first */

static bool fails(const char *call, int error) {
    if (!inject_now()) {
        return false;
    }
    if (inject.hits == 1) {
        failed = call;
    }
    errno = error;
    return true;
}

#define WRAP(type, call, parameters, arguments, result, error)                                     \
    type __real_##call parameters;                                                                 \
    type __wrap_##call parameters;                                                                 \
    type __wrap_##call parameters {                                                                \
        return fails(#call, error) ? (result) : __real_##call arguments;                           \
    }

WRAP(void *, calloc, (size_t n, size_t size), (n, size), NULL, ENOMEM)
WRAP(void *, aligned_alloc, (size_t align, size_t size), (align, size), NULL, ENOMEM)
WRAP(int, posix_memalign, (void **out, size_t align, size_t size), (out, align, size), ENOMEM,
     ENOMEM)
WRAP(char *, strdup, (const char *text), (text), NULL, ENOMEM)
WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, EMFILE)
WRAP(int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len), -1, EACCES)
WRAP(int, listen, (int fd, int backlog), (fd, backlog), -1, EADDRINUSE)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), -1, EPERM)
WRAP(int, lstat, (const char *path, struct stat *st), (path, st), -1, EACCES)

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size) {
    bool one_fails = mallocs_left != INT32_MAX && mallocs_left-- == 0;
    return one_fails || fails("malloc", ENOMEM) ? NULL : __real_malloc(size);
}

WRAP(void *, realloc, (void *p, size_t size), (p, size), NULL, ENOMEM)

int __real_setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len);

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len) {
    if (fails("setsockopt", ENOMEM) || (no_balance && option == SO_ATTACH_REUSEPORT_CBPF)) {
        errno = ENOMEM;
        return -1;
    }
    return __real_setsockopt(fd, level, option, value, len);
}

int __real_xev_shard_send(xev_shard *to, xev_message *message, xev_message_fn handler, void *arg);
int __wrap_xev_shard_send(xev_shard *to, xev_message *message, xev_message_fn handler, void *arg);

int __wrap_xev_shard_send(xev_shard *to, xev_message *message, xev_message_fn handler, void *arg) {
    return no_messages ? XEV_EAGAIN : __real_xev_shard_send(to, message, handler, arg);
}

/* ---- the start ---- */

static int inits;

static int count_and_stop(xev_shard *self, void *userdata) {
    (void)userdata;
    inits++;
    if (xev_shard_id(self) == shards_of(self) - 1) {
        xev_runtime_stop(&runtime);
    }
    return 0;
}

static xev_service_options wanted[3];

/* The n-th call fails, alone or with all after it. False: there were not so many. */
static bool start_with_failure(int n, int mode) {
    uint32_t before = descriptors();
    xev_runtime_failure f = {.call = ""};
    inits = 0;
    inject_plan(n, mode);
    int rc = xev_serve_new(&serve);
    for (int i = 0; i < 3 && rc == 0; i++) {
        rc = xev_serve_add(serve, &wanted[i], NULL);
    }
    if (rc == 0) {
        rc = run_services(2);
        inject_arm(false);
        xev_runtime_failure_get(&runtime, &f);
        CHECK_EQ(f.code, rc);
        CHECK_EQ(rc < 0, f.call[0] != '\0');
        CHECK(rc < 0 || inits == 2);
    } else {
        CHECK_EQ(rc, XEV_ENOMEM);
    }
    inject_arm(false);
    xev_serve_free(serve);
    bool blind = mode != INJECT_ONCE || (inject.hits > 0 && strcmp(failed, "lstat") == 0);
    if (blind && strcmp(f.call, "mode") != 0) {
        (void)unlink(file_of(wanted[1].address)); /* a file that cannot be looked at stays */
    }
    CHECK_EQ(access(file_of(wanted[1].address), F_OK), -1);
    CHECK_EQ(descriptors(), before);
    return inject.hits > 0;
}

static void fail_each(int mode) {
    int n = 1;
    wanted[0] = service_options("a", "127.0.0.1:0");
    wanted[1] = service_options("b", path_in_tmp("unix:", "fault"));
    wanted[2] = service_options("c", "127.0.0.1:0");
    wanted[0].shard_bytes = 100;
    wanted[0].policy = XEV_SERVE_CPU;
    options.init = count_and_stop;
    options.no_pin = true;
    options.listen_retry_ms = UINT32_MAX;
    while (start_with_failure(n, mode)) {
        n++;
    }
    CHECK_GT(n, 60);
}

TEST_TIMEOUT(each_failure_alone_is_reported_or_done_without, 60) { fail_each(INJECT_ONCE); }
TEST_TIMEOUT(each_failure_that_lasts_is_reported_or_done_without, 60) {
    fail_each(INJECT_FROM_THERE_ON);
}

/* ---- serving ---- */

static xev_service *service;

static void connect_eight(void) {
    int fds[8];
    for (int i = 0; i < 8; i++) {
        fds[i] = connect_to(service);
        ask_shard(fds[i]);
        (void)take_answer(fds[i], "l");
    }
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
}

static void check_kept(void) {
    xev_service_options o = service_options("l", abstract_address());
    xev_service_counters c;
    service = add_service(&o);
    run_with_clients(4, connect_eight);
    xev_service_count(service, 0, &c);
    CHECK_EQ(c.accepted, 8);
    CHECK_EQ(c.handed, 0);
    CHECK_EQ(c.served, 8);
    CHECK_EQ(c.connections, 0);
    xev_serve_free(serve);
}

TEST(what_cannot_be_handed_over_is_kept) {
    no_messages = true;
    check_kept();
}

static int refusals;

/* The n-th call of malloc for a connection fails, until one connection needs fewer. */
static void connect_without_memory(void) {
    char text[2];
    for (bool served = false; !served; refusals += !served) {
        mallocs_left = refusals;
        int fd = connect_to_full(service);
        served = send(fd, "?", 1, MSG_NOSIGNAL) == 1 && recv(fd, text, 2, MSG_WAITALL) == 2;
        mallocs_left = INT32_MAX;
        CHECK_EQ(close(fd), 0);
    }
}

/* Its place in the table of peers, the connection, the table beside the connections. */
TEST(a_connection_that_there_is_no_memory_for_is_refused) {
    const xev_serve_limits limits = {.peer_max = 50, .operators = ""};
    xev_service_options o = service_options("l", "127.0.0.1:0");
    service = add_service(&o);
    CHECK_EQ(xev_serve_set_limits(serve, &limits), 0);
    run_with_clients(1, connect_without_memory);
    xev_service_counters c = count_of(service);
    CHECK_EQ(c.served, 1);
    CHECK_GE(refusals, 3);
    CHECK_EQ(c.refused[XEV_SERVE_NO_MEMORY], refusals);
    xev_serve_free(serve);
}

TEST(where_the_kernel_does_not_choose_by_cpu_its_hash_stays) {
    xev_service_options o = service_options("l", "127.0.0.1:0");
    o.policy = XEV_SERVE_CPU;
    no_balance = true;
    service = add_service(&o);
    run_with_clients(1, connect_eight);
    CHECK_EQ(xev_service_policy(service), XEV_SERVE_HASH);
    CHECK_EQ(count_of(service).served, 8);
    xev_serve_free(serve);
}
