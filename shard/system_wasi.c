/* WASI: one thread, no signals, and listeners that the host has made. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <wasi/api.h>

#include "shard/system.h"

const bool xev__shards_have_threads = false;

int xev__cpu_nth(uint32_t n) {
    (void)n;
    return -1;
}

int xev__cpu_pin(int cpu) {
    (void)cpu;
    return -ENOTSUP;
}

void xev__name_thread(uint32_t id) { (void)id; }

uint64_t xev__thread_number(void) { return 1; }

void xev__thread_activity(uint64_t number, char *text, size_t len_bytes) {
    (void)number;
    if (len_bytes > 0) {
        text[0] = '\0';
    }
}

int xev__in_forked_child(void (*fn)(void)) {
    (void)fn;
    return 0;
}

bool xev__thread_signal(pthread_t thread, int number) {
    (void)thread;
    (void)number;
    return false;
}

void xev__stack_prepare(void) {}

uint32_t xev__stack(uintptr_t *frames, uint32_t room) {
    (void)frames;
    (void)room;
    return 0;
}

/* ---- signals ---- */

int xev__signal_number(int which) { return which + 1; }

uint32_t xev__signals_unblock(uint32_t set) {
    (void)set;
    return 0;
}

void xev__signals_block(uint32_t set) { (void)set; }

/* ---- waking: nobody else can signal, so nobody waits ---- */

void xev__event_init(struct xev__event *e) { e->signalled = 0; }
void xev__event_deinit(struct xev__event *e) { (void)e; }
void xev__event_signal(struct xev__event *e) { e->signalled = 1; }

void xev__event_wait(struct xev__event *e, int timeout_ms) {
    (void)timeout_ms;
    e->signalled = 0;
}

void xev__sleep_ms(uint32_t ms) {
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&ts, NULL);
}

int xev__cond_init(pthread_cond_t *cond) { return -pthread_cond_init(cond, NULL); }

void xev__cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, uint32_t ms) {
    (void)cond;
    (void)lock;
    (void)ms;
}

/* ---- listening sockets ---- */

bool xev__listeners_share(void) { return false; }

/* A listener and a connection cannot be told apart; nor is there any call that is of TCP only. */
int xev__listener_check(int fd, bool *is_tcp) {
    __wasi_fdstat_t stat;
    __wasi_errno_t error = __wasi_fd_fdstat_get(fd, &stat);
    *is_tcp = false;
    return error != 0                                          ? -(int)error
           : stat.fs_filetype == __WASI_FILETYPE_SOCKET_STREAM ? 0
           : stat.fs_filetype == __WASI_FILETYPE_SOCKET_DGRAM  ? -EPROTOTYPE
                                                               : -ENOTSOCK;
}

/* The host goes on listening. */
int xev__listener_gate(int fd, bool is_tcp) {
    (void)fd;
    (void)is_tcp;
    return -ENOTSUP;
}

int xev__listener_waiting(int fd, bool is_tcp) {
    (void)is_tcp;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) < 0 ? -errno : (p.revents & POLLIN) != 0;
}

void xev__listener_end(int fd) { (void)fd; }
