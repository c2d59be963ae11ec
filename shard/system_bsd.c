/* macOS and the BSDs: threads, listening sockets. Threads are not bound to CPUs. */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shard/system.h"

const bool xev__shards_have_threads = true;

int xev__cpu_nth(uint32_t n) {
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (int)(n % (uint32_t)count) : 0;
}

int xev__cpu_pin(int cpu) {
    (void)cpu;
    return -ENOTSUP;
}

void xev__name_thread(uint32_t id) { (void)id; } /* each of them has a call of its own for it */

uint64_t xev__thread_number(void) { return (uint64_t)(uintptr_t)pthread_self(); }

void xev__thread_activity(uint64_t number, char *text, size_t len_bytes) {
    (void)number;
    assert(len_bytes > 0);
    text[0] = '\0';
}

void xev__stack_prepare(void) {}

uint32_t xev__stack(uintptr_t *frames, uint32_t room) {
    (void)frames;
    (void)room;
    return 0;
}

/* ---- conditions ---- */

int xev__cond_init(pthread_cond_t *cond) { return -pthread_cond_init(cond, NULL); }

void xev__cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, uint32_t ms) {
    /* By the clock of the day, which macOS's conditions know only. Who waits looks again anyway. */
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    int64_t ns = end.tv_nsec + (int64_t)(ms % 1000) * 1000000;
    end.tv_sec += ms / 1000 + (time_t)(ns / 1000000000);
    end.tv_nsec = (long)(ns % 1000000000);
    int rc = pthread_cond_timedwait(cond, lock, &end);
    assert(rc == 0 || rc == ETIMEDOUT);
    (void)rc;
}

/* ---- listening sockets ---- */

bool xev__listeners_share(void) {
#if defined(SO_REUSEPORT_LB)
    return true;
#else
    return false;
#endif
}

static int listener_number(int fd, int level, int option, int *value) {
    socklen_t len = sizeof *value;
    return getsockopt(fd, level, option, value, &len) == 0 ? 0 : -errno;
}

int xev__listener_check(int fd, bool *is_tcp) {
    int type = 0, listens = 0, ignored = 0;
    int rc = listener_number(fd, SOL_SOCKET, SO_TYPE, &type);
    if (rc == 0 && type != SOCK_STREAM) {
        return -EPROTOTYPE;
    }
    rc = rc == 0 ? listener_number(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens) : rc;
    *is_tcp = rc == 0 && listener_number(fd, IPPROTO_TCP, TCP_NODELAY, &ignored) == 0;
    return rc == 0 && listens == 0 ? -EINVAL : rc;
}

int xev__listener_gate(int fd, bool is_tcp) {
    (void)fd;
    (void)is_tcp;
    return -ENOTSUP; /* there is no filter of requests; what waits is accepted until the end */
}

int xev__listener_waiting(int fd, bool is_tcp) {
    (void)is_tcp;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) < 0 ? -errno : (p.revents & POLLIN) != 0;
}

void xev__listener_end(int fd) {
    /* macOS and FreeBSD: the end of listening. Others say ENOTCONN, and the close ends it. */
    (void)shutdown(fd, SHUT_RD);
}
