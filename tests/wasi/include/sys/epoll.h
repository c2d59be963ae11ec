/* epoll: a test that makes an instance is left out. */
#ifndef TESTS_WASI_SYS_EPOLL_H
#define TESTS_WASI_SYS_EPOLL_H

#pragma GCC system_header

#include <stdint.h>

enum { EPOLL_CLOEXEC = 0, EPOLL_CTL_ADD = 1, EPOLLIN = 1 };

struct epoll_event {
    uint32_t events;
    union {
        uint64_t u64;
        int fd;
    } data;
};

int epoll_create1(int flags);
int epoll_ctl(int ep, int op, int fd, struct epoll_event *event);
int epoll_wait(int ep, struct epoll_event *events, int max, int timeout_ms);

#endif
