/* Unix sockets: streams and datagrams between processes of one machine, by path or abstract name,
 * and the passing of descriptors.
 *
 *     xev_addr addr;
 *     xev_unix sock;
 *     if (xev_addr_unix(&addr, "/run/app.sock", 13) == 0 &&
 *         xev_unix_init(&sock, XEV_UNIX_STREAM) == 0) {
 *         xev_unix_connect(sock, &loop, &c, &addr, userdata, on_connected);
 *     }
 *
 * xev_unix is a value that holds a descriptor. What tcp.h says of results, order, threads, closing
 * and SIGPIPE holds here word for word. Accept, recv, send and their kin are the same operations,
 * so a stream may also be used as xev_tcp_from_fd(sock.fd). recv and send without a message are for
 * streams only. Man page: unix(7).
 */
#ifndef XEV_UNIX_H
#define XEV_UNIX_H

#include "xev/addr.h"
#include "xev/buffer.h"
#include "xev/vec.h"

typedef struct xev_unix {
    xev_fd fd;
} xev_unix;

enum xev_unix_type { XEV_UNIX_STREAM = 0, XEV_UNIX_DATAGRAM = 1 };

/* What bind does if the path exists. */
enum xev_unix_bind {
    XEV_UNIX_KEEP = 0, /* XEV_EADDRINUSE */
    /* Replace a socket at which nobody answers; any other file: XEV_EADDRINUSE. A stream that does
     * not listen yet does not answer. To ask takes a descriptor for a moment: XEV_EMFILE and the
     * like, where none is left. */
    XEV_UNIX_STALE = 1,
};

/* The most descriptors in one message: the limit of the kernel (SCM_MAX_FD). */
#define XEV_UNIX_FDS_MAX 253

/* Room for the longest name, with the 0 that an abstract name begins with. */
#define XEV_UNIX_NAME_MAX 108

/* The process that connected or listened, as the kernel noted it at that moment. */
typedef struct xev_unix_cred {
    int64_t pid; /* 0: the process is not visible from this pid namespace */
    uint32_t uid, gid;
} xev_unix_cred;

/* A message: data, descriptors and a name. It is the caller's, and stays at one address until the
 * callback, as do buf and fds. */
typedef struct xev_unix_msg {
    void *buf; /* data, or room for it; a send only reads it */
    size_t len_bytes;
    /* Send: the receiver; zeroed: the connected peer. Receive: the sender, if it has a name. */
    xev_addr addr;
    xev_fd *fds;      /* descriptors to send, or room for received ones; NULL: none */
    uint32_t fds_max; /* receive: how many fit at fds, 0 to XEV_UNIX_FDS_MAX */
    /* send: how many are at fds; receive: how many arrived, which are the caller's */
    uint32_t fds_len;
    bool truncated;     /* receive: the datagram was longer than len_bytes, and the rest is lost */
    bool fds_truncated; /* receive: more descriptors came than fit; those beyond were closed */
    /* Private. */
    void *userdata;
    xev_cb callback;
    struct {
        void *base;
        size_t len_bytes;
    } vec;
    uint64_t header[8];
    uint64_t control[2 + XEV_UNIX_FDS_MAX / 2 + 1];
} xev_unix_msg;

XEV_BEGIN_DECLS

/* An address from len_bytes of name. 0, or XEV_EINVAL (addr or name is NULL, too),
 * XEV_ENAMETOOLONG. Any thread. The name is one of three kinds:
 *
 * - a path: 1 to 107 bytes without a 0;
 * - an abstract name: a 0, then up to 107 bytes of any kind; it is in no file system, and ends
 *   with its socket;
 * - no name: len_bytes 0, and name may be NULL; binding to it lets the system choose an abstract
 *   name.
 *
 * xev_addr_format writes the path; "@" and the name, with "@" for every further 0; or "". */
XEV_NODISCARD int xev_addr_unix(xev_addr *addr, const char *name, size_t len_bytes);

/* The bytes of the name, as given to xev_addr_unix and without a terminating 0; they are inside
 * *addr. *len_bytes is 0 if there is no name, or if this is not a Unix address; addr may be NULL.
 * Any thread. */
const char *xev_addr_unix_name(const xev_addr *addr, size_t *len_bytes);

/* Make a socket, blocking and close-on-exec. As xev_tcp_init; XEV_EINVAL: no such type. */
XEV_NODISCARD int xev_unix_init(xev_unix *sock, enum xev_unix_type type);

/* Make two sockets that are connected to each other. As xev_unix_init; on an error both are
 * XEV_INVALID_FD. */
XEV_NODISCARD int xev_unix_pair(xev_unix pair[2], enum xev_unix_type type);

/* A Unix socket that the caller already has, blocking or not. Any thread. */
xev_unix xev_unix_from_fd(xev_fd fd);

/* Give the socket a name. A path makes a file, which a close does not remove: see xev_unix_unlink.
 * Two programs that replace the same stale file at the same moment may both succeed. 0, or
 * XEV_EADDRINUSE, XEV_EACCES, XEV_ENOENT (no such directory), XEV_EINVAL (the socket has a name; no
 * Unix address, NULL included; policy), XEV_EAFNOSUPPORT (no Unix socket), ... Any thread. */
XEV_NODISCARD int xev_unix_bind(xev_unix sock, const xev_addr *addr, enum xev_unix_bind policy);

/* Remove the file of a path; an abstract name has none. 0, or XEV_ENOENT, XEV_ENOTSOCK (the file is
 * of another kind, and stays), XEV_EINVAL (no Unix address, NULL included), ... Any thread. */
int xev_unix_unlink(const xev_addr *addr);

/* The same operations as in tcp.h. */
XEV_NODISCARD int xev_unix_listen(xev_unix sock, int backlog);
void xev_unix_accept(xev_unix sock, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);
void xev_unix_accept_multi(xev_unix sock, xev_loop *loop, xev_completion *c, void *userdata,
                           xev_cb cb);
XEV_NODISCARD int xev_unix_accept_now(xev_unix sock);
void xev_unix_recv(xev_unix sock, xev_loop *loop, xev_completion *c, void *buf, size_t len_bytes,
                   void *userdata, xev_cb cb);
void xev_unix_recv_loan(xev_unix sock, xev_loop *loop, xev_completion *c, void *userdata,
                        xev_cb cb);
void xev_unix_recv_multi(xev_unix sock, xev_loop *loop, xev_completion *c, void *userdata,
                         xev_cb cb);
void xev_unix_send(xev_unix sock, xev_loop *loop, xev_completion *c, const void *buf,
                   size_t len_bytes, void *userdata, xev_cb cb);
void xev_unix_recvv(xev_unix sock, xev_loop *loop, xev_completion *c, const xev_vec *vec,
                    size_t count, void *userdata, xev_cb cb);
void xev_unix_sendv(xev_unix sock, xev_loop *loop, xev_completion *c, const xev_vec *vec,
                    size_t count, void *userdata, xev_cb cb);
void xev_unix_shutdown(xev_unix sock, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);
void xev_unix_close(xev_unix sock, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);
int xev_unix_close_now(xev_unix sock);
XEV_NODISCARD int xev_unix_set_buffers(xev_unix sock, uint32_t send_bytes, uint32_t recv_bytes);
XEV_NODISCARD int xev_unix_local_addr(xev_unix sock, xev_addr *addr);
XEV_NODISCARD int xev_unix_peer_addr(xev_unix sock, xev_addr *addr);

/* Connect to addr, which the caller keeps until the callback. Result: 0, XEV_ECONNREFUSED (nobody
 * listens), XEV_ENOENT (no such path), XEV_EACCES, XEV_EPROTOTYPE (a socket of the other type),
 * XEV_EINVAL (no Unix address), ... While the listener's backlog is full, the connect is tried
 * again every few milliseconds, because the system does not announce room; a time-out
 * (xev_completion_set_timeout) limits that. */
void xev_unix_connect(xev_unix sock, xev_loop *loop, xev_completion *c, const xev_addr *addr,
                      void *userdata, xev_cb cb);

/* Send a message. Result: bytes that the kernel took. On a stream they may be fewer than asked for,
 * and the descriptors have then gone with the first of them. A datagram goes as a whole, and may be
 * empty. The peer gets descriptors of its own, so the caller may close those that were sent, from
 * the callback on. Waits while the receiver has no room. XEV_EINVAL (too many descriptors, or no
 * data on a stream), XEV_EBADF (one of the descriptors is not open, too), XEV_EMSGSIZE,
 * XEV_ECONNREFUSED, XEV_ENOENT, XEV_ENOTCONN (no receiver), XEV_ETOOMANYREFS (too many descriptors
 * on their way), ... */
void xev_unix_send_msg(xev_unix sock, xev_loop *loop, xev_completion *c, xev_unix_msg *msg,
                       void *userdata, xev_cb cb);

/* Receive a message: one datagram, or what a stream has, up to len_bytes (at least 1); a stream's
 * message ends where descriptors were sent. Result: bytes; 0 is an empty datagram, and XEV_EOF the
 * end of a stream. XEV_EINVAL: len_bytes or fds_max out of its range. Descriptors that are received
 * are close-on-exec. A receive that is not for messages drops descriptors. */
void xev_unix_recv_msg(xev_unix sock, xev_loop *loop, xev_completion *c, xev_unix_msg *msg,
                       void *userdata, xev_cb cb);

/* The credentials of the peer. 0, or XEV_ENOTCONN, XEV_ENOTSUP, ... Any thread. */
XEV_NODISCARD int xev_unix_peer_cred(xev_unix sock, xev_unix_cred *cred);

XEV_END_DECLS

#endif
