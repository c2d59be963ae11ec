/* Lines of the log (xev/log.h) on stderr, from any thread, for which no loop waits: the program's
 * own and the library's.
 *
 * stderr may be a pipe that nobody empties, or a stopped terminal. fprintf would then block the
 * thread, and with it every connection of its loop. A line for which there is no room is dropped
 * and counted.
 */
#ifndef EXAMPLES_LOG_H
#define EXAMPLES_LOG_H

#include "xev/log.h"

#if defined(_WIN32)

/* What the library does by itself: a line that another thread writes. */
static inline void log_open(void) {}

#else

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int log_fd = STDERR_FILENO;
static atomic_uint log_lost;

static inline bool log_write(const char *line, size_t len_bytes) {
    ssize_t n = send(log_fd, line, len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == ENOTSOCK) {
        struct pollfd p = {.fd = log_fd, .events = POLLOUT};
        n = poll(&p, 1, 0) == 1 ? write(log_fd, line, len_bytes) : -1;
    }
    return n >= 0;
}

static inline void log_on_line(const xev_log_line *line, void *userdata) {
    char text[1100];
    unsigned lost = atomic_exchange(&log_lost, 0);
    size_t len = lost > 0 ? (size_t)snprintf(text, sizeof text, "(%u lines lost)\n", lost) : 0;
    (void)userdata;
    memcpy(text + len, line->text, line->len_bytes);
    len += line->len_bytes;
    text[len++] = '\n';
    if (!log_write(text, len)) {
        atomic_fetch_add(&log_lost, lost + 1);
    }
}

/* Call it once, at the start. It opens the same pipe or terminal anew. O_NONBLOCK on the open file
 * that the program was given would reach every process that shares it. */
static inline void log_open(void) {
    struct stat st;
    xev_log_set(NULL, log_on_line);
    if (fstat(STDERR_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))) {
        int own = open("/dev/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        log_fd = own >= 0 ? own : STDERR_FILENO;
    }
}

#endif

/* All lines of the program that are of one level are a kind. */
static xev_log_kind log_kinds[] = {
    {.name = "server", .level = XEV_LOG_ERROR, .lines_max = 100},
    {.name = "server", .level = XEV_LOG_WARN, .lines_max = 100},
};

#define log_error(...) xev_log_write(&log_kinds[0], __VA_ARGS__)
#define log_line(...) xev_log_write(&log_kinds[1], __VA_ARGS__)

#endif
