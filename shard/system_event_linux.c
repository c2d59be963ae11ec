/* Linux: what threads and signal handlers signal, by a futex. */
#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "mpsc/handoff.h"
#include "shard/system_event.h"

static long futex(uint32_t *word, int operation, uint32_t value, const struct timespec *timeout) {
    return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

void xev__event_init(struct xev__event *e) { e->signalled = 0; }

void xev__event_deinit(struct xev__event *e) { (void)e; }

void xev__event_signal(struct xev__event *e) {
    int saved = errno; /* of the code that a signal handler has interrupted */
    if (xev__event_set(e)) {
        (void)futex(&e->signalled, FUTEX_WAKE, 1, NULL);
    }
    errno = saved;
}

static struct timespec duration(uint32_t ms) {
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
}

void xev__event_wait(struct xev__event *e, int timeout_ms) {
    if (xev__event_take(e)) {
        return;
    }
    struct timespec limit = duration(timeout_ms < 0 ? 0 : (uint32_t)timeout_ms);
    if (XEV_HANDOFF_ENABLED) {
        /* ThreadSanitizer has a signal's handler run in a call that it knows to wait, and a raw
         * system call is none. So the wait is a short one, and such a call follows. */
        const uint32_t step_ms = timeout_ms >= 0 && timeout_ms < 20 ? (uint32_t)timeout_ms : 20;
        const struct timespec step = duration(step_ms), moment = {0};
        for (int left = timeout_ms; !xev__event_take(e) && (timeout_ms < 0 || left > 0);
             left -= (int)step_ms) {
            (void)futex(&e->signalled, FUTEX_WAIT, 0, &step);
            (void)nanosleep(&moment, NULL);
        }
        return;
    }
    /* It measures the time by CLOCK_MONOTONIC. EAGAIN: a signal has come meanwhile. */
    long rc = futex(&e->signalled, FUTEX_WAIT, 0, timeout_ms < 0 ? NULL : &limit);
    assert(rc == 0 || errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT);
    (void)rc;
    (void)xev__event_take(e);
}
