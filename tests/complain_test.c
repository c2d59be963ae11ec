/* The line that a misused call, or a failed XEV_ASSERT, leaves on stderr. Whatever stderr is, the
 * program ends by SIGABRT and does not wait. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"
#include "xev/os/complain.h"
#include "xev/shard.h"

static void misuse_loop(void) { (void)xev_loop_run(NULL, XEV_RUN_ONCE); }
static void misuse_pool(void) { xev_threadpool_shutdown(NULL); }
static void misuse_shard(void) { (void)xev_shard_id(NULL); }

static void fail_assertion(void) {
    volatile int entries = 0;
    XEV_ASSERT(entries >= 0); /* true: the program goes on */
    XEV_ASSERT(entries > 0);
}

static void (*const misuses[])(void) = {misuse_loop, misuse_pool, misuse_shard};
enum { MISUSES = sizeof misuses / sizeof misuses[0] };

/* Run misuse in a child process whose stderr is err, or closed where err is -1. The child must end
 * by SIGABRT. */
static void check_ends(void (*misuse)(void), int err) {
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        signal(SIGPIPE, SIG_DFL);
        if (err >= 0) {
            (void)dup2(err, STDERR_FILENO);
        } else {
            (void)close(STDERR_FILENO);
        }
        misuse();
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGABRT);
}

static void fill(int fd) {
    char block[4096] = {0};
    int flags = fcntl(fd, F_GETFL);
    CHECK_EQ(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    for (size_t n = sizeof block; n > 0; n = n > 1 ? n / 2 : 0) {
        while (write(fd, block, n) > 0) {
        }
        CHECK_EQ(errno, EAGAIN);
    }
    CHECK_EQ(fcntl(fd, F_SETFL, flags), 0);
}

TEST(misuse_ends_a_program_whose_stderr_is_full) {
    for (int i = 0; i < MISUSES; i++) {
        int fd[2];
        CHECK_EQ(pipe(fd), 0);
        fill(fd[1]);
        check_ends(misuses[i], fd[1]);
        close(fd[0]);
        close(fd[1]);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
        fill(fd[1]);
        check_ends(misuses[i], fd[1]);
        close(fd[0]);
        close(fd[1]);
    }
}

TEST(misuse_ends_a_program_whose_stderr_nobody_reads) {
    for (int i = 0; i < MISUSES; i++) {
        int fd[2];
        CHECK_EQ(pipe(fd), 0);
        close(fd[0]);
        check_ends(misuses[i], fd[1]);
        close(fd[1]);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
        close(fd[0]);
        check_ends(misuses[i], fd[1]);
        close(fd[1]);
        check_ends(misuses[i], -1);
    }
}

static void check_line(int fd, const char *call) {
    char text[512];
    ssize_t n = read(fd, text, sizeof text - 1);
    CHECK_GT(n, 0);
    text[n] = '\0';
    CHECK(strstr(text, call) == text);
    CHECK(strchr(text, '\n') == text + n - 1);
}

TEST(the_line_arrives_where_there_is_room_and_no_flag_changes) {
    static const char *const lines[] = {
        "xev: xev_loop_run: ", "xev: xev_threadpool_shutdown: ", "xev: xev_shard_id: "};
    for (int i = 0; i < MISUSES; i++) {
        int fd[2];
        CHECK_EQ(pipe(fd), 0);
        check_ends(misuses[i], fd[1]);
        check_line(fd[0], lines[i]);
        CHECK_EQ(fcntl(fd[1], F_GETFL) & O_NONBLOCK, 0);
        close(fd[0]);
        close(fd[1]);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
        check_ends(misuses[i], fd[1]);
        check_line(fd[0], lines[i]);
        close(fd[0]);
        close(fd[1]);
    }
}

TEST(a_failed_assertion_names_its_place_in_every_build) {
    int fd[2];
    CHECK_EQ(pipe(fd), 0);
    check_ends(fail_assertion, fd[1]);
    char text[512];
    ssize_t n = read(fd[0], text, sizeof text - 1);
    CHECK_GT(n, 0);
    text[n] = '\0';
    CHECK(strstr(text, "xev: ") == text);
    CHECK(strstr(text, "tests/complain_test.c:") != NULL);
    CHECK(strstr(text, ": assertion failed: entries > 0\n") != NULL);
    close(fd[0]);
    close(fd[1]);
}

TEST(the_line_is_added_to_a_file) {
    char path[] = "/tmp/complain_test.XXXXXX", text[512] = "";
    int fd = mkstemp(path);
    CHECK_GE(fd, 0);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(write(fd, "before\n", 7), 7);
    check_ends(misuse_loop, fd);
    CHECK_GT(pread(fd, text, sizeof text - 1, 0), 0);
    CHECK(strstr(text, "before\nxev: xev_loop_run: ") == text);
    close(fd);
}

TEST(the_line_arrives_on_a_terminal) {
    int host = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK_GE(host, 0);
    CHECK_EQ(grantpt(host), 0);
    CHECK_EQ(unlockpt(host), 0);
    int terminal = open(ptsname(host), O_RDWR | O_NOCTTY);
    CHECK_GE(terminal, 0);
    check_ends(misuse_loop, terminal);
    char text[512];
    ssize_t n = read(host, text, sizeof text - 1);
    CHECK_GT(n, 0);
    text[n] = '\0';
    CHECK(strstr(text, "xev: xev_loop_run: ") == text);
    close(terminal);
    close(host);
}
