/* POSIX: signals, sleep. */
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "shard/system.h"

int xev__in_forked_child(void (*fn)(void)) { return pthread_atfork(NULL, NULL, fn); }

bool xev__thread_signal(pthread_t thread, int number) { return pthread_kill(thread, number) == 0; }

int xev__signal_number(int which) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    _Static_assert(sizeof numbers / sizeof numbers[0] == XEV__CAUGHT_SIGNALS, "one each");
    assert(which >= 0 && which < XEV__CAUGHT_SIGNALS);
    return numbers[which];
}

static void change_mask(int how, uint32_t set, sigset_t *old) {
    sigset_t change;
    sigemptyset(&change);
    for (int i = 0; i < XEV__CAUGHT_SIGNALS; i++) {
        if ((set & 1u << i) != 0) {
            sigaddset(&change, xev__signal_number(i));
        }
    }
    int rc = pthread_sigmask(how, &change, old);
    assert(rc == 0); /* it fails for a bad argument only */
    (void)rc;
}

uint32_t xev__signals_unblock(uint32_t set) {
    sigset_t old;
    change_mask(SIG_UNBLOCK, set, &old);
    uint32_t blocked = 0;
    for (int i = 0; i < XEV__CAUGHT_SIGNALS; i++) {
        blocked |= sigismember(&old, xev__signal_number(i)) == 1 ? 1u << i : 0;
    }
    return blocked & set;
}

void xev__signals_block(uint32_t set) { change_mask(SIG_BLOCK, set, NULL); }

void xev__sleep_ms(uint32_t ms) {
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&ts, NULL);
}
