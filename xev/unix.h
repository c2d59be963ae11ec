/* Unix sockets: streams and datagrams between processes of one machine, by path or abstract name,
 * and the passing of descriptors.
 *
 * xev_unix is a value like xev_tcp, and what tcp.h says of results, order, threads, closing and
 * SIGPIPE holds here word for word; accept, recv, send and their kin are the same operations, so
 * that a stream may as well be handled as xev_tcp_from_fd(socket.fd). The kinds of recv
 * and send without a message are for streams only.
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

/* What bind does where the path exists. */
enum xev_unix_bind {
    XEV_UNIX_KEEP = 0, /* XEV_EADDRINUSE */
    /* A socket nobody answers at is replaced; anything else: XEV_EADDRINUSE. A stream that does not
     * listen yet does not answer. */
    XEV_UNIX_STALE = 1,
};

/* Descriptors in one message at most: the kernel's own limit. */
#define XEV_UNIX_FDS_MAX 253

/* Room for the longest name, the 0 that begins an abstract one included. */
#define XEV_UNIX_NAME_MAX 108

/* Who connected, or listened: taken down by the kernel at that moment. */
typedef struct xev_unix_cred {
    int64_t pid; /* 0: not to be seen from here */
    uint32_t uid, gid;
} xev_unix_cred;

/* A message: data with descriptors, with names. In the caller's memory, at one address until the
 * callback; so are buf and fds. */
typedef struct xev_unix_msg {
    void *buf; /* data; a send only reads it */
    size_t len_bytes;
    /* Receiver of a send, a zeroed one: the connected peer. Sender of what was received, as far as
     * it has a name. */
    xev_addr addr;
    xev_fd *fds;        /* to send, or room for those received; NULL: none */
    uint32_t fds_max;   /* receive: room at fds, 0 to XEV_UNIX_FDS_MAX */
    uint32_t fds_len;   /* send: how many; receive: how many there are, which are the caller's */
    bool truncated;     /* received: the datagram was longer than len_bytes, the rest is lost */
    bool fds_truncated; /* received: there were more descriptors than room, or the process had no
                         * number left for one of them; those are closed */
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

/* An address from len_bytes of name: a path (1 to 107 bytes, no 0 in it), an abstract name (a 0 and
 * up to 107 bytes of any kind; it is in no file system and goes with its socket), or none (length
 * 0: binding to that lets the system choose an abstract name; name may then be NULL). 0,
 * XEV_EINVAL (addr or name is NULL, too) or XEV_ENAMETOOLONG. Any thread.
 * Formatted: the path, or "@" and the name, other 0s being shown as "@" too; "" for none. */
XEV_NODISCARD int xev_addr_unix(xev_addr *addr, const char *name, size_t len_bytes);

/* The name's bytes (as given above, no 0 behind it), in addr. *len_bytes is 0 where there is none,
 * or where this is no such address; addr may be NULL. Any thread. */
const char *xev_addr_unix_name(const xev_addr *addr, size_t *len_bytes);

/* A new socket, blocking and close-on-exec. As xev_tcp_init; XEV_EINVAL: no such type. */
XEV_NODISCARD int xev_unix_init(xev_unix *sock, enum xev_unix_type type);

/* Two that are connected to each other. As xev_unix_init; on failure both are XEV_INVALID_FD. */
XEV_NODISCARD int xev_unix_pair(xev_unix pair[2], enum xev_unix_type type);

/* A Unix socket the caller already has, blocking or not. */
xev_unix xev_unix_from_fd(xev_fd fd);

/* Give the socket a name. A path makes a file, which closing does not remove: see xev_unix_unlink.
 * Two programs that replace the same stale file at one moment may both succeed. 0 or
 * XEV_EADDRINUSE, XEV_EACCES, XEV_ENOENT (no such directory), XEV_EINVAL (has a name; no Unix
 * address, NULL included; policy), XEV_EAFNOSUPPORT (no Unix socket), ... Any thread. */
XEV_NODISCARD int xev_unix_bind(xev_unix sock, const xev_addr *addr, enum xev_unix_bind policy);

/* Remove the file of a path; abstract names have none. 0, XEV_ENOENT, XEV_ENOTSOCK (another kind of
 * file: it stays), XEV_EINVAL (no Unix address, NULL included), ... Any thread. */
int xev_unix_unlink(const xev_addr *addr);

/* As in tcp.h. */
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

/* Connect to addr, which is the caller's to keep until the callback. Result 0, XEV_ECONNREFUSED
 * (nobody listens), XEV_ENOENT (no such path), XEV_EACCES, XEV_EPROTOTYPE (a socket of the other
 * type), XEV_EINVAL (no Unix address), ... Where the listener's backlog is full it waits and tries
 * again every few milliseconds, as the system does not announce room: give it a deadline. */
void xev_unix_connect(xev_unix sock, xev_loop *loop, xev_completion *c, const xev_addr *addr,
                      void *userdata, xev_cb cb);

/* Send a message. Result: bytes taken, on a stream perhaps fewer than asked for: the descriptors
 * have then gone with the first of them. A datagram goes as a whole, and may be empty. The peer
 * gets descriptors of its own, so the caller may close his from the callback on. XEV_EINVAL: too
 * many descriptors, or no data on a stream; XEV_EBADF: one is not open;
 * XEV_EMSGSIZE, XEV_ECONNREFUSED, XEV_ENOENT, XEV_ENOTCONN (no receiver), XEV_ETOOMANYREFS (too
 * many on their way), ... Waits while the receiver has no room. */
void xev_unix_send_msg(xev_unix sock, xev_loop *loop, xev_completion *c, xev_unix_msg *msg,
                       void *userdata, xev_cb cb);

/* Receive a message: one datagram, or what a stream has up to len_bytes (at least 1), stopping
 * where descriptors were sent. Result: bytes; 0 is an empty datagram; XEV_EOF the end of a stream.
 * XEV_EINVAL: len_bytes or fds_max out of range. The descriptors are close-on-exec. A recv that is
 * not for messages drops them. */
void xev_unix_recv_msg(xev_unix sock, xev_loop *loop, xev_completion *c, xev_unix_msg *msg,
                       void *userdata, xev_cb cb);

/* The peer's, as far as cred says. 0 or XEV_ENOTCONN, XEV_ENOTSUP, ... Any thread. */
XEV_NODISCARD int xev_unix_peer_cred(xev_unix sock, xev_unix_cred *cred);

XEV_END_DECLS

#endif
