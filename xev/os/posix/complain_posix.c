/* POSIX: the end of a program that has a bug, with a line on stderr that never waits. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "xev/os/complain.h"

static bool takes_a_line(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0;
}

static void put_line(int fd, const char *text, size_t len_bytes) {
    struct stat st;
    if (fstat(fd, &st) != 0 || !takes_a_line(fd)) {
        return;
    }
    ssize_t n = -1;
    if (S_ISSOCK(st.st_mode)) {
        n = send(fd, text, len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else if (S_ISREG(st.st_mode)) {
        n = write(fd, text, len_bytes);
    } else {
        /* Another process may have filled the pipe or terminal since takes_a_line looked. A flag
         * O_NONBLOCK on this open file would reach everybody who shares it. Where the system opens
         * /dev/fd/2 anew, the new open file is ours alone, and so is its flag. */
        int own = open("/dev/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        n = write(own >= 0 ? own : fd, text, len_bytes);
        if (own >= 0) {
            (void)close(own);
        }
    }
    (void)n; /* there is no other place to report a failure to */
}

void xev__complain(const char *format, ...) {
    char line[512];
    int error = errno;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    /* The line is cut where it is too long: room is left for the line feed and vsnprintf's 0. */
    size_t len = n < 0 ? 0 : (size_t)n < sizeof line - 2 ? (size_t)n : sizeof line - 2;
    line[len++] = '\n';

    /* A pipe without a reader raises SIGPIPE in this thread. It is blocked meanwhile, and taken
     * away if it was not pending before. */
    sigset_t sigpipe, before, pending;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    sigemptyset(&pending);
    (void)sigpending(&pending);
    (void)pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    put_line(STDERR_FILENO, line, len);
    if (sigismember(&pending, SIGPIPE) == 0) {
        const struct timespec now = {0, 0};
        while (sigtimedwait(&sigpipe, NULL, &now) < 0 && errno == EINTR) {
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
}

void xev__assert_failed(const char *file, int line, const char *condition) {
    xev__complain("xev: %s:%d: assertion failed: %s", file, line, condition);
    abort();
}
