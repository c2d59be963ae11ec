/* POSIX: a line on stderr that never waits. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
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

void xev__put_line(const char *text, size_t len_bytes) {
    /* A pipe without a reader raises SIGPIPE in this thread. It is blocked meanwhile, and taken
     * away if it was not pending before. */
    sigset_t sigpipe, before, pending;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    sigemptyset(&pending);
    (void)sigpending(&pending);
    (void)pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    put_line(STDERR_FILENO, text, len_bytes);
    if (sigismember(&pending, SIGPIPE) == 0) {
        /* Not sigtimedwait, which macOS and OpenBSD lack. The signal is this thread's own, so it is
         * still there. */
        int taken;
        (void)sigpending(&pending);
        if (sigismember(&pending, SIGPIPE) == 1) {
            (void)sigwait(&sigpipe, &taken);
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}
