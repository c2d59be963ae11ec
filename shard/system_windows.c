/* Windows: CPUs, threads, control events, listening sockets. */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "shard/system_event.h"
#include "xev/error.h"
#include "xev/os/descriptor.h"

const bool xev__shards_have_threads = true;

int xev__cpu_nth(uint32_t n) {
    DWORD_PTR process, system;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &process, &system) || process == 0) {
        return -1;
    }
    n %= (uint32_t)__builtin_popcountll((unsigned long long)process);
    int cpu = 0;
    for (; (process >> cpu & 1) == 0 || n-- > 0; cpu++) {
    }
    return cpu;
}

int xev__cpu_pin(int cpu) {
    if (cpu < 0 || cpu >= 64) {
        return -EINVAL;
    }
    return SetThreadAffinityMask(GetCurrentThread(), (DWORD_PTR)1 << cpu) != 0 ? 0 : -EINVAL;
}

void xev__name_thread(uint32_t id) {
    char name[32];
    snprintf(name, sizeof name, "xev-shard-%u", id % 100000);
    (void)pthread_setname_np(pthread_self(), name);
}

uint64_t xev__thread_number(void) { return GetCurrentThreadId(); }

void xev__thread_activity(uint64_t number, char *text, size_t len_bytes) {
    (void)number; /* the system does not say */
    (void)len_bytes;
    text[0] = '\0';
}

/* No thread can be made to run something in the middle of what it does: a stack is not told. */
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

int xev__in_forked_child(void (*fn)(void)) {
    (void)fn; /* there are none */
    return 0;
}

/* ---- control events: see xev/os/windows/signal_windows.c ---- */

int xev__signal_number(int which) {
    static const int numbers[] = {2, 15, 1, 13}; /* SIGPIPE does not exist, and is never raised */
    _Static_assert(sizeof numbers / sizeof numbers[0] == XEV__CAUGHT_SIGNALS, "one each");
    assert(which >= 0 && which < XEV__CAUGHT_SIGNALS);
    return numbers[which];
}

/* No thread blocks control events. */
uint32_t xev__signals_unblock(uint32_t set) {
    (void)set;
    return 0;
}

void xev__signals_block(uint32_t set) { (void)set; }

/* ---- waking ---- */

void xev__event_init(struct xev__event *e) { e->signalled = 0; }

void xev__event_deinit(struct xev__event *e) { (void)e; }

void xev__event_signal(struct xev__event *e) {
    if (xev__event_set(e)) {
        WakeByAddressSingle(&e->signalled);
    }
}

void xev__event_wait(struct xev__event *e, int timeout_ms) {
    uint32_t none = 0;
    if (!xev__event_take(e)) {
        (void)WaitOnAddress(&e->signalled, &none, sizeof none,
                            timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms);
        (void)xev__event_take(e);
    }
}

void xev__sleep_ms(uint32_t ms) { Sleep(ms); }

int xev__cond_init(pthread_cond_t *cond) { return -pthread_cond_init(cond, NULL); }

/* By the clock that winpthreads waits by, which is that of the calendar: where somebody sets it
 * back, a wait takes that much longer. */
void xev__cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, uint32_t ms) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    int64_t ns = end.tv_nsec + (int64_t)(ms % 1000) * 1000000;
    end.tv_sec += (time_t)(ms / 1000 + ns / 1000000000);
    end.tv_nsec = (long)(ns % 1000000000);
    (void)pthread_cond_timedwait(cond, lock, &end);
}

/* ---- listening sockets ---- */

bool xev__listeners_share(void) { return false; }

static SOCKET socket_of(int fd) { return (SOCKET)(intptr_t)fd; }

/* Why fd, of which Winsock has just said an error, is no socket. */
static int socket_code(int fd) {
    bool other = WSAGetLastError() == WSAENOTSOCK && xev__os_is_open(fd);
    return other ? XEV_ENOTSOCK : XEV_EBADF;
}

int xev__listener_check(int fd, bool *is_tcp) {
    int type = 0, listens = 0, len = sizeof type;
    *is_tcp = true;
    if (getsockopt(socket_of(fd), SOL_SOCKET, SO_TYPE, (char *)&type, &len) != 0) {
        return socket_code(fd);
    }
    if (type != SOCK_STREAM) {
        return XEV_EPROTOTYPE;
    }
    len = sizeof listens;
    if (getsockopt(socket_of(fd), SOL_SOCKET, SO_ACCEPTCONN, (char *)&listens, &len) != 0) {
        return socket_code(fd);
    }
    return listens != 0 ? 0 : XEV_EINVAL;
}

/* Windows has no way to keep a listener's backlog and to take no one else in. */
int xev__listener_gate(int fd, bool is_tcp) {
    (void)fd;
    (void)is_tcp;
    return XEV_ENOTSUP;
}

int xev__listener_waiting(int fd, bool is_tcp) {
    (void)is_tcp;
    WSAPOLLFD p = {.fd = socket_of(fd), .events = POLLRDNORM};
    int rc = WSAPoll(&p, 1, 0);
    return rc < 0 ? socket_code(fd) : rc > 0 && (p.revents & POLLRDNORM) != 0;
}

/* A listener of Windows listens until it is closed. */
void xev__listener_end(int fd) { (void)fd; }
