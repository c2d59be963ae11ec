/* macOS and the BSDs: what threads and signal handlers signal.
 *
 * Their semaphores and futexes differ, and macOS has none for a signal handler. A signal is a flag,
 * and a byte in a pipe tells the waiter to look at it. The flag is what counts: should a write
 * fail, the waiter looks anyway before long; where there is no pipe, or the wait is refused, each
 * ms. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "shard/system_event.h"

enum { LOOK_MS = 250 };

/* Above the standard streams, which the program may have closed. */
static int prepare_end(int fd) {
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    (void)close(fd);
    if (moved >= 0 && fcntl(moved, F_SETFL, O_NONBLOCK) < 0) {
        (void)close(moved);
        moved = -1;
    }
    return moved;
}

void xev__event_init(struct xev__event *e) {
    int fd[2];
    e->signalled = 0;
    e->read_end = e->write_end = -1;
    if (pipe(fd) == 0) {
        e->read_end = prepare_end(fd[0]);
        e->write_end = prepare_end(fd[1]);
    }
    if (e->read_end < 0 || e->write_end < 0) {
        xev__event_deinit(e);
    }
}

void xev__event_deinit(struct xev__event *e) {
    (void)(e->read_end < 0 || close(e->read_end));
    (void)(e->write_end < 0 || close(e->write_end));
    e->read_end = e->write_end = -1;
}

void xev__event_signal(struct xev__event *e) {
    int saved = errno; /* of the code that a signal handler has interrupted */
    if (xev__event_set(e) && e->write_end >= 0) {
        (void)!write(e->write_end, "", 1);
    }
    errno = saved;
}

/* For ms at most. False: a signal was handled. */
static bool wait_a_while(const struct xev__event *e, int ms) {
    struct pollfd p = {.fd = e->read_end, .events = POLLIN};
    int rc = e->read_end >= 0 ? poll(&p, 1, ms) : -1;
    if (rc < 0 && (e->read_end < 0 || errno != EINTR)) {
        const struct timespec moment = {.tv_sec = 0, .tv_nsec = 1000000};
        return nanosleep(&moment, NULL) == 0;
    }
    return rc >= 0;
}

static uint64_t now_ms(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void xev__event_wait(struct xev__event *e, int timeout_ms) {
    uint64_t start = now_ms();
    char bytes[16];
    for (uint64_t passed = 0; !xev__event_take(e); passed = now_ms() - start) {
        if (timeout_ms >= 0 && passed >= (uint64_t)timeout_ms) {
            return;
        }
        uint64_t left = timeout_ms >= 0 ? (uint64_t)timeout_ms - passed : LOOK_MS;
        bool go_on = wait_a_while(e, left < LOOK_MS ? (int)left : LOOK_MS);
        /* Before the flag is taken: a signal after that writes another byte. */
        while (e->read_end >= 0 && read(e->read_end, bytes, sizeof bytes) > 0) {
        }
        if (!go_on) {
            (void)xev__event_take(e);
            return;
        }
    }
}
