/* Sockets: pairs are those of the runner, see toolchains/wasi/run.mjs. A test that makes others, or
 * asks for an option, is left out. */
#ifndef TESTS_WASI_SYS_SOCKET_H
#define TESTS_WASI_SYS_SOCKET_H

#pragma GCC system_header

#include_next <sys/socket.h>

#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
#define MSG_OOB 0x800
#define MSG_CTRUNC 0x8
#define SO_ERROR 4
#define SO_REUSEADDR 2
#define SO_REUSEPORT 15
#define SO_SNDBUF 7
#define SO_RCVBUF 8
#define SO_LINGER 13
#define SO_KEEPALIVE 9
#define SO_ACCEPTCONN 30
#define SO_PROTOCOL 38
#define SO_DOMAIN 39
#define SOCK_SEQPACKET 9
#define SOCK_RAW 10

/* Descriptors do not travel. */
struct cmsghdr {
    socklen_t cmsg_len;
    int cmsg_level, cmsg_type;
};
enum { SCM_RIGHTS = 1 };
#define CMSG_SPACE(len) (sizeof(struct cmsghdr) + (len))
#define CMSG_LEN(len) (sizeof(struct cmsghdr) + (len))
#define CMSG_DATA(c) ((unsigned char *)((c) + 1))
#define CMSG_FIRSTHDR(h) ((struct cmsghdr *)(h)->msg_control)
ssize_t sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to,
               socklen_t to_len);
ssize_t recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *from,
                 socklen_t *from_len);
#define accept4(fd, addr, len, flags) wasi_accept4(fd, flags)
int wasi_accept4(int fd, int flags);
int socketpair(int domain, int type, int protocol, int fd[2]);
int socket(int domain, int type, int protocol);
int bind(int fd, const struct sockaddr *addr, socklen_t len);
int listen(int fd, int backlog);
int connect(int fd, const struct sockaddr *addr, socklen_t len);
int getsockname(int fd, struct sockaddr *addr, socklen_t *len);
int getpeername(int fd, struct sockaddr *addr, socklen_t *len);
int setsockopt(int fd, int level, int name, const void *value, socklen_t len);

/* With MSG_DONTWAIT, MSG_WAITALL and MSG_NOSIGNAL. */
ssize_t wasi_send(int fd, const void *buf, size_t len, int flags);
ssize_t wasi_recv(int fd, void *buf, size_t len, int flags);
#define send(fd, buf, len, flags) wasi_send(fd, buf, len, flags)
#define recv(fd, buf, len, flags) wasi_recv(fd, buf, len, flags)

#endif
