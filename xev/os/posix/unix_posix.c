/* POSIX: Unix sockets, and the descriptors that travel over them. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "xev/error.h"
#include "xev/os/addr.h"
#include "xev/os/posix/posix.h"
#include "xev/os/socket.h"
#include "xev/os/unix.h"

int xev__os_unix_socket(bool datagram, xev_fd *fd) {
    int rc = xev__sys_socket(AF_UNIX, datagram ? SOCK_DGRAM : SOCK_STREAM, 0);
    *fd = rc < 0 ? XEV_INVALID_FD : rc;
    return rc < 0 ? rc : 0;
}

int xev__os_unix_pair(bool datagram, xev_fd *a, xev_fd *b) {
    return xev__sys_socketpair(AF_UNIX, datagram ? SOCK_DGRAM : SOCK_STREAM, a, b);
}

int xev__os_unix_bind(xev_fd fd, const xev_addr *addr) {
    return xev__sys_result(bind(fd, xev__sys_addr(addr), addr->len_bytes));
}

/* The program may have filled in the address by itself. bind(2) and connect(2) refuse such a
 * length, too. */
static bool is_too_long(const xev_addr *addr) {
    return addr->len_bytes > sizeof(struct sockaddr_un);
}

/* The path of addr in out, which has room for a zero at its end; NULL: addr is no path. */
static const char *path_of(const xev_addr *addr, char out[XEV_UNIX_NAME_MAX + 1]) {
    size_t len;
    const char *name = xev__os_addr_unix_name(addr, &len);
    if (len == 0 || name[0] == '\0') {
        return NULL;
    }
    XEV_ASSERT(len <= XEV_UNIX_NAME_MAX);
    memcpy(out, name, len);
    out[len] = '\0';
    return out;
}

int xev__os_unix_check_stale(const xev_addr *addr) {
    char text[XEV_UNIX_NAME_MAX + 1];
    struct stat st;
    if (is_too_long(addr) || path_of(addr, text) == NULL || lstat(text, &st) < 0 ||
        !S_ISSOCK(st.st_mode)) {
        return XEV_EADDRINUSE; /* a connect to another kind of file is refused as well */
    }
    /* The type does not matter: a socket of another type that is bound answers EPROTOTYPE. */
    int fd = xev__sys_socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) {
        return fd;
    }
    (void)xev__os_set_nonblocking(fd, true);
    assert(addr->len_bytes <= sizeof(struct sockaddr_un));
    int rc = xev__sys_result(connect(fd, xev__sys_addr(addr), addr->len_bytes));
    (void)close(fd);
    return rc == XEV_ECONNREFUSED ? 0 : XEV_EADDRINUSE;
}

int xev__os_unix_unlink(const xev_addr *addr) {
    if (is_too_long(addr)) {
        return XEV_EINVAL;
    }
    char text[XEV_UNIX_NAME_MAX + 1];
    const char *path = path_of(addr, text);
    struct stat st;
    if (path == NULL) {
        return 0;
    }
    int rc = xev__sys_result(lstat(path, &st));
    if (rc == 0 && !S_ISSOCK(st.st_mode)) {
        return XEV_ENOTSOCK;
    }
    return rc == 0 ? xev__sys_result(unlink(path)) : rc;
}

/* ---- messages ---- */

_Static_assert(sizeof(((xev_unix_msg *)0)->control) >= CMSG_SPACE(XEV_UNIX_FDS_MAX * sizeof(int)),
               "control fits");

static struct msghdr *unix_header(xev_unix_msg *msg) {
    struct msghdr *h = (struct msghdr *)(void *)msg->header;
    msg->vec.base = msg->buf;
    msg->vec.len_bytes = msg->len_bytes;
    xev__os_msg_init(msg->header, &msg->vec, 1);
    return h;
}

void xev__os_unix_send(xev_unix_msg *msg) {
    struct msghdr *h = unix_header(msg);
    if (msg->addr.len_bytes > 0) {
        h->msg_name = msg->addr.storage;
        h->msg_namelen = msg->addr.len_bytes;
    }
    XEV_ASSERT(msg->fds_len <= XEV_UNIX_FDS_MAX); /* the room in msg->control */
    if (msg->fds_len > 0) {
        size_t bytes = msg->fds_len * sizeof(int);
        h->msg_control = msg->control;
        h->msg_controllen = (socklen_t)CMSG_SPACE(bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(h);
        memset(c, 0, sizeof *c); /* where its length is shorter than the kernel's, the rest too */
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = (socklen_t)CMSG_LEN(bytes);
        memcpy(CMSG_DATA(c), msg->fds, bytes);
    }
}

void xev__os_unix_receive(xev_unix_msg *msg) {
    struct msghdr *h = unix_header(msg);
    h->msg_name = msg->addr.storage;
    h->msg_namelen = sizeof msg->addr.storage;
    /* Room for as many descriptors as a message can have. Those that the caller has no room for are
     * closed afterwards. The kernel cannot be told the caller's number: it counts the room in
     * larger steps, and may store one more. */
    h->msg_control = msg->control;
    h->msg_controllen = sizeof msg->control;
    msg->addr.len_bytes = 0;
    msg->fds_len = 0;
    msg->truncated = msg->fds_truncated = false;
}

void xev__os_unix_received(xev_unix_msg *msg) {
    struct msghdr *h = (struct msghdr *)(void *)msg->header;
    assert(h->msg_namelen <= sizeof msg->addr.storage);
    msg->addr.len_bytes = h->msg_namelen;
    assert(msg->fds_len == 0); /* since xev__os_unix_receive */
    msg->truncated = (h->msg_flags & MSG_TRUNC) != 0;
    msg->fds_truncated = (h->msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        assert(c->cmsg_len >= CMSG_LEN(0));
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (msg->fds_len == msg->fds_max) {
                (void)close(fd);
                fd = XEV_INVALID_FD;
            }
            fd = xev__os_above_std(fd);
            if (fd >= 0) {
                xev__sys_arrived(fd);
                msg->fds[msg->fds_len++] = fd;
            } else {
                msg->fds_truncated = true;
            }
        }
    }
}

bool xev__os_msg_is_to_unix(const void *msg) {
    const struct msghdr *h = msg;
    const struct sockaddr *to = h->msg_name;
    return to != NULL && to->sa_family == AF_UNIX;
}
