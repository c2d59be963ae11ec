/* Child processes: how an end is reported, that no process is left behind, and which process gets
 * which signals. */
#include "tests/process_scene.h"

#include <sys/resource.h>

/* ---- the end ---- */

TEST(exit_0_is_reported) {
    xev_loop loop;
    struct child c;
    uint32_t before = descriptors();
    loop_start(&loop);
    xev_process_options o = {.argv = true_argv};
    CHECK_EQ(xev_process_spawn(&c.process, &o), 0);
    CHECK_GT(c.process.pid, 0);
    CHECK_EQ(end_of(&loop, &c), 0);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
    CHECK_EQ(descriptors(), before);
    check_no_children();
}

TEST(exit_codes_are_reported) {
    CHECK_EQ(result_of_sh("exit 42"), 42);
    CHECK_EQ(result_of_sh("exit 255"), 255);
    CHECK_EQ(xev_process_exit_code(42), 42);
    CHECK_EQ(xev_process_signal(42), 0);
}

TEST(death_by_signal_is_told_apart_from_exit_codes) {
    int term = result_of_sh("kill -TERM $$");
    CHECK_EQ(term, XEV_PROCESS_SIGNALED + SIGTERM);
    CHECK_EQ(xev_process_signal(term), SIGTERM);
    CHECK_EQ(xev_process_exit_code(term), -1);
    CHECK_EQ(result_of_sh("kill -KILL $$"), XEV_PROCESS_SIGNALED + SIGKILL);
    CHECK_EQ(result_of_sh("ulimit -c 0; kill -ABRT $$"), XEV_PROCESS_SIGNALED + SIGABRT);
    CHECK_EQ(result_of_sh("exit 137"), 137);
    CHECK_EQ(result_of_sh("exit 15"), 15);
    CHECK_EQ(xev_process_exit_code(XEV_ECHILD), -1);
    CHECK_EQ(xev_process_signal(XEV_ECHILD), 0);
}

TEST(a_child_that_ended_before_the_wait_is_reported) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    CHECK_EQ(spawn_sh(&c.process, "exit 7", (xev_process_options){0}), 0);
    wait_for_zombie(c.process.pid);
    start_wait(&loop, &c);
    CHECK_EQ(c.wait.calls, 0); /* not inside the call */
    run_for(&loop, &c.wait, 1);
    CHECK_EQ(c.wait.result, 7);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(waiting_for_what_is_no_child_reports_echild_at_once) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    CHECK_EQ(xev_process_open(&c.process, getppid()), 0);
    CHECK_EQ(end_of(&loop, &c), XEV_ECHILD);
    CHECK_EQ(c.process.stdio[0], XEV_INVALID_FD);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(a_second_wait_reports_echild) {
    xev_loop loop;
    struct child c;
    struct op second = {0};
    loop_start(&loop);
    xev_process_options o = {.argv = cat_argv, .stdio = {{XEV_STDIO_PIPE, 0}}};
    CHECK_EQ(xev_process_spawn(&c.process, &o), 0);
    start_wait(&loop, &c);
    xev_process_wait(&c.process, &loop, &second.c, &second, op_cb);
    run_no_wait(&loop);
    CHECK(is_active(&c.wait) && is_active(&second));
    close_fd_in(&loop, c.process.stdio[0]);
    c.process.stdio[0] = XEV_INVALID_FD;
    run_for(&loop, &second, 1);
    CHECK_EQ(c.wait.terminal, 1);
    CHECK_EQ(c.wait.result, 0);
    CHECK_EQ(second.result, XEV_ECHILD);
    CHECK_LT(c.wait.order, second.order);
    CHECK_EQ(end_of(&loop, &c), XEV_ECHILD);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(a_child_started_by_other_means_can_be_waited_for) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        _exit(9);
    }
    CHECK_EQ(xev_process_open(&c.process, pid), 0);
    CHECK_EQ(c.process.pid, pid);
    CHECK_EQ(end_of(&loop, &c), 9);
    close_child(&loop, &c);
    CHECK_EQ(xev_process_open(&c.process, pid), XEV_ESRCH);
    CHECK_EQ(c.process.fd, XEV_INVALID_FD);
    CHECK_EQ(xev_process_open(&c.process, 0), XEV_EINVAL);
    CHECK_EQ(xev_process_open(&c.process, -1), XEV_EINVAL);
    xev_loop_deinit(&loop);
}

TEST(waiting_on_something_else_reports_ebadf) {
    xev_loop loop;
    struct child c = {.process = {.fd = XEV_INVALID_FD}};
    loop_start(&loop);
    CHECK_EQ(end_of(&loop, &c), XEV_EBADF);
    c.process.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(end_of(&loop, &c), XEV_EBADF);
    CHECK_EQ(xev_process_kill(&c.process, 0), XEV_EBADF);
    CHECK_EQ(close(c.process.fd), 0);
    CHECK_EQ(end_of(&loop, &c), XEV_EBADF);
    CHECK_EQ(xev_process_close_now(&c.process), XEV_EBADF);
    xev_loop_deinit(&loop);
}

/* ---- kill, cancel, deadline, close, teardown ---- */

TEST(kill_ends_a_process) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    start_idle(&c);
    CHECK_EQ(xev_process_kill(&c.process, 0), 0);
    CHECK_EQ(xev_process_kill(&c.process, 4711), XEV_EINVAL);
    start_wait(&loop, &c);
    run_no_wait(&loop);
    CHECK_EQ(c.wait.calls, 0);
    CHECK_EQ(xev_process_kill(&c.process, SIGTERM), 0);
    run_for(&loop, &c.wait, 1);
    CHECK_EQ(c.wait.result, XEV_PROCESS_SIGNALED + SIGTERM);
    CHECK_EQ(xev_process_kill(&c.process, SIGTERM), XEV_ESRCH);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(a_cancelled_wait_collects_nothing) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    start_idle(&c);
    for (int started = 0; started < 2; started++) {
        struct op cancel = {0};
        start_wait(&loop, &c);
        if (started) {
            run_no_wait(&loop);
        }
        xev_cancel(&loop, &c.wait.c, &cancel.c, &cancel, op_cb);
        run_for(&loop, &cancel, 1);
        CHECK_EQ(cancel.result, 0);
        CHECK_EQ(c.wait.result, XEV_ECANCELED);
        CHECK_EQ(c.wait.terminal, 1);
    }
    CHECK_EQ(xev_process_kill(&c.process, SIGKILL), 0);
    CHECK_EQ(end_of(&loop, &c), XEV_PROCESS_SIGNALED + SIGKILL);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(a_wait_takes_a_deadline) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    start_idle(&c);
    start_wait(&loop, &c);
    xev_completion_set_timeout(&loop, &c.wait.c, 1);
    run_for(&loop, &c.wait, 1);
    CHECK_EQ(c.wait.result, XEV_ETIMEDOUT);
    CHECK_EQ(xev_process_kill(&c.process, SIGKILL), 0);
    CHECK_EQ(end_of(&loop, &c), XEV_PROCESS_SIGNALED + SIGKILL);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(closing_cancels_the_wait_and_gives_the_child_up) {
    uint32_t before = descriptors();
    for (int ended = 0; ended < 2; ended++) {
        xev_loop loop;
        struct child c;
        loop_start(&loop);
        start_idle(&c);
        int32_t pid = c.process.pid;
        if (ended) {
            CHECK_EQ(xev_process_kill(&c.process, SIGKILL), 0);
            wait_for_zombie(pid);
        } else {
            start_wait(&loop, &c);
            run_no_wait(&loop);
        }
        struct op closing = {0};
        xev_process_close(&c.process, &loop, &closing.c, &closing, op_cb);
        c.process.fd = XEV_INVALID_FD;
        run_for(&loop, &closing, 1);
        CHECK_EQ(closing.result, 0);
        if (!ended) {
            CHECK_EQ(c.wait.result, XEV_ECANCELED);
            CHECK_LT(c.wait.order, closing.order);
            siginfo_t info;
            CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
            CHECK_EQ(kill(pid, SIGKILL), 0);
            wait_for_zombie(pid);
        }
        another_child();
        check_no_children();
        close_fd_in(&loop, c.process.stdio[0]);
        xev_loop_deinit(&loop);
    }
    CHECK_EQ(descriptors(), before);
}

/* Found by number, it is for its starter to collect, whoever else has looked at it. */
TEST(closing_what_was_opened_by_number_collects_nothing) {
    for (int by_loop = 0; by_loop < 2; by_loop++) {
        xev_loop loop;
        xev_process found;
        int status;
        loop_start(&loop);
        pid_t pid = fork();
        CHECK_GE(pid, 0);
        if (pid == 0) {
            (void)pause();
            _exit(0);
        }
        CHECK_EQ(xev_process_open(&found, pid), 0);
        CHECK_EQ(xev_process_kill(&found, SIGKILL), 0);
        if (by_loop) {
            struct op closing = {0};
            xev_process_close(&found, &loop, &closing.c, &closing, op_cb);
            run_for(&loop, &closing, 1);
            CHECK_EQ(closing.result, 0);
        } else {
            CHECK_EQ(xev_process_close_now(&found), 0);
        }
        wait_for_zombie(pid);
        another_child();
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, SIGKILL);
        xev_loop_deinit(&loop);
    }
}

/* It takes no descriptor to give a child up, once one has been. */
TEST(a_child_is_given_up_without_descriptors_too) {
    enum { MOST = 64 };
    xev_loop loop;
    struct child first, c;
    struct rlimit before, few;
    struct op closing = {0};
    int hoard[MOST], held = 0;
    loop_start(&loop);
    start_idle(&first);
    CHECK_EQ(xev_process_close_now(&first.process), 0);
    start_idle(&c);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = MOST;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (held < MOST && (hoard[held] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) {
        held++;
    }
    xev_process_close(&c.process, &loop, &closing.c, &closing, op_cb);
    run_for(&loop, &closing, 1);
    CHECK_EQ(closing.result, 0);
    while (held > 0) {
        CHECK_EQ(close(hoard[--held]), 0);
    }
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK_EQ(close(first.process.stdio[0]), 0);
    CHECK_EQ(close(c.process.stdio[0]), 0);
    wait_for_zombie(first.process.pid);
    wait_for_zombie(c.process.pid);
    another_child();
    check_no_children();
    xev_loop_deinit(&loop);
}

TEST(children_closed_without_a_wait_are_collected) {
    enum { N = 100 };
    uint32_t before = descriptors();
    xev_process_options o = {.argv = true_argv};
    for (int i = 0; i < N; i++) {
        xev_process p;
        CHECK_EQ(xev_process_spawn(&p, &o), 0);
        if (i % 2 != 0) {
            wait_for_zombie(p.pid);
        }
        CHECK_EQ(xev_process_close_now(&p), 0);
    }
    siginfo_t info;
    while (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0) {
        another_child();
    }
    check_no_children();
    CHECK_EQ(descriptors(), before);
}

TEST(close_now_of_a_collected_child_closes) {
    xev_loop loop;
    struct child c;
    uint32_t before = descriptors();
    loop_start(&loop);
    xev_process_options o = {.argv = true_argv};
    CHECK_EQ(xev_process_spawn(&c.process, &o), 0);
    CHECK_EQ(end_of(&loop, &c), 0);
    xev_loop_deinit(&loop);
    CHECK_EQ(xev_process_close_now(&c.process), 0);
    CHECK_EQ(descriptors(), before);
}

TEST(teardown_cancels_a_wait) {
    xev_loop loop;
    struct child c;
    uint32_t before = descriptors();
    for (int started = 0; started < 2; started++) {
        loop_start(&loop);
        start_idle(&c);
        start_wait(&loop, &c);
        if (started) {
            run_no_wait(&loop);
        }
        xev_loop_deinit(&loop);
        CHECK_EQ(c.wait.terminal, 1);
        CHECK_EQ(c.wait.result, XEV_ECANCELED);
        /* Still this program's child. */
        CHECK_EQ(xev_process_kill(&c.process, SIGKILL), 0);
        loop_start(&loop);
        CHECK_EQ(end_of(&loop, &c), XEV_PROCESS_SIGNALED + SIGKILL);
        close_child(&loop, &c);
        xev_loop_deinit(&loop);
    }
    CHECK_EQ(descriptors(), before);
    check_no_children();
}

TEST(an_unreferenced_wait_does_not_keep_the_loop_going) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    start_idle(&c);
    start_wait(&loop, &c);
    xev_completion_unref(&c.wait.c);
    run_done(&loop);
    CHECK_EQ(c.wait.calls, 0);
    CHECK_EQ(xev_process_kill(&c.process, SIGKILL), 0);
    xev_completion_ref(&c.wait.c);
    run_done(&loop);
    CHECK_EQ(c.wait.result, XEV_PROCESS_SIGNALED + SIGKILL);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

/* A number that was another process's, closed behind the loop's back, is nothing special. */
TEST(a_recycled_descriptor_number_is_waited_on) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    for (int i = 0; i < 10; i++) {
        start_idle(&c);
        start_wait(&loop, &c);
        run_no_wait(&loop);
        CHECK_EQ(c.wait.calls, 0);
        close(c.process.stdio[0]);
        run_for(&loop, &c.wait, 1);
        CHECK_EQ(c.wait.result, 0);
        close(c.process.fd);
    }
    xev_loop_deinit(&loop);
}

/* ---- many ---- */

static uint32_t thousand_ended;

static xev_cb_action one_of_many_ended(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    struct child *child = userdata;
    (void)c;
    CHECK_EQ(result, 0);
    thousand_ended++;
    child->wait = (struct op){0};
    xev_process_close(&child->process, loop, &child->wait.c, &child->wait, op_cb);
    return XEV_DISARM;
}

TEST_TIMEOUT(a_thousand_short_children_leave_no_zombie, 60) {
    enum { WAVE = 100 };
    static struct child children[WAVE];
    xev_loop loop;
    uint32_t before = descriptors(), waves = rounds(10);
    loop_start(&loop);
    xev_process_options o = {.argv = true_argv};
    for (uint32_t wave = 0; wave < waves; wave++) {
        for (int i = 0; i < WAVE; i++) {
            struct child *c = &children[i];
            CHECK_EQ(xev_process_spawn(&c->process, &o), 0);
            xev_process_wait(&c->process, &loop, &c->wait.c, c, one_of_many_ended);
        }
        run_done(&loop);
    }
    CHECK_EQ(thousand_ended, waves * WAVE);
    check_no_children();
    xev_loop_deinit(&loop);
    CHECK_EQ(descriptors(), before);
}

/* ---- signals of the caller ---- */

static atomic_int handled;

static void count_signal(int number) {
    (void)number;
    handled++;
}

TEST(the_child_starts_with_default_signals) {
    char out[512];
    sigset_t set, before, after;
    sigfillset(&set);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, &before), 0);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &before), 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, count_signal);
    const char *const argv[] = {"/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", NULL};
    output_of(argv, (xev_process_options){0}, out, sizeof out);
    unsigned long long blocked, ignored;
    CHECK_EQ(sscanf(out, "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2);
    CHECK_EQ(blocked, 0);
    /* glibc lets nobody set two signals of its own, which this process may have inherited. */
    CHECK_EQ(starts_by_fork() ? ignored & ~(3ull << 31) : ignored, 0);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &after), 0);
    for (int i = 1; i <= 64; i++) {
        CHECK_EQ(sigismember(&before, i), sigismember(&after, i));
    }
}

TEST(sigchld_is_the_programs_own) {
    struct sigaction before, after;
    CHECK_EQ(sigaction(SIGCHLD, NULL, &before), 0);
    another_child();
    CHECK_EQ(sigaction(SIGCHLD, NULL, &after), 0);
    CHECK(before.sa_handler == after.sa_handler);
    /* Its handler hears of children that ran. Of a failed attempt too where that is a child. */
    signal(SIGCHLD, count_signal);
    CHECK_EQ(failure_of_file("/nonexistent"), XEV_ENOENT);
    int failed = handled;
    CHECK_LE(failed, starts_by_fork() ? 1 : 0);
    another_child();
    CHECK_EQ(handled, failed + 1);
    /* The kernel collects: the end is seen, the code is not. */
    signal(SIGCHLD, SIG_IGN);
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    start_idle(&c);
    start_wait(&loop, &c);
    run_no_wait(&loop);
    close_fd_in(&loop, c.process.stdio[0]);
    c.process.stdio[0] = XEV_INVALID_FD;
    run_for(&loop, &c.wait, 1);
    CHECK_EQ(c.wait.result, XEV_ECHILD);
    close_child(&loop, &c);
    CHECK_EQ(failure_of_file("/nonexistent"), XEV_ENOENT);
    xev_loop_deinit(&loop);
}

static atomic_bool handled_in_child; /* it has our memory until it has its program */
static pid_t parent;
static atomic_bool spawned_all;

static void note_process(int number) {
    (void)number;
    handled++;
    if (getpid() != parent) {
        handled_in_child = true;
    }
}

static void *signal_the_group(void *arg) {
    (void)arg;
    while (!atomic_load(&spawned_all)) {
        CHECK_EQ(kill(0, SIGURG), 0);
        sched_yield(); /* the others are to get on */
    }
    return NULL;
}

TEST(handlers_do_not_run_in_the_child) {
    pthread_t thread;
    parent = getpid();
    CHECK_EQ(setpgid(0, 0), 0);
    signal(SIGURG, note_process); /* by default, as in the child's program, it does nothing */
    thread_start(&thread, signal_the_group, NULL);
    while (handled == 0) { /* it may be long in coming, and the children are few */
        sched_yield();
    }
    xev_process_options o = {.argv = true_argv};
    for (uint32_t i = 0; i < rounds(300); i++) {
        xev_process p;
        int status;
        CHECK_EQ(xev_process_spawn(&p, &o), 0);
        while (waitpid(p.pid, &status, 0) < 0) {
            CHECK_EQ(errno, EINTR);
        }
        CHECK_EQ(status, 0);
        CHECK_EQ(xev_process_close_now(&p), 0);
    }
    atomic_store(&spawned_all, true);
    thread_join(thread);
    CHECK(!handled_in_child);
}

/* ---- from other threads ---- */

struct job {
    struct op op;
    struct child child;
    int rc;
};

static int spawn_job(void *userdata) {
    struct job *job = userdata;
    return job->rc = spawn_sh(&job->child.process, "exit 5", (xev_process_options){0});
}

static xev_cb_action job_done(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct job *job = userdata;
    (void)c;
    CHECK_EQ(result, 0);
    start_wait(loop, &job->child);
    return XEV_DISARM;
}

TEST(spawn_works_on_the_thread_pool) {
    enum { JOBS = 20 };
    static struct job jobs[JOBS];
    xev_threadpool pool;
    xev_threadpool_config config;
    xev_loop loop;
    xev_threadpool_config_init(&config);
    xev_threadpool_config_set_max_threads(&config, 4);
    CHECK_EQ(xev_threadpool_init(&pool, &config), 0);
    loop_start_options(&loop, &(xev_loop_options){.thread_pool = &pool});
    for (int i = 0; i < JOBS; i++) {
        xev_work_submit(&loop, &jobs[i].op.c, XEV_LANE_PROCESS, spawn_job, &jobs[i], job_done);
    }
    run_done(&loop);
    for (int i = 0; i < JOBS; i++) {
        CHECK_EQ(jobs[i].child.wait.result, 5);
        close_child(&loop, &jobs[i].child);
    }
    xev_loop_deinit(&loop);
    xev_threadpool_shutdown(&pool);
    xev_threadpool_deinit(&pool);
    check_no_children();
}

/* ---- misuse ---- */

static void spawn_null(void) {
    CHECK_EQ(xev_process_spawn(NULL, &(xev_process_options){.argv = true_argv}), 0);
}

static void spawn_no_options(void) {
    xev_process p;
    CHECK_EQ(xev_process_spawn(&p, NULL), 0);
}

static void wait_null(void) {
    xev_loop loop;
    xev_completion c = {0};
    loop_start(&loop);
    xev_process_wait(NULL, &loop, &c, NULL, op_cb);
}

static void kill_null(void) { (void)xev_process_kill(NULL, 0); }

TEST(misuse_ends_the_program) {
    check_dies(spawn_null, "xev_process_spawn");
    check_dies(spawn_no_options, "xev_process_spawn");
    check_dies(wait_null, "xev_process_wait");
    check_dies(kill_null, "xev_process_kill");
}
