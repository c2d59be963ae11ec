/* Spawn: what a child gets from its parent, and how a failure is reported. */
#include "tests/process_scene.h"

#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* ---- from a pool ---- */

struct spawner {
    struct op op;
    int32_t pid;
};

static int spawn_and_give_up(void *userdata) {
    xev_process_options o = {.argv = true_argv};
    xev_process p;
    int rc = xev_process_spawn(&p, &o);
    ((struct spawner *)userdata)->pid = p.pid;
    return rc < 0 ? rc : xev_process_close_now(&p);
}

TEST(a_small_stack_is_enough_to_spawn) {
    xev_threadpool_config config;
    xev_threadpool pool;
    xev_loop loop;
    struct spawner work = {0};
    if (test_slowdown() > 1) {
        return; /* what sanitizers need of a stack is their own affair */
    }
    xev_threadpool_config_init(&config);
    xev_threadpool_config_set_stack_size(&config, 32 * 1024);
    CHECK_EQ(xev_threadpool_init(&pool, &config), 0);
    xev_loop_options options = {.thread_pool = &pool};
    loop_start_options(&loop, &options);
    xev_work_submit(&loop, &work.op.c, XEV_LANE_PROCESS, spawn_and_give_up, &work, op_cb);
    run_for(&loop, &work.op, 1);
    CHECK_EQ(work.op.result, 0);
    CHECK_GT(work.pid, 0);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

/* ---- streams ---- */

struct pump {
    struct op op;
    char *bytes;
    size_t len, done;
    xev_fd fd;
    bool eof;
};

static xev_cb_action pumped_in(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct pump *p = userdata;
    (void)c;
    CHECK_GT(result, 0);
    p->done += (size_t)result;
    if (p->done < p->len) {
        xev_fd_write(p->fd, loop, &p->op.c, p->bytes + p->done, p->len - p->done, p, pumped_in);
    } else {
        xev_fd_close(p->fd, loop, &p->op.c, &p->op, op_cb);
    }
    return XEV_DISARM;
}

static xev_cb_action pumped_out(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct pump *p = userdata;
    (void)c;
    if (result == XEV_EOF) {
        p->eof = true;
        return XEV_DISARM;
    }
    CHECK_GT(result, 0);
    p->done += (size_t)result;
    CHECK_LE(p->done, p->len);
    xev_fd_read(p->fd, loop, &p->op.c, p->bytes + p->done, p->len + 1 - p->done, p, pumped_out);
    return XEV_DISARM;
}

TEST(pipes_carry_large_data_both_ways) {
    const size_t len = 3 * 1024 * 1024 + 5;
    struct pump in = {.bytes = malloc(len), .len = len},
                out = {.bytes = malloc(len + 1), .len = len};
    xev_loop loop;
    struct child c;
    uint32_t before = descriptors();
    CHECK(in.bytes != NULL && out.bytes != NULL);
    for (size_t i = 0; i < len; i++) {
        in.bytes[i] = (char)(i * 2654435761u >> 13);
    }
    loop_start(&loop);
    xev_process_options o = {.argv = cat_argv, .stdio = {{XEV_STDIO_PIPE, 0}, {XEV_STDIO_PIPE, 0}}};
    CHECK_EQ(xev_process_spawn(&c.process, &o), 0);
    CHECK_EQ(c.process.stdio[2], XEV_INVALID_FD);
    in.fd = c.process.stdio[0];
    out.fd = c.process.stdio[1];
    c.process.stdio[0] = XEV_INVALID_FD;
    xev_fd_write(in.fd, &loop, &in.op.c, in.bytes, len, &in, pumped_in);
    xev_fd_read(out.fd, &loop, &out.op.c, out.bytes, len + 1, &out, pumped_out);
    start_wait(&loop, &c);
    run_done(&loop);
    CHECK(out.eof);
    CHECK_EQ(out.done, len);
    CHECK_MEM_EQ(in.bytes, out.bytes, len);
    CHECK_EQ(c.wait.result, 0);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
    CHECK_EQ(descriptors(), before);
    free(in.bytes);
    free(out.bytes);
}

TEST(output_and_error_are_apart) {
    xev_loop loop;
    struct child c;
    char out[64], err[64];
    loop_start(&loop);
    xev_process_options o = {
        .stdio = {{XEV_STDIO_NULL, 0}, {XEV_STDIO_PIPE, 0}, {XEV_STDIO_PIPE, 0}}};
    CHECK_EQ(spawn_sh(&c.process, "echo to out; echo to err >&2; exit 3", o), 0);
    read_all(&loop, c.process.stdio[1], out, sizeof out);
    read_all(&loop, c.process.stdio[2], err, sizeof err);
    CHECK_STR_EQ(out, "to out\n");
    CHECK_STR_EQ(err, "to err\n");
    CHECK_EQ(end_of(&loop, &c), 3);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(streams_not_asked_for_are_the_null_device) {
    char out[64];
    output_of_sh("cat; echo lost >&2; readlink /proc/self/fd/0 /proc/self/fd/2",
                 (xev_process_options){0}, out, sizeof out);
    CHECK_STR_EQ(out, "/dev/null\n/dev/null\n");
}

TEST(pipes_are_not_handed_to_other_children) {
    xev_loop loop;
    struct child a, b;
    loop_start(&loop);
    start_idle(&a);
    start_idle(&b);
    close_fd_in(&loop, a.process.stdio[0]);
    a.process.stdio[0] = XEV_INVALID_FD;
    CHECK_EQ(end_of(&loop, &a), 0); /* or its standard input would be open in b */
    CHECK_EQ(xev_process_kill(&b.process, SIGKILL), 0);
    CHECK_EQ(end_of(&loop, &b), XEV_PROCESS_SIGNALED + SIGKILL);
    close_child(&loop, &a);
    close_child(&loop, &b);
    xev_loop_deinit(&loop);
}

TEST(a_pipe_nobody_reads_reports_epipe) {
    xev_loop loop;
    struct child c;
    struct op writing = {0};
    loop_start(&loop);
    xev_process_options o = {.argv = true_argv, .stdio = {{XEV_STDIO_PIPE, 0}}};
    CHECK_EQ(xev_process_spawn(&c.process, &o), 0);
    CHECK_EQ(end_of(&loop, &c), 0);
    xev_fd_write(c.process.stdio[0], &loop, &writing.c, "x", 1, &writing, op_cb);
    run_for(&loop, &writing, 1);
    CHECK_EQ(writing.result, XEV_EPIPE);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

/* This program's streams 1 and 2 are pipes for a while. */
struct redirected {
    int saved[3], reading[3];
};

static void redirect(struct redirected *r) {
    fflush(stdout);
    for (int i = 1; i < 3; i++) {
        int ends[2];
        CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
        r->saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        CHECK_EQ(dup2(ends[1], i), i);
        close(ends[1]);
        r->reading[i] = ends[0];
    }
}

static void redirect_back(struct redirected *r, char out[3][64]) {
    for (int i = 1; i < 3; i++) {
        dup2(r->saved[i], i);
        close(r->saved[i]);
    }
    for (int i = 1; i < 3; i++) {
        size_t len = 0;
        for (ssize_t n; (n = read(r->reading[i], out[i] + len, 63 - len)) > 0;) {
            len += (size_t)n;
        }
        out[i][len] = '\0';
        close(r->reading[i]);
    }
}

static void run_redirected(const xev_process_options *o, char out[3][64]) {
    struct redirected r;
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    redirect(&r);
    int rc = spawn_sh(&c.process, "echo out; echo err >&2", *o);
    redirect_back(&r, out);
    CHECK_EQ(rc, 0);
    CHECK_EQ(end_of(&loop, &c), 0);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(streams_are_inherited) {
    char out[3][64];
    xev_process_options o = {.stdio = {[1] = {XEV_STDIO_INHERIT, 0}, [2] = {XEV_STDIO_INHERIT, 0}}};
    run_redirected(&o, out);
    CHECK_STR_EQ(out[1], "out\n");
    CHECK_STR_EQ(out[2], "err\n");
}

TEST(streams_can_change_places) {
    char out[3][64];
    xev_process_options o = {.stdio = {[1] = {XEV_STDIO_FD, 2}, [2] = {XEV_STDIO_FD, 1}}};
    run_redirected(&o, out);
    CHECK_STR_EQ(out[1], "err\n");
    CHECK_STR_EQ(out[2], "out\n");
    xev_process_options both = {.stdio = {[1] = {XEV_STDIO_FD, 2}, [2] = {XEV_STDIO_FD, 2}}};
    run_redirected(&both, out);
    CHECK_STR_EQ(out[1], "");
    CHECK_STR_EQ(out[2], "out\nerr\n");
}

TEST(a_descriptor_can_be_a_stream_and_stays_the_callers) {
    xev_loop loop;
    struct child c;
    int ends[2];
    char text[64] = "";
    loop_start(&loop);
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    xev_process_options o = {.stdio = {[1] = {XEV_STDIO_FD, ends[1]}}};
    CHECK_EQ(spawn_sh(&c.process, "echo given", o), 0);
    CHECK_EQ(end_of(&loop, &c), 0);
    CHECK_EQ(fcntl(ends[1], F_GETFD), FD_CLOEXEC);
    CHECK_EQ(read(ends[0], text, sizeof text), 6);
    CHECK_STR_EQ(text, "given\n");
    close(ends[0]);
    close(ends[1]);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(with_its_own_streams_closed_a_program_can_still_spawn) {
    xev_loop loop;
    struct child c;
    char text[64];
    int saved[3];
    loop_start(&loop);
    fflush(stdout);
    for (int i = 0; i < 3; i++) {
        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        close(i);
    }
    /* The pipe's ends are among 0 to 2 now. */
    xev_process_options o = {
        .stdio = {{XEV_STDIO_PIPE, 0}, {XEV_STDIO_PIPE, 0}, {XEV_STDIO_INHERIT, 0}}};
    int rc = spawn_sh(&c.process, "cat; readlink /proc/self/fd/2 || echo none", o);
    ssize_t wrote = rc == 0 ? write(c.process.stdio[0], "in\n", 3) : -1;
    if (rc == 0) {
        close(c.process.stdio[0]);
        c.process.stdio[0] = XEV_INVALID_FD;
        int moved = fcntl(c.process.stdio[1], F_DUPFD_CLOEXEC, 10);
        close(c.process.stdio[1]);
        c.process.stdio[1] = moved;
    }
    for (int i = 0; i < 3; i++) {
        dup2(saved[i], i);
        close(saved[i]);
    }
    CHECK_EQ(rc, 0);
    CHECK_EQ(wrote, 3);
    read_all(&loop, c.process.stdio[1], text, sizeof text);
    CHECK_STR_EQ(text, "in\nnone\n");
    CHECK_EQ(end_of(&loop, &c), 0);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

/* ---- environment, folder, session, user ---- */

TEST(the_environment_is_what_is_given) {
    char out[256];
    const char *const argv[] = {"/usr/bin/env", NULL};
    const char *const env[] = {"ONE=1", "TWO=two words", NULL};
    output_of(argv, (xev_process_options){.env = env}, out, sizeof out);
    CHECK_STR_EQ(out, "ONE=1\nTWO=two words\n");
    const char *const none[] = {NULL};
    output_of(argv, (xev_process_options){.env = none}, out, sizeof out);
    CHECK_STR_EQ(out, "");
    CHECK_EQ(setenv("XEV_PROCESS_TEST", "inherited", 1), 0);
    output_of_sh("echo $XEV_PROCESS_TEST", (xev_process_options){0}, out, sizeof out);
    CHECK_STR_EQ(out, "inherited\n");
}

TEST(arguments_arrive_as_they_are) {
    char out[256];
    const char *const argv[] = {"another name", "-c", "printf '%s|' \"$0\" \"$@\"", "a b", "", "$x",
                                "\n",           NULL};
    output_of(argv, (xev_process_options){.file = "/bin/sh"}, out, sizeof out);
    CHECK_STR_EQ(out, "a b||$x|\n|");
}

TEST(the_working_directory_is_set) {
    char out[256], wanted[80];
    struct folder f = folder_new();
    output_of_sh("pwd", (xev_process_options){.cwd = f.path}, out, sizeof out);
    snprintf(wanted, sizeof wanted, "%s\n", f.path);
    CHECK_STR_EQ(out, wanted);
    /* A relative program is looked for there. */
    put_file(&f, "tool", "#!/bin/sh\necho tool\n", 0755);
    const char *const argv[] = {"./tool", NULL};
    output_of(argv, (xev_process_options){.cwd = f.path}, out, sizeof out);
    CHECK_STR_EQ(out, "tool\n");
    folder_remove(&f);
}

TEST(a_detached_child_has_its_own_session) {
    char out[64], wanted[64];
    const char *script = "read -r pid name state parent group session rest < /proc/$$/stat; "
                         "[ $session = $$ ] && echo own || echo $session";
    output_of_sh(script, (xev_process_options){.detached = true}, out, sizeof out);
    CHECK_STR_EQ(out, "own\n");
    output_of_sh(script, (xev_process_options){0}, out, sizeof out);
    snprintf(wanted, sizeof wanted, "%d\n", (int)getsid(0));
    CHECK_STR_EQ(out, wanted);
}

/* ---- process groups ---- */

static const xev_process_options leaders[] = {
    {.own_group = true}, {.detached = true}, {.own_group = true, .detached = true}};

TEST(a_child_may_lead_a_group_of_its_own) {
    char out[64], wanted[64];
    const char *script = "read -r pid name state parent group session rest < /proc/$$/stat; "
                         "[ $group = $$ ] && echo own $session || echo $group $session";
    output_of_sh(script, leaders[0], out, sizeof out);
    snprintf(wanted, sizeof wanted, "own %d\n", (int)getsid(0));
    CHECK_STR_EQ(out, wanted);
    output_of_sh(script, (xev_process_options){0}, out, sizeof out);
    snprintf(wanted, sizeof wanted, "%d %d\n", (int)getpgrp(), (int)getsid(0));
    CHECK_STR_EQ(out, wanted);
}

/* Start script, and wait until it says so by a line. */
static void start_script(xev_loop *loop, struct child *c, const char *script,
                         xev_process_options o) {
    struct op reading = {0};
    char line[8];
    loop_start(loop);
    o.stdio[1].kind = XEV_STDIO_PIPE;
    CHECK_EQ(spawn_sh(&c->process, script, o), 0);
    xev_fd_read(c->process.stdio[1], loop, &reading.c, line, sizeof line, &reading, op_cb);
    run_for(loop, &reading, 1);
    CHECK_EQ(reading.result, 3);
    CHECK_MEM_EQ(line, "up\n", 3);
}

/* What the child has started has its output, too: the end of that is the end of all. */
TEST(killing_a_group_ends_what_the_child_has_started) {
    for (size_t i = 0; i < sizeof leaders / sizeof leaders[0]; i++) {
        xev_loop loop;
        struct child c;
        char out[8];
        start_script(&loop, &c, "sleep 1000 & sleep 1000 & echo up; wait", leaders[i]);
        CHECK_EQ(xev_process_kill_group(&c.process, 0), 0);
        CHECK_EQ(xev_process_kill_group(&c.process, 4711), XEV_EINVAL);
        CHECK_EQ(xev_process_kill_group(&c.process, SIGKILL), 0);
        read_all(&loop, c.process.stdio[1], out, sizeof out);
        CHECK_EQ(end_of(&loop, &c), XEV_PROCESS_SIGNALED + SIGKILL);
        close_child(&loop, &c);
        xev_loop_deinit(&loop);
    }
}

/* The child has ended and was collected; what it has started runs on. */
TEST(a_group_may_outlive_its_leader) {
    xev_loop loop;
    struct child c;
    char out[8];
    start_script(&loop, &c, "sleep 1000 & echo up", leaders[0]);
    CHECK_EQ(end_of(&loop, &c), 0);
    int rc = xev_process_kill_group(&c.process, SIGKILL);
    if (rc == XEV_ESRCH) {
        puts("Linux before 6.9: the rest of the group cannot be named safely");
        CHECK_EQ(kill(-c.process.pid, SIGKILL), 0);
    } else {
        CHECK_EQ(rc, 0);
    }
    read_all(&loop, c.process.stdio[1], out, sizeof out);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(there_may_be_no_group_to_kill) {
    xev_loop loop;
    struct child c;
    xev_process_options o = leaders[0];
    loop_start(&loop);
    start_idle(&c); /* in the group of this test, which must not hear of it */
    CHECK_EQ(xev_process_kill_group(&c.process, SIGKILL), XEV_ESRCH);
    CHECK_EQ(xev_process_kill(&c.process, SIGTERM), 0);
    CHECK_EQ(end_of(&loop, &c), XEV_PROCESS_SIGNALED + SIGTERM);
    close_child(&loop, &c);
    o.argv = true_argv;
    CHECK_EQ(xev_process_spawn(&c.process, &o), 0);
    wait_for_zombie(c.process.pid);
    CHECK_EQ(xev_process_kill_group(&c.process, SIGKILL), 0); /* without effect */
    CHECK_EQ(end_of(&loop, &c), 0);
    CHECK_EQ(xev_process_kill_group(&c.process, SIGKILL), XEV_ESRCH);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

/* Not only is it root: in a sandbox root may not be all that much. */
static bool may_change_user(void) {
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        _exit(setgroups(0, NULL) == 0 && setresgid(1, 1, 1) == 0 && setresuid(1, 1, 1) == 0 ? 0
                                                                                            : 1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status == 0;
}

TEST(user_and_group_are_taken) {
    xev_process_options other = {.argv = true_argv, .set_uid = true, .uid = 65534};
    if (!may_change_user()) {
        int rc = failure_of(&other);
        CHECK(rc == XEV_EPERM || rc == XEV_EINVAL); /* not allowed, or not known in here */
        return;
    }
    char out[128];
    xev_process_options both = {.set_uid = true, .uid = 65534, .set_gid = true, .gid = 12345};
    int attachable = prctl(PR_GET_DUMPABLE);
    const gid_t groups[] = {10, 20};
    CHECK_EQ(setgroups(2, groups), 0); /* that the child must not have */
    output_of_sh("id -u; id -ru; id -g; id -rg; id -G", both, out, sizeof out);
    CHECK_STR_EQ(out, "65534\n65534\n12345\n12345\n12345\n");
    output_of_sh("id -u; id -g", (xev_process_options){.set_gid = true, .gid = 1}, out, sizeof out);
    CHECK_STR_EQ(out, "0\n1\n");
    CHECK_EQ(prctl(PR_GET_DUMPABLE), attachable);
    CHECK_EQ(geteuid(), 0);
    /* Without root's rights on the way to the program. */
    struct folder f = folder_new();
    both.argv = true_argv;
    both.cwd = f.path;
    CHECK_EQ(failure_of(&both), XEV_EACCES);
    folder_remove(&f);
}

TEST(user_0_is_refused_to_others) {
    if (may_change_user()) {
        CHECK_EQ(setresuid(65534, 65534, 65534), 0);
    }
    if (geteuid() == 0) {
        return; /* neither root nor anybody else */
    }
    xev_process_options o = {.argv = true_argv, .set_uid = true, .uid = 0};
    CHECK_EQ(failure_of(&o), XEV_EPERM);
    o = (xev_process_options){.argv = true_argv, .set_gid = true, .gid = 4711};
    CHECK_EQ(failure_of(&o), XEV_EPERM);
}

static void spawn_true(void) {
    xev_process_options o = {.argv = true_argv, .set_gid = true, .gid = getgid()};
    xev_process p;
    CHECK_EQ(xev_process_spawn(&p, &o), 0); /* one at a time: with a group of its own */
    CHECK_EQ(waitpid(p.pid, NULL, 0), p.pid);
    CHECK_EQ(close(p.fd), 0);
}

static atomic_bool over;

static void *spawn_on_and_on(void *arg) {
    (void)arg;
    while (!atomic_load(&over)) {
        spawn_true();
    }
    return NULL;
}

TEST(a_child_may_spawn_whatever_its_parents_threads_were_at) {
    pthread_t t;
    if (!may_change_user() || test_slowdown() > 1) {
        return; /* ThreadSanitizer's own locks do not outlive a fork between threads */
    }
    thread_start(&t, spawn_on_and_on, NULL);
    for (uint32_t i = 0; i < rounds(50); i++) {
        pid_t pid = fork();
        CHECK_GE(pid, 0);
        if (pid == 0) {
            alarm(60); /* instead of a wait for a thread that is not there */
            spawn_true();
            _exit(0);
        }
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
    }
    atomic_store(&over, true);
    thread_join(t);
}

/* ---- errors of spawn ---- */

TEST(a_program_that_cannot_be_run_fails_the_spawn) {
    struct folder f = folder_new();
    char path[128];
    CHECK_EQ(failure_of_file("/nonexistent/program"), XEV_ENOENT);
    CHECK_EQ(failure_of_file(""), XEV_ENOENT);
    CHECK_EQ(failure_of_file("no-such-program-anywhere"), XEV_ENOENT);
    CHECK_EQ(failure_of_file("/etc/passwd/x"), XEV_ENOTDIR);
    CHECK_EQ(failure_of_file("/tmp"), XEV_EACCES);
    put_file(&f, "plain", "text", 0644);
    snprintf(path, sizeof path, "%s/plain", f.path);
    CHECK_EQ(failure_of_file(path), XEV_EACCES);
    put_file(&f, "garbage", "\001\002\003", 0755);
    snprintf(path, sizeof path, "%s/garbage", f.path);
    CHECK_EQ(failure_of_file(path), XEV_ENOEXEC);
    folder_remove(&f);
}

TEST(the_path_is_looked_through) {
    struct folder f = folder_new();
    char path[256], out[64];
    const char *const argv[] = {"tool", NULL};
    put_file(&f, "tool", "not for running", 0644);
    snprintf(path, sizeof path, "/nonexistent:%s", f.path);
    CHECK_EQ(setenv("PATH", path, 1), 0);
    CHECK_EQ(failure_of_file("tool"), XEV_EACCES);
    CHECK_EQ(failure_of_file("true"), XEV_ENOENT);
    struct folder g = folder_new();
    put_file(&g, "tool", "#!/bin/sh\necho found\n", 0755);
    snprintf(path, sizeof path, "/nonexistent:%s:%s:/bin", f.path, g.path);
    CHECK_EQ(setenv("PATH", path, 1), 0);
    output_of(argv, (xev_process_options){0}, out, sizeof out);
    CHECK_STR_EQ(out, "found\n");
    /* An empty folder is the working directory. */
    CHECK_EQ(setenv("PATH", ":/bin", 1), 0);
    output_of(argv, (xev_process_options){.cwd = g.path}, out, sizeof out);
    CHECK_STR_EQ(out, "found\n");
    char *endless = malloc(20000);
    CHECK(endless != NULL);
    memset(endless, 'x', 19999);
    endless[0] = '/';
    strcpy(endless + 19999 - 5, ":/bin");
    CHECK_EQ(setenv("PATH", endless, 1), 0);
    free(endless);
    another_child();
    const char *const sh[] = {"sh", "-c", "echo far", NULL};
    output_of(sh, (xev_process_options){0}, out, sizeof out);
    CHECK_STR_EQ(out, "far\n");
    CHECK_EQ(setenv("PATH", "/bin:/usr/bin", 1), 0);
    folder_remove(&f);
    folder_remove(&g);
}

TEST(a_bad_working_directory_fails_the_spawn) {
    xev_process_options o = {.argv = true_argv, .cwd = "/nonexistent"};
    CHECK_EQ(failure_of(&o), XEV_ENOENT);
    o.cwd = "/etc/passwd";
    CHECK_EQ(failure_of(&o), XEV_ENOTDIR);
}

TEST(bad_arguments_fail_the_spawn) {
    const char *const empty[] = {NULL};
    xev_process_options o = {0};
    CHECK_EQ(failure_of(&o), XEV_EINVAL);
    o.argv = empty;
    CHECK_EQ(failure_of(&o), XEV_EINVAL);
    o.argv = true_argv;
    o.stdio[2].kind = (enum xev_stdio_kind)17;
    CHECK_EQ(failure_of(&o), XEV_EINVAL);
    o.stdio[2] = (xev_stdio){XEV_STDIO_FD, -1};
    CHECK_EQ(failure_of(&o), XEV_EBADF);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(close(fd), 0);
    o.stdio[2].fd = fd;
    CHECK_EQ(failure_of(&o), XEV_EBADF);
    o.stdio[2] = (xev_stdio){XEV_STDIO_NULL, 0};
    size_t huge = 8 * 1024 * 1024;
    char *text = malloc(huge);
    CHECK(text != NULL);
    memset(text, 'x', huge);
    text[huge - 1] = '\0';
    const char *const argv[] = {"/bin/true", text, NULL};
    o.argv = argv;
    CHECK_EQ(failure_of(&o), XEV_E2BIG);
    free(text);
}

TEST(without_descriptors_the_spawn_fails) {
    struct rlimit limit;
    int fds[256], n = 0;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 128;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    while ((fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) {
        n++;
    }
    const xev_process_options none = {.argv = true_argv};
    xev_process_options pipes = {.argv = true_argv};
    for (int i = 0; i < 3; i++) {
        pipes.stdio[i].kind = XEV_STDIO_PIPE;
    }
    xev_process p;
    int free_ones = 0, rc;
    for (; (rc = xev_process_spawn(&p, &pipes)) != 0; free_ones++) {
        CHECK_EQ(rc, XEV_EMFILE);
        CHECK_EQ(p.stdio[0], XEV_INVALID_FD);
        if (free_ones == 0) {
            CHECK_EQ(xev_process_spawn(&p, &none), XEV_EMFILE);
        }
        close(fds[--n]);
    }
    /* Six pipe ends and the process's own; by fork also two pipes for the start. */
    CHECK_GE(free_ones, 7);
    CHECK(free_ones == 7 || starts_by_fork());
    int status;
    CHECK_EQ(waitpid(p.pid, &status, 0), p.pid);
    while (n > 0) {
        close(fds[--n]);
    }
    check_no_children();
}
