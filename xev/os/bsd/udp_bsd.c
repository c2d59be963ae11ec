/* macOS and the BSDs: UDP sockets and datagrams. There are no segments, and a batch is one call for
 * each datagram. */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "xev/error.h"
#include "xev/os/posix/posix.h"
#include "xev/os/socket.h"
#include "xev/os/udp.h"

int xev__os_udp_socket(enum xev_family family, xev_fd *fd) {
    int domain = family == XEV_AF_INET ? AF_INET : family == XEV_AF_INET6 ? AF_INET6 : -1;
    int rc = xev__sys_socket(domain, SOCK_DGRAM, 0);
    *fd = rc < 0 ? XEV_INVALID_FD : rc;
    return rc < 0 ? rc : 0;
}

int xev__os_udp_set_gro(xev_fd fd, bool on) {
    (void)fd;
    (void)on;
    return XEV_ENOTSUP;
}

bool xev__os_udp_has_gso(xev_fd fd) {
    (void)fd;
    return false;
}

/* ---- datagrams ---- */

static struct msghdr *datagram_header(xev_datagram *d, void *base, size_t len_bytes) {
    struct msghdr *m = (struct msghdr *)(void *)d->priv.msg;
    memset(m, 0, sizeof *m);
    d->priv.vec.base = base;
    d->priv.vec.len_bytes = len_bytes;
    m->msg_iov = (struct iovec *)(void *)&d->priv.vec;
    m->msg_iovlen = 1;
    return m;
}

void xev__os_udp_prepare_recv(xev_datagram *d, void *buf, uint32_t capacity_bytes) {
    struct msghdr *m = datagram_header(d, buf, capacity_bytes);
    m->msg_name = d->priv.name;
    m->msg_namelen = sizeof d->priv.name;
}

void xev__os_udp_prepare_send(xev_datagram *d) {
    struct msghdr *m = datagram_header(d, (void *)(uintptr_t)d->data, d->len_bytes);
    assert(d->segment_bytes == 0);
    if (d->peer.len_bytes > 0) {
        m->msg_name = d->peer.storage;
        m->msg_namelen = d->peer.len_bytes;
    }
}

void xev__os_udp_describe(xev_datagram *d, uint32_t len_bytes, const void *name, size_t name_bytes,
                          const void *control, size_t control_bytes, bool truncated) {
    (void)control;
    (void)control_bytes;
    d->len_bytes = len_bytes;
    d->truncated = truncated;
    d->segment_bytes = 0;
    memset(&d->peer, 0, sizeof d->peer);
    if (name_bytes <= sizeof d->priv.name) {
        d->peer.len_bytes = (uint32_t)name_bytes;
        memcpy(d->peer.storage, name, name_bytes);
    }
}

void xev__os_udp_received(xev_datagram *d, uint32_t len_bytes) {
    const struct msghdr *m = (const struct msghdr *)(const void *)d->priv.msg;
    xev__os_udp_describe(d, len_bytes, d->priv.name, m->msg_namelen, NULL, 0,
                         (m->msg_flags & MSG_TRUNC) != 0);
}

int xev__os_udp_recv(xev_fd fd, xev_datagram *d, void *buf, uint32_t capacity_bytes) {
    assert(buf != NULL || capacity_bytes == 0);
    xev__os_udp_prepare_recv(d, buf, capacity_bytes);
    int rc = xev__os_recvmsg(fd, d->priv.msg);
    if (rc >= 0) {
        xev__os_udp_received(d, (uint32_t)rc);
    }
    return rc;
}

int xev__os_udp_send(xev_fd fd, xev_datagram *d) {
    assert(d->data != NULL || d->len_bytes == 0);
    xev__os_udp_prepare_send(d);
    return xev__os_sendmsg(fd, d->priv.msg);
}

int xev__os_udp_recv_batch(xev_fd fd, xev_datagram *ds, uint32_t count) {
    assert(ds != NULL && count > 0);
    uint32_t done = 0;
    int rc = 0;
    while (done < count && done < XEV_UDP_BATCH_MAX) {
        rc = xev__os_udp_recv(fd, &ds[done], ds[done].buf, ds[done].capacity_bytes);
        if (rc < 0) {
            break;
        }
        done++;
    }
    return done > 0 ? (int)done : rc;
}

int xev__os_udp_send_batch(xev_fd fd, xev_datagram *ds, uint32_t count) {
    assert(ds != NULL && count > 0);
    uint32_t done = 0;
    int rc = 0;
    while (done < count && done < XEV_UDP_BATCH_MAX) {
        rc = xev__os_udp_send(fd, &ds[done]);
        if (rc < 0) {
            break;
        }
        done++;
    }
    return done > 0 ? (int)done : rc;
}
