/* A loop in a forked child. Nothing that the child does with its copy reaches the parent. A call
 * that it must not make reports a code or ends the program. It can make a loop of its own. */
#include "tests/loop_scene.h"

#include <errno.h>
#include <signal.h>

/* body in a forked child, whose checks are checked. */
static void in_child(void (*body)(void *), void *arg) {
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        body(arg);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

struct parent {
    xev_loop loop;
    xev_watcher async;
    xev_tcp pair[2];
    struct op recv, second, timer, wait, cancel, closing;
    char bytes[2];
};

/* One in each state that a child may find. */
static void parent_start(struct parent *p) {
    memset(p, 0, sizeof *p);
    loop_start(&p->loop);
    socket_pair(p->pair);
    CHECK_EQ(xev_async_init(&p->async), 0);
    xev_tcp_recv(p->pair[0], &p->loop, &p->recv.c, &p->bytes[0], 1, &p->recv, op_cb);
    xev_tcp_recv(p->pair[0], &p->loop, &p->second.c, &p->bytes[1], 1, &p->second, op_cb);
    xev_timer_run(NULL, &p->loop, &p->timer.c, HOUR_MS, &p->timer, op_cb);
    xev_async_wait(&p->async, &p->loop, &p->wait.c, &p->wait, op_cb);
    run_no_wait(&p->loop);
    xev_cancel(&p->loop, &p->second.c, &p->cancel.c, &p->cancel, op_cb);
}

/* All goes on as if there had been no child. */
static void parent_end(struct parent *p) {
    put_bytes(p->pair[1], "x", 1);
    CHECK_EQ(xev_async_notify(&p->async), 0);
    xev_timer_reset(NULL, &p->loop, &p->timer.c, NULL, 1, &p->timer, op_cb);
    run_done(&p->loop);
    CHECK_EQ(p->recv.result, 1);
    CHECK_EQ(p->second.result, XEV_ECANCELED);
    CHECK_EQ(p->cancel.result, 0);
    CHECK_EQ(p->timer.result, 0);
    CHECK_EQ(p->wait.result, 0);
    CHECK_EQ(p->recv.calls + p->second.calls + p->cancel.calls + p->timer.calls + p->wait.calls, 5);
    close_in(&p->loop, p->pair[0]);
    CHECK_EQ(xev_tcp_close_now(p->pair[1]), 0);
    xev_async_deinit(&p->async);
    xev_loop_deinit(&p->loop);
}

static void use_own_loop(void) {
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    char byte;
    struct op recv = {0}, send = {0};
    xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
    xev_tcp_send(pair[1], &loop, &send.c, "y", 1, &send, op_cb);
    run_done(&loop);
    CHECK_EQ(recv.result, 1);
    xev_loop_deinit(&loop);
    CHECK_EQ(close(pair[0].fd) + close(pair[1].fd), 0);
}

static void give_up(void *arg) {
    struct parent *p = arg;
    CHECK_EQ(xev_loop_run(&p->loop, XEV_RUN_NO_WAIT), XEV_EFORKED);
    CHECK_EQ(xev_loop_run(&p->loop, XEV_RUN_UNTIL_DONE), XEV_EFORKED);
    CHECK_EQ(xev_loop_prepare_wait_ns(&p->loop), 0);
    CHECK_EQ(xev_loop_backend_fd(&p->loop), XEV_EFORKED);
    CHECK_EQ(xev_fd_release(STDIN_FILENO, &p->loop), XEV_EFORKED);
    CHECK_STR_EQ(xev_err_name(XEV_EFORKED), "XEV_EFORKED");
    CHECK_EQ(xev_async_notify(&p->async), 0);
    xev_loop_stop(&p->loop);
    bool by_kqueue = strcmp(xev_loop_backend(&p->loop), "kqueue") == 0;
    uint32_t before = descriptors();
    xev_loop_deinit(&p->loop);
    if (!by_kqueue) { /* a queue is not inherited, so there is no copy of it */
        CHECK_LT(descriptors(), before);
    }
    struct op *ops[] = {&p->recv, &p->second, &p->timer, &p->wait, &p->cancel};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        CHECK_EQ(ops[i]->calls, 0);
        CHECK_EQ(xev_completion_state(&ops[i]->c), XEV_COMPLETION_DEAD);
    }
    xev_async_deinit(&p->async);
    use_own_loop();
}

TEST(child_gives_its_copy_back_and_the_parent_goes_on) {
    struct parent p;
    parent_start(&p);
    in_child(give_up, &p);
    parent_end(&p);
}

static void leave(void *arg) { (void)arg; }

static void watcher_first(void *arg) {
    struct parent *p = arg;
    xev_async_deinit(&p->async);
    xev_loop_deinit(&p->loop);
    use_own_loop();
}

TEST(child_may_leave_the_loop_alone_or_begin_with_its_watchers) {
    struct parent p;
    parent_start(&p);
    in_child(leave, &p);
    in_child(watcher_first, &p);
    parent_end(&p);
}

static struct parent shared;
static void submit(void) {
    struct op timer = {0};
    xev_timer_run(NULL, &shared.loop, &timer.c, 1, &timer, op_cb);
}

TEST(submitting_in_the_child_is_caught) {
    parent_start(&shared);
    check_dies(submit, "xev_timer_run");
    parent_end(&shared);
}

static xev_cb_action fork_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)userdata;
    CHECK_EQ(result, 0);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        CHECK_EQ(xev_loop_run(loop, XEV_RUN_NO_WAIT), XEV_EFORKED);
        xev_loop_deinit(loop);
        use_own_loop();
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    return XEV_DISARM;
}

TEST(child_may_be_made_in_a_callback) {
    struct parent p;
    parent_start(&p);
    xev_completion forks;
    xev_timer_run(NULL, &p.loop, &forks, 0, NULL, fork_cb);
    CHECK_EQ(xev_loop_run(&p.loop, XEV_RUN_ONCE), 0);
    parent_end(&p);
}

/* The child of a child, and a loop that the first child made. */
static void grandchild(void *arg) {
    CHECK_EQ(xev_loop_run(arg, XEV_RUN_NO_WAIT), XEV_EFORKED);
    xev_loop_deinit(arg);
}

static void child_with_loop(void *arg) {
    (void)arg;
    xev_loop loop;
    loop_start(&loop);
    in_child(grandchild, &loop);
    struct op timer = {0};
    xev_timer_run(NULL, &loop, &timer.c, 1, &timer, op_cb);
    run_done(&loop);
    CHECK_EQ(timer.calls, 1);
    xev_loop_deinit(&loop);
}

/* ---- signals ---- */

/* What a child that runs body ends by; 0: it exits. */
static int ended_by(void (*body)(struct parent *, xev_signal *), struct parent *p, xev_signal *s) {
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        body(p, s);
        CHECK_EQ(raise(SIGTERM), 0);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void do_nothing(struct parent *p, xev_signal *s) {
    (void)p;
    (void)s;
}

static void free_loop(struct parent *p, xev_signal *s) {
    xev_loop_deinit(&p->loop);
    memset(s, 0x5a, sizeof *s);
}

static void free_watcher(struct parent *p, xev_signal *s) {
    (void)p;
    xev_signal_deinit(s);
    memset(s, 0x5a, sizeof *s);
}

static void watch_itself(struct parent *p, xev_signal *s) {
    xev_loop loop;
    xev_signal own;
    struct op wait = {0};
    (void)p;
    (void)s;
    loop_start(&loop);
    CHECK_EQ(xev_signal_init(&own, SIGTERM), 0);
    xev_signal_wait(&own, &loop, &wait.c, &wait, op_cb);
    CHECK_EQ(raise(SIGTERM), 0);
    run_done(&loop);
    CHECK_EQ(wait.result, SIGTERM);
    xev_signal_deinit(&own);
    xev_loop_deinit(&loop);
}

TEST(a_child_gets_the_signals_that_its_parent_watches) {
    static void (*const bodies[])(struct parent *, xev_signal *) = {do_nothing, free_loop,
                                                                    free_watcher, watch_itself};
    struct parent p;
    xev_signal s;
    struct op wait = {0};
    parent_start(&p);
    CHECK_EQ(xev_signal_init(&s, SIGTERM), 0);
    xev_signal_wait(&s, &p.loop, &wait.c, &wait, op_cb);
    run_no_wait(&p.loop);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(ended_by(bodies[i], &p, &s), SIGTERM);
    }
    CHECK_EQ(raise(SIGTERM), 0);
    run_for(&p.loop, &wait, 1);
    CHECK_EQ(wait.result, SIGTERM);
    parent_end(&p);
    xev_signal_deinit(&s);
}

static atomic_bool over;

static void *watch_on_and_on(void *arg) {
    (void)arg;
    while (!atomic_load(&over)) {
        xev_signal s;
        CHECK_EQ(xev_signal_init(&s, SIGUSR1), 0);
        xev_signal_deinit(&s);
    }
    return NULL;
}

static void watch_once(void *arg) {
    xev_signal s;
    (void)arg;
    alarm(60); /* instead of a wait for a thread that is not there */
    CHECK_EQ(xev_signal_init(&s, SIGUSR2), 0);
    CHECK_EQ(raise(SIGUSR2), 0);
    xev_signal_deinit(&s);
}

TEST(a_child_may_watch_whatever_its_parents_threads_were_at) {
    pthread_t t;
    if (test_slowdown() > 1) {
        return; /* ThreadSanitizer's own locks do not outlive a fork between threads */
    }
    thread_start(&t, watch_on_and_on, NULL);
    for (uint32_t i = 0; i < rounds(300); i++) {
        in_child(watch_once, NULL);
    }
    atomic_store(&over, true);
    thread_join(t);
}

TEST(grandchildren_are_told_apart) { in_child(child_with_loop, NULL); }

/* A pool's threads are the parent's only: its work is forgotten with the rest. */
struct work {
    struct op op;
    sem_t entered, go;
};

static int slow_work(void *userdata) {
    struct work *w = userdata;
    sem_post(&w->entered);
    sem_take(&w->go);
    return 0;
}

static xev_cb_action work_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    return op_cb(loop, c, result, &((struct work *)userdata)->op);
}

static void forget_work(void *loop) {
    xev_loop_deinit(loop);
    use_own_loop();
}

TEST(child_forgets_work_on_the_pool) {
    xev_threadpool pool;
    xev_threadpool_config cfg;
    xev_threadpool_config_init(&cfg);
    xev_threadpool_config_set_max_threads(&cfg, 1);
    CHECK_EQ(xev_threadpool_init(&pool, &cfg), 0);
    xev_loop_options options = {.thread_pool = &pool};
    xev_loop loop;
    loop_start_options(&loop, &options);
    struct work works[2]; /* one runs, one is queued, and no thread is in the making when we fork */
    memset(works, 0, sizeof works);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(sem_init(&works[i].entered, 0, 0), 0);
        CHECK_EQ(sem_init(&works[i].go, 0, 0), 0);
        xev_work_submit(&loop, &works[i].op.c, XEV_LANE_CPU, slow_work, &works[i], work_cb);
    }
    sem_take(&works[0].entered);
    xev_completion_set_timeout(&loop, &works[1].op.c, HOUR_MS);
    in_child(forget_work, &loop);
    for (int i = 0; i < 2; i++) {
        sem_post(&works[i].go);
        run_for(&loop, &works[i].op, 1);
        sem_destroy(&works[i].entered);
        sem_destroy(&works[i].go);
    }
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

static xev_cb_action become_a_child(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid > 0) { /* the one whose death is looked at is the child */
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        WIFSIGNALED(status) ? (void)raise(WTERMSIG(status)) : _exit(1);
    }
    return op_cb(loop, c, result, userdata);
}

static void fork_in_hook(xev_loop *loop, xev_hook *hook) {
    (void)hook;
    (void)become_a_child(loop, &shared.closing.c, 0, &shared.closing);
}

static void written_by_a_child(xev_loop *loop, xev_stream *s, xev_write_req *req, int result,
                               void *userdata) {
    (void)s;
    (void)req;
    CHECK_EQ(result, 1);
    (void)become_a_child(loop, &((struct op *)userdata)->c, 0, userdata);
}

static int way;
static void come_back(void) {
    xev_hook hook = {.callback = fork_in_hook};
    struct op op = {0}, ignored = {0};
    xev_stream stream;
    xev_write_req writes[2];
    char byte;
    parent_start(&shared);
    if (way == 0) {
        xev_timer_run(NULL, &shared.loop, &op.c, 0, &op, become_a_child);
    } else if (way == 1) {
        xev_fd_poll(shared.pair[0].fd, &shared.loop, &op.c, XEV_POLL_OUT, &op, become_a_child);
    } else if (way == 2) {
        put_bytes(shared.pair[0], "x", 1);
        xev_tcp_recv(shared.pair[1], &shared.loop, &op.c, &byte, 1, &op, become_a_child);
    } else if (way == 3) {
        put_bytes(shared.pair[0], "x", 1);
        xev_tcp_recv_multi(shared.pair[1], &shared.loop, &op.c, &op, become_a_child);
    } else if (way == 4) {
        xev_cancel(&shared.loop, &ignored.c, &op.c, &op, become_a_child);
    } else if (way == 5) {
        xev_stream_init(&stream, &shared.loop, shared.pair[0].fd);
        for (int i = 0; i < 2; i++) {
            xev_stream_write(&stream, &writes[i], "x", 1, &op, written_by_a_child);
        }
    } else {
        xev_loop_hook_add(&shared.loop, XEV_HOOK_AFTER_POLL, &hook);
    }
    (void)xev_loop_run(&shared.loop, XEV_RUN_ONCE);
    (void)xev_loop_run(&shared.loop, XEV_RUN_ONCE);
}

TEST(child_that_comes_back_from_a_callback_is_caught) {
    for (way = 0; way < 7; way++) {
        check_dies(come_back, "xev_loop_run");
    }
}

static void on_written(xev_loop *loop, xev_stream *s, xev_write_req *req, int result,
                       void *userdata) {
    (void)loop;
    (void)s;
    (void)req;
    *(int *)userdata = result;
}

/* The ring's queues are shared with the child, and what the parent has not submitted is in one. */
TEST(child_that_cancels_a_write_does_not_reach_the_parent) {
    static char data[1 << 20];
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    xev_stream stream;
    xev_write_req req;
    int written = 0;
    xev_stream_init(&stream, &loop, pair[0].fd);
    xev_stream_write(&stream, &req, data, sizeof data, &written, on_written);
    run_no_wait(&loop);
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    char byte;
    if (pid == 0) {
        CHECK_EQ(read(ends[0], &byte, 1), 1);
        (void)xev_stream_cancel(&stream, &req);
        _exit(0);
    }
    struct op poll = {0};
    xev_fd_poll(pair[1].fd, &loop, &poll.c, XEV_POLL_IN, &poll, op_cb);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    run_for(&loop, &poll, 1);
    CHECK_EQ(poll.result, XEV_POLL_IN);
    CHECK_EQ(written, 0);
    xev_loop_deinit(&loop);
    close(pair[0].fd);
    close(pair[1].fd);
    close(ends[0]);
    close(ends[1]);
}
