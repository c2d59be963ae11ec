/* Failures in the start and the end of a runtime. Each call for memory, threads, descriptors,
 * sockets and signals fails in turn, first alone and then with all that follow it. xev_runtime_run
 * reports the error and names a call, or does without. Every callback that must come does come. No
 * descriptor, no thread and no signal handler is left. Linked with --wrap for the calls. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "tests/inject.h"
#include "tests/shard_scene.h"

static char failed[32]; /* the call that failed first; "": none has */

static bool fails(const char *call, int error) {
    if (!inject_now()) {
        return false;
    }
    if (inject.hits == 1) {
        snprintf(failed, sizeof failed, "%s", call);
    }
    errno = error;
    return true;
}

/* ---- the calls; parameters and arguments in parentheses ---- */

#define WRAP(type, call, parameters, arguments, result, error)                                     \
    type __real_##call parameters;                                                                 \
    type __wrap_##call parameters;                                                                 \
    type __wrap_##call parameters {                                                                \
        return fails(#call, error) ? (result) : __real_##call arguments;                           \
    }

WRAP(void *, malloc, (size_t size), (size), NULL, ENOMEM)
WRAP(void *, calloc, (size_t n, size_t size), (n, size), NULL, ENOMEM)
WRAP(void *, realloc, (void *p, size_t size), (p, size), NULL, ENOMEM)
WRAP(void *, aligned_alloc, (size_t align, size_t size), (align, size), NULL, ENOMEM)
WRAP(int, posix_memalign, (void **out, size_t align, size_t size), (out, align, size), ENOMEM,
     ENOMEM)
WRAP(void *, xev__os_pages, (size_t size), (size), NULL, ENOMEM)
WRAP(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg),
     (thread, attr, run, arg), EAGAIN, EAGAIN)
WRAP(int, pthread_atfork, (void (*prepare)(void), void (*parent)(void), void (*child)(void)),
     (prepare, parent, child), ENOMEM, ENOMEM)
WRAP(int, sigaction, (int number, const struct sigaction *action, struct sigaction *old),
     (number, action, old), -1, EINVAL)
WRAP(int, eventfd, (unsigned count, int flags), (count, flags), -1, EMFILE)
WRAP(int, epoll_create1, (int flags), (flags), -1, EMFILE)
WRAP(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *event), (ep, op, fd, event), -1,
     ENOMEM)
WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, EMFILE)
WRAP(int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len), -1, EACCES)
WRAP(int, listen, (int fd, int backlog), (fd, backlog), -1, EADDRINUSE)
WRAP(int, getsockname, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len), -1,
     ENOBUFS)
WRAP(int, getsockopt, (int fd, int level, int option, void *value, socklen_t *len),
     (fd, level, option, value, len), -1, ENOBUFS)
WRAP(int, setsockopt, (int fd, int level, int option, const void *value, socklen_t len),
     (fd, level, option, value, len), -1, ENOMEM)

/* ---- the scene ---- */

enum { SHARDS = 2 };

static xev_listener listeners[SHARDS];
static xev_addr addr;
static struct op timers[SHARDS], works[SHARDS];
static xev_message messages[SHARDS];
static xev_request requests[SHARDS];
static atomic_int sent, handled, asked, answered, begun, drained, ended;

static void take_connection(xev_listener *l, int result, void *userdata) {
    (void)l;
    (void)userdata;
    CHECK_LT(result, 0); /* nobody connects */
}

static void count_message(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    handled++;
}

static void answer(xev_shard *self, xev_request *request, void *arg) {
    (void)self;
    (void)arg;
    xev_shard_reply(request, 0);
}

static void count_reply(xev_shard *self, xev_request *request, int result, void *arg) {
    (void)self;
    (void)request;
    (void)arg;
    CHECK_EQ(result, 0);
    answered++;
}

static int do_nothing(void *arg) {
    (void)arg;
    return 0;
}

static xev_cb_action fired(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_shard *self = xev_shard_current();
    uint32_t id = xev_shard_id(self);
    (void)op_cb(loop, c, result, userdata);
    uint32_t to = SHARDS - 1 - id;
    int rc = xev_shard_send(shard_number(self, to), &messages[id], count_message, NULL);
    sent += rc == 0 && to < (uint32_t)begun; /* those that never began handle nothing */
    stop_all(self);
    return XEV_DISARM;
}

static int begin(xev_shard *self, void *userdata) {
    uint32_t id = xev_shard_id(self);
    xev_loop *loop = xev_shard_loop(self);
    (void)userdata;
    if (id == 0) {
        CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 0), 0);
    }
    int rc = xev_shard_listen(self, &listeners[id], &addr, 0, NULL, take_connection);
    if (rc == 0) {
        rc = xev_listener_addr(&listeners[id], &addr);
    }
    begun++;
    xev_timer_run(NULL, loop, &timers[id].c, 1, &timers[id], fired);
    xev_work_submit(loop, &works[id].c, XEV_LANE_CPU, do_nothing, &works[id], op_cb);
    if (xev_shard_submit_to(self, &requests[id], answer, NULL, count_reply) == 0) {
        asked++;
    }
    return rc;
}

static void drain(xev_shard *self, void *userdata) {
    (void)self;
    (void)userdata;
    drained++;
}

static void deinit(xev_shard *self, void *userdata) {
    (void)self;
    (void)userdata;
    ended++;
}

static void hang_up(xev_shard *self, void *userdata) {
    (void)self;
    (void)userdata;
}

static void check_default(int number) {
    struct sigaction action;
    CHECK_EQ(__real_sigaction(number, NULL, &action), 0);
    CHECK(action.sa_handler == SIG_DFL);
}

/* The n-th call fails, alone or with all after it. False: there were not so many. */
static bool run_with_failure(int n, int mode) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    xev_runtime_options o = {.shards = SHARDS,
                             .no_pin = true,
                             .drain_ms = HOUR_MS,
                             .listen_retry_ms = UINT32_MAX,
                             .init = begin,
                             .drain = drain,
                             .deinit = deinit,
                             .hangup = hang_up};
    xev_runtime rt;
    xev_runtime_failure failure;
    memset(timers, 0, sizeof timers);
    memset(works, 0, sizeof works);
    sent = handled = asked = answered = begun = drained = ended = 0;
    uint32_t descriptors_before = descriptors(), threads_before = threads();
    failed[0] = '\0';
    inject_plan(n, mode);
    int rc = xev_runtime_run(&rt, &o);
    inject_arm(false);
    xev_runtime_failure_get(&rt, &failure);
    if (rc < 0 && rc != XEV_EINTR) {
        CHECK_EQ(failure.code, rc);
        CHECK_NE(failure.call[0], '\0');
    } else {
        CHECK_EQ(failure.code, 0);
        CHECK_EQ(drained, SHARDS);
        CHECK_EQ(ended, SHARDS);
    }
    for (int i = 0; i < begun; i++) {
        CHECK_EQ(timers[i].calls, 1);
        CHECK_EQ(works[i].calls, 1);
    }
    CHECK_EQ(handled, sent);
    CHECK_EQ(answered, asked);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(failed, "sigaction") != 0 && mode == INJECT_ONCE) {
            check_default(numbers[i]); /* else it may have been the one that puts it back */
        }
        CHECK(signal(numbers[i], SIG_DFL) != SIG_ERR);
    }
    wait_for_threads(threads_before);
    CHECK_EQ(descriptors(), descriptors_before);
    return inject.hits > 0;
}

static void *no_work(void *arg) { return arg; }

static void fail_each(int mode) {
    int n = 1;
    /* ThreadSanitizer starts a thread of its own with the first of the program's. It is there when
     * threads are counted. */
    thread_join(thread_start(no_work, NULL));
    for (int i = SIGINT; i <= SIGTERM; i++) {
        (void)signal(i, i == SIGINT || i == SIGTERM || i == SIGHUP || i == SIGPIPE ? SIG_DFL
                                                                                   : SIG_IGN);
    }
    while (run_with_failure(n, mode)) {
        n++;
    }
    CHECK_GT(n, 40);
}

TEST_TIMEOUT(each_failure_alone_is_reported_or_done_without, 60) { fail_each(INJECT_ONCE); }
TEST_TIMEOUT(each_failure_that_lasts_is_reported_or_done_without, 60) {
    fail_each(INJECT_FROM_THERE_ON);
}
