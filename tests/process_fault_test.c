/* A child that cannot be made as asked. The kernel refuses each step before the program is loaded,
 * in turn. The spawn reports the error of that step, and leaves no child and no descriptor. Linux
 * only. */
#include <sched.h>
#include <stdarg.h>

#include "tests/net_scene.h"
#include "tests/refuse.h"
#include "xev/process.h"

/* By asking for each, as open may be refused. */
static int count_fds(void) {
    int n = 0;
    for (int fd = 0; fd < 1024; fd++) {
        n += is_open(fd);
    }
    return n;
}

static const char *const argv[] = {"/bin/true", NULL};
static const char *const by_path[] = {"true", NULL};

static void spawn_fails(const xev_process_options *o, int code) {
    xev_process p;
    siginfo_t info;
    int before = count_fds();
    CHECK_EQ(xev_process_spawn(&p, o), code);
    CHECK_EQ(p.fd, XEV_INVALID_FD);
    CHECK_EQ(count_fds(), before);
    CHECK_EQ(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL), -1);
    CHECK_EQ(errno, ECHILD);
}

static const int errors[] = {EPERM, EMFILE, ENOMEM};

static void step_fails(long nr, const xev_process_options *o) {
    for (int i = 0; i < 3; i++) {
        refuse(nr, errors[i]);
        spawn_fails(o, -errors[i]);
    }
}

TEST(a_child_that_keeps_its_groups_is_not_run) {
    if (geteuid() == 0) {
        step_fails(SYS_setgroups, &(xev_process_options){.argv = argv, .set_uid = true});
    }
}

TEST(a_child_that_keeps_its_group_is_not_run) {
    refuse(SYS_setgroups, 0); /* said to be done: a sandbox may not allow it */
    step_fails(SYS_setresgid, &(xev_process_options){.argv = argv, .set_gid = true});
}

TEST(a_child_that_keeps_its_user_is_not_run) {
    refuse(SYS_setgroups, 0);
    step_fails(SYS_setresuid, &(xev_process_options){.argv = argv, .set_uid = true});
}

TEST(a_child_that_cannot_enter_its_folder_is_not_run) {
    step_fails(SYS_chdir, &(xev_process_options){.argv = argv, .cwd = "/"});
}

TEST(a_child_without_a_null_device_is_not_run) {
    step_fails(SYS_openat, &(xev_process_options){.argv = argv});
}

TEST(a_child_without_its_streams_is_not_run) {
    xev_process_options o = {.argv = argv};
    o.stdio[0].kind = o.stdio[1].kind = XEV_STDIO_PIPE;
    step_fails(SYS_dup3, &o);
}

TEST(a_child_whose_streams_cannot_change_places_is_not_run) {
    xev_process_options o = {.argv = argv};
    o.stdio[0] = (xev_stdio){.kind = XEV_STDIO_FD, .fd = 1};
    o.stdio[1] = (xev_stdio){.kind = XEV_STDIO_FD, .fd = 0};
    for (int i = 0; i < 3; i++) {
        refuse_arg(SYS_fcntl, 1, F_DUPFD_CLOEXEC, errors[i]);
        spawn_fails(&o, -errors[i]);
    }
}

TEST(a_program_that_cannot_be_loaded_is_an_error) {
    step_fails(SYS_execve, &(xev_process_options){.argv = argv});
    step_fails(SYS_execve, &(xev_process_options){.argv = by_path});
}

TEST(a_spawn_without_pipes_is_an_error) {
    xev_process_options o = {.argv = argv};
    o.stdio[0].kind = o.stdio[1].kind = o.stdio[2].kind = XEV_STDIO_PIPE;
    step_fails(SYS_pipe2, &o);
}

TEST(a_process_that_cannot_be_opened_or_signalled_is_an_error) {
    xev_process p;
    CHECK_EQ(xev_process_open(&p, getpid()), 0);
    refuse(SYS_pidfd_send_signal, ENOSYS);
    CHECK_EQ(xev_process_kill(&p, 0), XEV_ENOSYS);
    CHECK_EQ(xev_process_close_now(&p), 0);
    refuse(SYS_pidfd_open, ENOSYS);
    CHECK_EQ(xev_process_open(&p, getpid()), XEV_ENOSYS);
    CHECK_EQ(p.fd, XEV_INVALID_FD);
    CHECK_EQ(xev_process_kill(&p, 0), XEV_EBADF);
}

/* Linux before 6.9 has no signals for the group of a pidfd. */
TEST(a_group_is_killed_by_its_number_where_the_kernel_knows_no_other_way) {
    const char *const script[] = {"/bin/sh", "-c", "sleep 1000 & echo up; wait", NULL};
    xev_process_options o = {.argv = script, .own_group = true};
    xev_process p, first;
    char text[8];
    int status;
    o.stdio[1].kind = XEV_STDIO_PIPE;
    refuse_arg(SYS_pidfd_send_signal, 3, 4, EINVAL);
    CHECK_EQ(xev_process_spawn(&p, &o), 0);
    CHECK_EQ(read(p.stdio[1], text, sizeof text), 3);
    CHECK_EQ(xev_process_kill_group(&p, SIGKILL), 0);
    CHECK_EQ(read(p.stdio[1], text, sizeof text), 0); /* all that had it have ended */
    CHECK_EQ(waitpid(p.pid, &status, __WALL), p.pid);
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    CHECK_EQ(xev_process_kill_group(&p, SIGKILL), XEV_ESRCH);
    CHECK_EQ(close(p.stdio[1]), 0);
    CHECK_EQ(xev_process_close_now(&p), 0);
    /* kill(2) takes -1 for everybody. */
    CHECK_EQ(xev_process_open(&first, 1), 0);
    CHECK_EQ(xev_process_kill_group(&first, 0), XEV_ESRCH);
    CHECK_EQ(xev_process_close_now(&first), 0);
}

/* Linux before 5.2 does not know the flag. ThreadSanitizer's builds call another clone. */
static bool no_pidfd;
static int no_child; /* errno; not by a filter, as LeakSanitizer needs the call itself */
int __real_clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
int __wrap_clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
int __wrap_clone(int (*fn)(void *), void *stack, int flags, void *arg, ...) {
    va_list list;
    va_start(list, arg);
    int *fd = va_arg(list, int *);
    va_end(list);
    if (no_child != 0) {
        errno = no_child;
        return -1;
    }
    int pid = __real_clone(fn, stack, flags, arg, fd);
    if (no_pidfd && pid > 0 && *fd >= 0) {
        CHECK_EQ(close(*fd), 0);
        *fd = -1;
        no_pidfd = false;
    }
    return pid;
}

static bool clone_is_ours(void) {
    const char *sanitizer = getenv("XEV_TEST_SANITIZER");
    return sanitizer == NULL || strcmp(sanitizer, "1") != 0;
}

TEST(a_spawn_without_a_process_is_an_error) {
    for (int i = 0; i < 3 && clone_is_ours(); i++) {
        no_child = errors[i];
        spawn_fails(&(xev_process_options){.argv = argv}, -errors[i]);
    }
}

TEST(a_child_that_is_not_known_by_a_descriptor_is_killed) {
    static const char *const forever[] = {"/bin/sleep", "1000", NULL};
    static const xev_process_options o = {.argv = forever};
    if (clone_is_ours()) {
        no_pidfd = true;
        spawn_fails(&o, XEV_ENOSYS);
        CHECK(!no_pidfd);
    }
}

static xev_process started(void) {
    static const char *const cat[] = {"/bin/cat", NULL};
    xev_process_options o = {.argv = cat};
    xev_process p;
    o.stdio[0].kind = XEV_STDIO_PIPE;
    CHECK_EQ(xev_process_spawn(&p, &o), 0);
    return p;
}

/* Children that were given up are known by their parent only. */
TEST(a_fork_starts_without_the_children_its_parent_gave_up) {
    xev_process ours = started();
    int before = count_fds();
    CHECK_EQ(xev_process_close_now(&ours), 0);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        xev_process p = started();
        bool ok = xev_process_close_now(&p) == 0 && close(p.stdio[0]) == 0;
        CHECK_EQ(waitpid(p.pid, NULL, 0), p.pid);
        _exit(ok ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(close(ours.stdio[0]), 0);
    /* It ends by that, and the next spawn collects it and its descriptors. */
    siginfo_t info;
    CHECK_EQ(waitid(P_PID, (id_t)ours.pid, &info, WEXITED | WNOWAIT), 0);
    xev_process next = started();
    CHECK_EQ(waitpid(ours.pid, NULL, WNOHANG), -1);
    CHECK_EQ(close(next.stdio[0]), 0);
    CHECK_EQ(waitpid(next.pid, NULL, 0), next.pid);
    CHECK_EQ(close(next.fd), 0);
    CHECK_EQ(count_fds(), before - 2);
}

/* Without an epoll a few are collected all the same; and then it is up to the program. */
TEST(children_are_given_up_without_descriptors_for_it) {
    enum { MOST = 16 };
    xev_process p[MOST + 1];
    for (int i = 0; i <= MOST; i++) {
        p[i] = started();
    }
    refuse(SYS_epoll_create1, EMFILE);
    for (int i = 0; i <= MOST; i++) {
        CHECK_EQ(xev_process_close_now(&p[i]), 0);
        CHECK_EQ(is_open(p[i].fd), i < MOST);
    }
    for (int i = 0; i <= MOST; i++) { /* all at the end: one that ends makes room */
        CHECK_EQ(close(p[i].stdio[0]), 0);
    }
    CHECK_EQ(waitpid(p[MOST].pid, NULL, 0), p[MOST].pid);
    siginfo_t info;
    for (int i = 0; i < MOST; i++) {
        CHECK_EQ(waitid(P_PID, (id_t)p[i].pid, &info, WEXITED | WNOWAIT), 0);
    }
    xev_process next = started();
    CHECK_EQ(close(next.stdio[0]), 0);
    CHECK_EQ(waitpid(-1, NULL, 0), next.pid);
    CHECK_EQ(waitpid(-1, NULL, 0), -1);
    CHECK_EQ(close(next.fd), 0);
}
