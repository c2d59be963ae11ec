/* Linux: pipes, Unix sockets, and what kind of file a descriptor is. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "xev/core/core.h"
#include "xev/os/os.h"
#include "xev/os/unix.h"

static int result(long rc) { return rc < 0 ? -errno : (int)rc; }

/* ---- pipes, kinds ---- */

int xev__os_pipe(xev_fd *read_end, xev_fd *write_end) {
    int fd[2];
    int rc = result(pipe2(fd, O_CLOEXEC));
    if (rc == 0) {
        *read_end = fd[0];
        *write_end = fd[1];
    }
    return rc;
}

int xev__os_readv(xev_fd fd, const void *vec, uint32_t count) {
    int rc;
    do {
        rc = result(readv(fd, vec, (int)count));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_writev(xev_fd fd, const void *vec, uint32_t count) {
    int rc;
    do {
        rc = result(writev(fd, vec, (int)count));
    } while (rc == XEV_EINTR);
    return rc;
}

bool xev__os_can_watch(xev_fd fd) {
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {0};
    bool refused = ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0 && errno == EPERM;
    if (ep >= 0) {
        (void)close(ep);
    }
    return !refused;
}

bool xev__os_is_device(xev_fd fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode);
}

bool xev__os_is_stream(xev_fd fd) {
    int type = 0;
    socklen_t len = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

/* ---- addresses ---- */

_Static_assert(sizeof(((xev_addr *)0)->storage) >= sizeof(struct sockaddr_un), "address fits");
_Static_assert(XEV_UNIX_NAME_MAX == sizeof(((struct sockaddr_un *)0)->sun_path), "name fits");

static const struct sockaddr_un *csun(const xev_addr *a) {
    return (const struct sockaddr_un *)(const void *)a->storage;
}

static const struct sockaddr *csa(const xev_addr *a) {
    return (const struct sockaddr *)(const void *)a->storage;
}

#define NAME_AT offsetof(struct sockaddr_un, sun_path)

int xev_addr_unix(xev_addr *addr, const char *name, size_t len_bytes) {
    if (addr == NULL || (name == NULL && len_bytes > 0)) {
        return XEV_EINVAL;
    }
    memset(addr, 0, sizeof *addr);
    bool path = len_bytes > 0 && name[0] != '\0';
    if (len_bytes > (size_t)XEV_UNIX_NAME_MAX - path) {
        return XEV_ENAMETOOLONG;
    }
    if (path && memchr(name, '\0', len_bytes) != NULL) {
        return XEV_EINVAL;
    }
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)addr->storage;
    un->sun_family = AF_UNIX;
    if (len_bytes > 0) {
        memcpy(un->sun_path, name, len_bytes);
    }
    addr->len_bytes = (uint32_t)(NAME_AT + len_bytes + path);
    return 0;
}

const char *xev_addr_unix_name(const xev_addr *addr, size_t *len_bytes) {
    xev__check_pointer("xev_addr_unix_name", "room for the length is null", len_bytes);
    *len_bytes = 0;
    if (addr == NULL) {
        return "";
    }
    const char *name = csun(addr)->sun_path;
    if (xev_addr_family(addr) == XEV_AF_UNIX && addr->len_bytes > NAME_AT) {
        size_t len = addr->len_bytes - NAME_AT;
        /* Of a path the kernel counts the end, or leaves no room for one. */
        *len_bytes = name[0] != '\0' ? strnlen(name, len) : len;
    }
    return name;
}

int xev__os_unix_format(const xev_addr *addr, char *out, size_t len_bytes) {
    size_t len;
    const char *name = xev_addr_unix_name(addr, &len);
    if (len >= len_bytes) {
        return XEV_EINVAL;
    }
    for (size_t i = 0; i < len; i++) {
        out[i] = '@';
        if (name[i] != '\0') {
            out[i] = name[i];
        }
    }
    out[len] = '\0';
    return 0;
}

/* ---- sockets ---- */

int xev__os_unix_socket(bool datagram, xev_fd *fd) {
    *fd = socket(AF_UNIX, (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    return *fd < 0 ? -errno : 0;
}

int xev__os_unix_pair(bool datagram, xev_fd *a, xev_fd *b) {
    int fd[2];
    int rc =
        result(socketpair(AF_UNIX, (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0, fd));
    if (rc == 0) {
        *a = fd[0];
        *b = fd[1];
    }
    return rc;
}

int xev__os_unix_bind(xev_fd fd, const xev_addr *addr) {
    return result(bind(fd, csa(addr), addr->len_bytes));
}

/* NULL: not a path. out has room for one and its end. */
static const char *path_of(const xev_addr *addr, char out[XEV_UNIX_NAME_MAX + 1]) {
    size_t len;
    const char *name = xev_addr_unix_name(addr, &len);
    if (len == 0 || name[0] == '\0') {
        return NULL;
    }
    memcpy(out, name, len);
    out[len] = '\0';
    return out;
}

bool xev__os_unix_is_stale(const xev_addr *addr) {
    char text[XEV_UNIX_NAME_MAX + 1];
    struct stat st;
    if (path_of(addr, text) == NULL || lstat(text, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        return false; /* another kind of file would refuse, too */
    }
    /* Of whatever type the one who answers is: another type is refused as such. */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    int rc = result(connect(fd, csa(addr), addr->len_bytes));
    (void)close(fd);
    return rc == XEV_ECONNREFUSED;
}

int xev__os_unix_unlink(const xev_addr *addr) {
    char text[XEV_UNIX_NAME_MAX + 1];
    const char *path = path_of(addr, text);
    struct stat st;
    if (path == NULL) {
        return 0;
    }
    int rc = result(lstat(path, &st));
    if (rc == 0 && !S_ISSOCK(st.st_mode)) {
        return XEV_ENOTSOCK;
    }
    return rc == 0 ? result(unlink(path)) : rc;
}

int xev__os_unix_peer_cred(xev_fd fd, xev_unix_cred *cred) {
    struct ucred peer = {.pid = 0, .uid = 0, .gid = 0};
    socklen_t len = sizeof peer;
    int rc = result(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len));
    if (rc == 0 && peer.uid == (uid_t)-1) {
        rc = XEV_ENOTCONN; /* what the kernel says of a socket without a peer */
    }
    *cred = (xev_unix_cred){.pid = 0, .uid = UINT32_MAX, .gid = UINT32_MAX};
    if (rc == 0) {
        *cred = (xev_unix_cred){.pid = peer.pid, .uid = peer.uid, .gid = peer.gid};
    }
    return rc;
}

/* ---- messages ---- */

_Static_assert(sizeof(((xev_unix_msg *)0)->control) >= CMSG_SPACE(XEV_UNIX_FDS_MAX * sizeof(int)),
               "control fits");

static struct msghdr *header(xev_unix_msg *msg) {
    struct msghdr *h = (struct msghdr *)(void *)msg->header;
    msg->vec.base = msg->buf;
    msg->vec.len_bytes = msg->len_bytes;
    xev__os_msg_init(msg->header, &msg->vec, 1);
    return h;
}

void xev__os_unix_send(xev_unix_msg *msg) {
    struct msghdr *h = header(msg);
    if (msg->addr.len_bytes > 0) {
        h->msg_name = msg->addr.storage;
        h->msg_namelen = msg->addr.len_bytes;
    }
    if (msg->fds_len > 0) {
        size_t bytes = msg->fds_len * sizeof(int);
        h->msg_control = msg->control;
        h->msg_controllen = CMSG_SPACE(bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(c), msg->fds, bytes);
    }
}

void xev__os_unix_receive(xev_unix_msg *msg) {
    struct msghdr *h = header(msg);
    h->msg_name = msg->addr.storage;
    h->msg_namelen = sizeof msg->addr.storage;
    /* Room for all there can be: what is too much for the caller is closed by us, as the kernel's
     * room comes in steps and would let one slip in. */
    h->msg_control = msg->control;
    h->msg_controllen = sizeof msg->control;
    msg->addr.len_bytes = 0;
    msg->fds_len = 0;
    msg->truncated = msg->fds_truncated = false;
}

void xev__os_unix_received(xev_unix_msg *msg) {
    struct msghdr *h = (struct msghdr *)(void *)msg->header;
    msg->addr.len_bytes = h->msg_namelen;
    msg->truncated = (h->msg_flags & MSG_TRUNC) != 0;
    msg->fds_truncated = (h->msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (msg->fds_len < msg->fds_max) {
                msg->fds[msg->fds_len++] = fd;
            } else {
                (void)close(fd);
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
