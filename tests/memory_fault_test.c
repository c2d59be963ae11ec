/* Memory runs out. Each allocation that the library makes fails in turn, first alone and then with
 * all that follow it. The call reports it or does without the memory, nothing leaks, and the loop
 * goes on. Linked with --wrap for the allocating functions, so that only the project's own calls
 * fail. */
#include "tests/inject.h"
#include "tests/net_scene.h"
#include "xev/file.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
int __real_posix_memalign(void **out, size_t align, size_t size);
void *__real_xev__os_pages(size_t size);
void *__wrap_xev__os_pages(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
int __wrap_posix_memalign(void **out, size_t align, size_t size);

static void *none(void) {
    errno = ENOMEM;
    return NULL;
}

void *__wrap_malloc(size_t size) { return inject_now() ? none() : __real_malloc(size); }

void *__wrap_calloc(size_t n, size_t size) {
    return inject_now() ? none() : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size) {
    return inject_now() ? none() : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size) {
    return inject_now() ? none() : __real_aligned_alloc(align, size);
}

int __wrap_posix_memalign(void **out, size_t align, size_t size) {
    return inject_now() ? ENOMEM : __real_posix_memalign(out, align, size);
}

void *__wrap_xev__os_pages(size_t size) {
    return inject_now() ? none() : __real_xev__os_pages(size);
}

static const int modes[] = {INJECT_ONCE, INJECT_FROM_THERE_ON};
#define EACH_MODE(m) for (const int *m = modes; m < modes + 2; m++)

/* ---- init ---- */

static void recv_works(struct net *n, bool loan) {
    struct op op;
    int fd[2];
    char buf[8];
    local_pair(fd);
    op_new(&op, n);
    if (loan) {
        xev_tcp_recv_loan(xev_tcp_from_fd(fd[0]), &n->loop, &op.c, &op, op_called);
    } else {
        xev_tcp_recv(xev_tcp_from_fd(fd[0]), &n->loop, &op.c, buf, sizeof buf, &op, op_called);
    }
    settle(n);
    plain_send(fd[1], "work", 4);
    run_op(&op);
    CHECK_EQ(op.result, 4);
    close_fd(n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
}

TEST_TIMEOUT(init_without_memory_says_so_or_does_without, 60) {
    EACH_MODE(mode) {
        int at = 1, refused = 0;
        for (bool failed = true; failed; at++) {
            struct net n = {.fds_before = open_fds()};
            inject_plan(at, *mode);
            int rc = xev_loop_init(&n.loop);
            inject_arm(false);
            failed = inject.hits > 0;
            if (rc < 0) {
                CHECK(failed);
                CHECK_EQ(rc, XEV_ENOMEM); /* never another backend for it */
                CHECK_EQ(open_fds(), n.fds_before);
                refused++;
                continue;
            }
            CHECK_STR_EQ(xev_loop_backend(&n.loop), getenv("XEV_BACKEND"));
            CHECK(xev_loop_fallback_reason(&n.loop) == NULL);
            recv_works(&n, false);
            recv_works(&n, true);
            net_close(&n);
        }
        CHECK_GE(refused, 4);
        CHECK_LT(at, 50);
    }
}

/* ---- growth ---- */

enum { FDS = 1100, PER_FD = 2 };

static int plain_dup(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 64);
    CHECK_GE(copy, 0);
    return copy;
}

/* More descriptors than fit a chunk and more operations than there are slots at first. */
static bool operations_grow(int at, int mode) {
    static struct op op[FDS * PER_FD], closing[FDS];
    struct net n;
    int pair[2], fd[FDS], ready = 0;
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_cur < FDS + 200 ? FDS + 200 : limit.rlim_cur;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    net_open(&n, NULL);
    local_pair(pair);
    for (int i = 0; i < FDS; i++) {
        fd[i] = plain_dup(pair[0]);
    }
    inject_plan(at, mode);
    for (int i = 0; i < FDS * PER_FD; i++) {
        op_new(&op[i], &n);
        xev_fd_poll(fd[i % FDS], &n.loop, &op[i].c, XEV_POLL_IN, &op[i], op_called);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_NO_WAIT), 0);
    }
    inject_arm(false);
    int hits = inject.hits;
    for (int i = 0; i < FDS * PER_FD; i++) {
        if (op[i].ends == 1) {
            CHECK_EQ(op[i].result, XEV_ENOMEM);
            CHECK_GT(hits, 0);
        }
    }
    plain_send(pair[1], "x", 1);
    for (int i = 0; i < FDS * PER_FD; i++) {
        if (op[i].ends == 0) {
            run_op(&op[i]);
        }
        CHECK(op[i].result == XEV_POLL_IN || op[i].result == XEV_ENOMEM);
        ready += op[i].result == XEV_POLL_IN;
        CHECK_EQ(op[i].calls, 1);
    }
    CHECK(ready == FDS * PER_FD || hits > 0);
    recv_works(&n, true);
    /* A close needs no room. */
    inject_plan(hits > 0 ? 1 : 1000, INJECT_FROM_THERE_ON);
    for (int i = 0; i < FDS; i++) {
        op_new(&closing[i], &n);
        xev_fd_close(fd[i], &n.loop, &closing[i].c, &closing[i], op_called);
    }
    inject_arm(false);
    for (int i = 0; i < FDS; i++) {
        run_op(&closing[i]);
        CHECK_EQ(closing[i].result, 0);
        CHECK(!is_open(fd[i]));
    }
    CHECK_EQ(close(pair[0]), 0);
    CHECK_EQ(close(pair[1]), 0);
    net_close(&n);
    return hits > 0;
}

TEST_TIMEOUT(operations_without_memory_end_with_enomem, 60) {
    EACH_MODE(mode) {
        int at = 1;
        while (operations_grow(at, *mode)) {
            at++;
        }
        CHECK_GT(at, 2);
    }
}

/* ---- requests on files ---- */

struct file_op {
    xev_file_req req;
    int calls, result;
};

static xev_cb_action on_file_op(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct file_op *op = userdata;
    (void)loop;
    CHECK(c == &op->req.c);
    op->calls++;
    op->result = result;
    return XEV_DISARM;
}

/* More files with requests than the loop has room for at first; two requests on each. */
static bool requests_grow(int at, int mode, xev_threadpool *pool) {
    enum { FILES = 20 };
    static struct file_op op[2 * FILES];
    static char buf[2 * FILES];
    const xev_loop_options options = {.thread_pool = pool};
    struct net n;
    int fd[FILES];
    net_open(&n, &options);
    fd[0] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK_GE(fd[0], 0);
    for (int i = 1; i < FILES; i++) {
        fd[i] = plain_dup(fd[0]);
    }
    memset(op, 0, sizeof op);
    inject_plan(at, mode);
    for (int i = 0; i < 2 * FILES; i++) {
        if (i % 2 == 0) {
            xev_file_stat_fd(fd[i / 2], &n.loop, &op[i].req, &op[i], on_file_op);
        } else {
            xev_file_read(fd[i / 2], &n.loop, &op[i].req, &buf[i], 1, &op[i], on_file_op);
        }
    }
    inject_arm(false);
    int hits = inject.hits;
    for (int i = 0; i < 2 * FILES; i++) {
        run_until(&n, &op[i].calls, 1);
        CHECK_EQ(op[i].calls, 1);
        CHECK(op[i].result >= 0 || (op[i].result == XEV_ENOMEM && hits > 0));
    }
    for (int i = 0; i < FILES; i++) {
        xev_file_read(fd[i], &n.loop, &op[i].req, &buf[i], 1, &op[i], on_file_op);
        run_until(&n, &op[i].calls, 2);
        CHECK_EQ(op[i].result, 1);
        close_fd(&n, fd[i]);
    }
    net_close(&n);
    return hits > 0;
}

TEST_TIMEOUT(requests_without_memory_end_with_enomem, 60) {
    static xev_threadpool pool;
    CHECK_EQ(xev_threadpool_init(&pool, NULL), 0);
    EACH_MODE(mode) {
        int at = 1;
        while (requests_grow(at, *mode, &pool)) {
            at++;
        }
        CHECK_GT(at, 3);
    }
    xev_threadpool_deinit(&pool);
}

/* ---- loans ---- */

/* A loaning receive waits for memory, neither for ever nor in a spin. */
static bool loans_grow(int at, int mode, bool multi) {
    enum { RECEIVERS = 40 };
    static const xev_loop_options few = {.buffers = 1, .buffers_max = 64, .buffer_bytes = 64};
    static struct op op[RECEIVERS];
    struct net n;
    int fd[RECEIVERS][2];
    for (int i = 0; i < RECEIVERS; i++) {
        local_pair(fd[i]);
        plain_send(fd[i][1], "x", 1);
    }
    inject_plan(at, mode);
    inject_arm(false);
    net_open(&n, &few);
    inject_arm(true);
    for (int i = 0; i < RECEIVERS; i++) {
        op_new(&op[i], &n);
        xev_tcp tcp = xev_tcp_from_fd(fd[i][0]);
        if (multi) {
            xev_tcp_recv_multi(tcp, &n.loop, &op[i].c, &op[i], op_called);
        } else {
            xev_tcp_recv_loan(tcp, &n.loop, &op[i].c, &op[i], op_called);
        }
    }
    settle(&n);
    uint64_t turns = run_for(&n, 60);
    inject_arm(false);
    CHECK_LT(turns, 40);
    for (int i = 0; i < RECEIVERS; i++) {
        run_until(&n, &op[i].calls, 1);
        CHECK(op[i].result == 1 || (op[i].result == XEV_ENOMEM && inject.hits > 0));
    }
    for (int i = 0; i < RECEIVERS; i++) {
        close_fd(&n, fd[i][0]);
        CHECK_EQ(op[i].ends, 1);
        CHECK_EQ(close(fd[i][1]), 0);
    }
    xev_loop_deinit(&n.loop);
    CHECK_EQ(open_fds(), n.fds_before - 2 * RECEIVERS);
    return inject.hits > 0;
}

static void loans(bool multi) {
    EACH_MODE(mode) {
        int at = 1;
        while (loans_grow(at, *mode, multi)) {
            at++;
        }
        CHECK_LT(at, 20);
    }
}

TEST_TIMEOUT(loaning_receives_wait_for_memory, 60) { loans(false); }

TEST_TIMEOUT(repeated_loaning_receives_wait_for_memory, 60) { loans(true); }

/* The buffer ring is there and no buffer for it. */
TEST_TIMEOUT(a_loop_that_began_without_buffers_gets_them_later, 60) {
    for (int at = 1; at < 50; at++) {
        struct net n = {.fds_before = open_fds()};
        struct op op;
        int fd[2];
        inject_plan(at, INJECT_FROM_THERE_ON);
        int rc = xev_loop_init(&n.loop);
        if (rc < 0) {
            inject_arm(false);
            continue;
        }
        n.loop.userdata = &n;
        n.hook.callback = count_turn;
        xev_loop_hook_add(&n.loop, XEV_HOOK_BEFORE_POLL, &n.hook);
        local_pair(fd);
        plain_send(fd[1], "x", 1);
        inject_arm(false);
        op_new(&op, &n);
        recv_works(&n, false); /* makes the entries and slots */
        inject_arm(true);
        xev_tcp_recv_multi(xev_tcp_from_fd(fd[0]), &n.loop, &op.c, &op, op_called);
        uint64_t turns = run_for(&n, 60);
        inject_arm(false);
        CHECK_LT(turns, 40);
        run_until(&n, &op.calls, 1);
        CHECK_EQ(op.result, 1);
        close_fd(&n, fd[0]);
        CHECK_EQ(close(fd[1]), 0);
        net_close(&n);
        if (inject.hits == 0) {
            return;
        }
    }
    CHECK_FAIL("it never stopped failing");
}

/* ---- close ---- */

/* There was no room to note the close; an operation that found room since is stopped by it. */
TEST(a_close_that_found_no_room_stops_what_came_after_it) {
    struct net n;
    struct op closing[2], poll;
    int pair[2];
    net_open(&n, NULL);
    local_pair(pair);
    inject_plan(1, INJECT_FROM_THERE_ON);
    for (int i = 0; i < 2; i++) {
        op_new(&closing[i], &n);
        xev_fd_close(pair[0], &n.loop, &closing[i].c, &closing[i], op_called);
    }
    inject_arm(false);
    op_new(&poll, &n);
    xev_fd_poll(pair[0], &n.loop, &poll.c, XEV_POLL_IN, &poll, op_called);
    run_op(&closing[0]);
    run_op(&closing[1]);
    CHECK_EQ(poll.ends, 1);
    CHECK_EQ(poll.result, XEV_ECANCELED);
    CHECK_LT(poll.at, closing[0].at);
    CHECK_EQ(closing[0].result, 0);
    CHECK_EQ(closing[1].result, XEV_EBADF);
    CHECK(!is_open(pair[0]));
    CHECK_EQ(close(pair[1]), 0);
    net_close(&n);
}

/* One that waits for its peer stands in no list of closes, and is found all the same. */
TEST(a_close_that_found_no_room_and_lingers_is_the_only_one) {
    struct net n;
    struct op closing[2];
    static char sink[1 << 16];
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    (void)fill(fd[0]);
    CHECK_EQ(xev_tcp_set_linger(xev_tcp_from_fd(fd[0]), 100000), 0);
    inject_plan(1, INJECT_FROM_THERE_ON);
    op_new(&closing[0], &n);
    xev_fd_close(fd[0], &n.loop, &closing[0].c, &closing[0], op_called);
    CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_NO_WAIT), 0);
    op_new(&closing[1], &n);
    xev_fd_close(fd[0], &n.loop, &closing[1].c, &closing[1], op_called);
    inject_arm(false);
    run_op(&closing[1]);
    CHECK_EQ(closing[1].result, XEV_EBADF);
    CHECK_EQ(closing[0].calls, 0);
    CHECK(is_open(fd[0]));
    while (recv(fd[1], sink, sizeof sink, 0) > 0) {
    }
    run_op(&closing[0]);
    CHECK_EQ(closing[0].result, 0);
    CHECK(!is_open(fd[0]));
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

/* ---- accept ---- */

/* What it waits for comes back, and then it finds no memory to go on with. */
TEST(an_accept_that_waits_for_descriptors_outlasts_a_lack_of_memory) {
    enum { OTHERS = 2048 }; /* as many operations as there is room for at first, with the accept */
    static struct op others[OTHERS];
    struct net n;
    struct op accepted;
    struct hoard hoard;
    int pair[2], listener = plain_listener(4);
    net_open(&n, NULL);
    n.fds_before--; /* the listener */
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(client, 0);
    local_pair(pair);
    limit_fds();
    op_new(&accepted, &n);
    xev_tcp_accept_multi(xev_tcp_from_fd(listener), &n.loop, &accepted.c, &accepted, op_called);
    for (int i = 0; i < OTHERS - 1; i++) {
        op_new(&others[i], &n);
        xev_fd_poll(pair[0], &n.loop, &others[i].c, XEV_POLL_IN, &others[i], op_called);
    }
    settle(&n);
    exhaust_fds(&hoard);
    plain_connect_fd(client, listener);
    run_until(&n, &accepted.calls, 1);
    CHECK_EQ(accepted.result, XEV_EMFILE);
    op_new(&others[OTHERS - 1], &n);
    inject_plan(1, INJECT_FROM_THERE_ON);
    xev_fd_poll(pair[0], &n.loop, &others[OTHERS - 1].c, XEV_POLL_IN, &others[OTHERS - 1],
                op_called);
    CHECK_GT(run_for(&n, 50), 0); /* it is tried again meanwhile */
    CHECK_EQ(accepted.ends, 0);
    inject_arm(false);
    restore_fds(&hoard);
    run_until(&n, &accepted.calls, 2);
    CHECK_GE(accepted.result, 0);
    CHECK_EQ(close(accepted.result), 0);
    plain_send(pair[1], "x", 1);
    for (int i = 0; i < OTHERS; i++) {
        run_until(&n, &others[i].ends, 1);
    }
    CHECK_EQ(close(client), 0);
    close_fd(&n, listener);
    close_fd(&n, pair[0]);
    CHECK_EQ(close(pair[1]), 0);
    net_close(&n);
}
