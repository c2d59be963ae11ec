/* A forked process for each case, in a process group of its own. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/plain.h"

/* What a failed check says goes by a pipe. It reports checks of the case's own children, too. */
static int report_fd = -1;

static volatile sig_atomic_t case_pid; /* 0: none */
static volatile sig_atomic_t timed_out;

static void on_alarm(int sig) {
    (void)sig;
    timed_out = 1;
    kill(-(pid_t)case_pid, SIGKILL);
}

static void on_end(int sig) {
    if (case_pid != 0) {
        kill(-(pid_t)case_pid, SIGKILL);
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

static const struct {
    int sig;
    void (*handler)(int);
} handlers[] = {{SIGALRM, on_alarm}, {SIGINT, on_end}, {SIGTERM, on_end}};

enum { HANDLERS = sizeof handlers / sizeof handlers[0] };

static void must(bool ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(EXIT_FAILURE);
    }
}

void plain_fail_apart(const char *text) {
    if (report_fd < 0) {
        return;
    }
    if (write(report_fd, text, strlen(text) + 1) < 0) {
        fprintf(stderr, "%s\n", text);
    }
    _exit(TEST_CHECK_FAILED);
}

static _Noreturn void be_case(const struct test_case *tc, const int pipe_fds[2]) {
    setpgid(0, 0);
    for (int i = 0; i < HANDLERS; i++) {
        signal(handlers[i].sig, SIG_DFL);
    }
    close(pipe_fds[0]);
    /* Into the place of the other end: cases count descriptors, and expect no gap. */
    report_fd = fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, 0);
    close(pipe_fds[1]);
    tc->run();
    exit(EXIT_SUCCESS); /* sanitizers look for leaks here */
}

/* Waits for the end of the case, but leaves it a zombie: its process group cannot become another's
 * before what is left of it is killed. */
static siginfo_t await_case(pid_t pid, int timeout_s) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    alarm((unsigned)timeout_s);
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) != 0) {
        must(errno == EINTR, "waitid");
    }
    alarm(0);
    kill(-pid, SIGKILL);
    case_pid = 0;
    while (waitpid(pid, NULL, 0) < 0) {
        must(errno == EINTR, "waitpid");
    }
    return info;
}

enum plain_outcome plain_run_apart(const char *program, const struct test_case *tc,
                                   char text[PLAIN_TEXT_BYTES]) {
    (void)program;
    int fds[2];
    must(pipe(fds) == 0, "pipe");
    for (int i = 0; i < 2; i++) {
        must(fcntl(fds[i], F_SETFD, FD_CLOEXEC) == 0, "fcntl");
    }
    /* What has left the case's process group may still hold the other end. */
    must(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0, "fcntl");
    timed_out = 0;
    for (int i = 0; i < HANDLERS; i++) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_handler = handlers[i].handler;
        must(sigaction(handlers[i].sig, &action, NULL) == 0, "sigaction");
    }
    fflush(NULL);
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        be_case(tc, fds);
    }
    setpgid(pid, pid); /* both of us do, so that neither has to wait for the other */
    case_pid = pid;
    close(fds[1]);
    siginfo_t info = await_case(pid, test_timeout_s(tc));
    ssize_t len = read(fds[0], text, PLAIN_TEXT_BYTES - 1);
    close(fds[0]);
    if (len > 0) {
        text[len] = '\0';
        return PLAIN_FAILED;
    }
    if (timed_out) {
        plain_describe(tc, text, "Test timeout expired");
    } else if (info.si_code != CLD_EXITED) {
        plain_describe(tc, text, "Received signal %d (%s)", info.si_status,
                       strsignal(info.si_status));
    } else if (info.si_status != 0) {
        plain_describe(tc, text, "Early exit with return value %d", info.si_status);
    } else {
        return PLAIN_PASSED;
    }
    return PLAIN_ERROR;
}
