/* Linux: /proc/self/fd; TCP over loopback. */
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/system.h"
#include "tests/test.h"

int test_open_descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    int n = 0;
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        n += e->d_name[0] != '.';
    }
    closedir(dir);
    return n;
}

void test_tcp_pair(int fd[2]) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(listener, 0);
    CHECK_EQ(bind(listener, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    CHECK_EQ(listen(listener, 1), 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)(void *)&sa, &len), 0);
    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd[0], 0);
    CHECK_EQ(connect(fd[0], (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK_GE(fd[1], 0);
    CHECK_EQ(close(listener), 0);
}

int test_fork(int err) {
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(err, STDERR_FILENO);
        (void)signal(SIGABRT, SIG_DFL);
    }
    return pid;
}

bool test_repeats(void) { return false; }
