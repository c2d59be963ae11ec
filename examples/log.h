/* A line on stderr, from any thread, for which no loop waits.
 *
 * stderr may be a pipe that nobody empties, or a stopped terminal. fprintf would then block the
 * thread, and with it every connection of its loop. A line for which there is no room is dropped
 * and counted.
 */
#ifndef EXAMPLES_LOG_H
#define EXAMPLES_LOG_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int log_fd = STDERR_FILENO;
static atomic_uint log_lost;

/* Call it once, at the start. It opens the same pipe or terminal anew. O_NONBLOCK on the open file
 * that the program was given would reach every process that shares it. */
static inline void log_open(void) {
    struct stat st;
    if (fstat(STDERR_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))) {
        int own = open("/dev/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        log_fd = own >= 0 ? own : STDERR_FILENO;
    }
}

static inline bool log_write(const char *line, size_t len_bytes) {
    ssize_t n = send(log_fd, line, len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == ENOTSOCK) {
        struct pollfd p = {.fd = log_fd, .events = POLLOUT};
        n = poll(&p, 1, 0) == 1 ? write(log_fd, line, len_bytes) : -1;
    }
    return n >= 0;
}

__attribute__((format(printf, 1, 2))) static inline void log_line(const char *format, ...) {
    char line[512];
    unsigned lost = atomic_exchange(&log_lost, 0);
    int before = lost > 0 ? snprintf(line, sizeof line, "(%u lines lost)\n", lost) : 0;
    size_t room = sizeof line - 1 - (size_t)before;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + before, room, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
    line[(size_t)before + len] = '\n';
    if (!log_write(line, (size_t)before + len + 1)) {
        atomic_fetch_add(&log_lost, lost + 1);
    }
}

#endif
