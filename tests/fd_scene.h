/* What the tests of descriptors in general share. */
#ifndef TESTS_FD_SCENE_H
#define TESTS_FD_SCENE_H

#include <termios.h>

#include "tests/net_scene.h"

static inline void do_read(struct op *op, struct net *n, int fd, void *buf, size_t len) {
    op_new(op, n);
    xev_fd_read(fd, &n->loop, &op->c, buf, len, op, op_called);
}

static inline void do_write(struct op *op, struct net *n, int fd, const void *buf, size_t len) {
    op_new(op, n);
    xev_fd_write(fd, &n->loop, &op->c, buf, len, op, op_called);
}

static inline void do_poll(struct op *op, struct net *n, int fd, uint32_t mask) {
    op_new(op, n);
    xev_fd_poll(fd, &n->loop, &op->c, mask, op, op_called);
}

static inline void do_poll_multi(struct op *op, struct net *n, int fd, uint32_t mask) {
    op_new(op, n);
    xev_fd_poll_multi(fd, &n->loop, &op->c, mask, op, op_called);
}

static inline int read_now(struct net *n, int fd, void *buf, size_t len) {
    struct op op;
    do_read(&op, n, fd, buf, len);
    run_op(&op);
    return op.result;
}

static inline int write_now(struct net *n, int fd, const void *buf, size_t len) {
    struct op op;
    do_write(&op, n, fd, buf, len);
    run_op(&op);
    return op.result;
}

static inline int poll_now(struct net *n, int fd, uint32_t mask) {
    struct op op;
    do_poll(&op, n, fd, mask);
    run_op(&op);
    return op.result;
}

static inline void make_pipe(int fd[2]) { CHECK_EQ(pipe2(fd, O_CLOEXEC), 0); }

static inline void put(int fd, const char *text) {
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Read everything that is there now. */
static inline void drain(int fd) {
    char buf[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0) {
        CHECK_GT(read(fd, buf, sizeof buf), 0);
    }
}

/* Write to a pipe until it takes no more. */
static inline size_t fill_pipe(int fd) {
    static const char zeros[4096];
    int flags = fcntl(fd, F_GETFL);
    CHECK_EQ(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    size_t total = 0;
    ssize_t rc;
    while ((rc = write(fd, zeros, sizeof zeros)) > 0) {
        total += (size_t)rc;
    }
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(fcntl(fd, F_SETFL, flags), 0);
    return total;
}

/* In raw mode, so that the terminal passes bytes on unchanged. */
static inline void make_terminal(int fd[2]) {
    fd[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK_GE(fd[0], 0);
    CHECK_EQ(grantpt(fd[0]), 0);
    CHECK_EQ(unlockpt(fd[0]), 0);
    char name[64];
    CHECK_EQ(ptsname_r(fd[0], name, sizeof name), 0);
    fd[1] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK_GE(fd[1], 0);
    struct termios t;
    CHECK_EQ(tcgetattr(fd[1], &t), 0);
    cfmakeraw(&t);
    CHECK_EQ(tcsetattr(fd[1], TCSANOW, &t), 0);
}

#endif
