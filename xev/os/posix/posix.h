/* Internal: what the files of this folder share with those of the systems that have POSIX, sockets
 * included. */
#ifndef XEV_OS_POSIX_POSIX_H
#define XEV_OS_POSIX_POSIX_H

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "xev/addr.h"
#include "xev/os/complain.h"
#include "xev/os/posix/sys.h"

/* The numbers of signals are below this. */
#if defined(SIGRTMAX)
#define XEV__SYS_SIGNALS (SIGRTMAX + 1)
#else
#define XEV__SYS_SIGNALS NSIG
#endif

/* The flag by which received descriptors are close-on-exec; 0: xev__sys_arrived does it. */
#if defined(MSG_CMSG_CLOEXEC)
#define XEV__SYS_CMSG_CLOEXEC MSG_CMSG_CLOEXEC
#else
#define XEV__SYS_CMSG_CLOEXEC 0
#endif
void xev__sys_arrived(int fd);

/* socket(2), and socketpair(2): close-on-exec and above the standard streams. A descriptor or 0, or
 * a code. */
int xev__sys_socket(int domain, int type, int protocol);
int xev__sys_socketpair(int domain, int type, xev_fd *a, xev_fd *b);
/* The family of an IP socket: AF_INET, AF_INET6, or a code. */
int xev__sys_domain(xev_fd fd);
/* The option by which sockets share a port so that connections are spread over them. */
int xev__sys_reuse_port(void);

static inline int xev__sys_set_int(xev_fd fd, int level, int name, int value) {
    return xev__sys_result(setsockopt(fd, level, name, &value, sizeof value));
}

static inline struct sockaddr *xev__sys_addr_out(xev_addr *a) {
    return (struct sockaddr *)(void *)a->storage;
}

static inline const struct sockaddr *xev__sys_addr(const xev_addr *a) {
    return (const struct sockaddr *)(const void *)a->storage;
}

/* poll(2) of one descriptor, which does not wait. It is repeated after a signal. */
int xev__sys_poll(struct pollfd *p);

/* Move both descriptors that a system call has just made by xev__os_above_std. Where that fails,
 * the result is a code and both are closed. */
int xev__sys_pair_above_std(const int fd[2], xev_fd *a, xev_fd *b);

#endif
