/* Linux: UDP sockets, and datagrams with segmentation and in batches. */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "xev/error.h"
#include "xev/os/posix/posix.h"
#include "xev/os/socket.h"
#include "xev/os/udp.h"

_Static_assert(sizeof(struct msghdr) <= sizeof(((xev_datagram *)0)->priv.msg), "header fits");
_Static_assert(sizeof(struct sockaddr_in6) <= sizeof(((xev_datagram *)0)->priv.name), "fits");
_Static_assert(offsetof(struct iovec, iov_len) == sizeof(void *), "vec is an iovec");

int xev__os_udp_socket(enum xev_family family, xev_fd *fd) {
    int domain = family == XEV_AF_INET ? AF_INET : family == XEV_AF_INET6 ? AF_INET6 : -1;
    /* Blocking, for the reason given in xev__os_tcp_socket. */
    int rc = xev__sys_socket(domain, SOCK_DGRAM, 0);
    *fd = rc < 0 ? XEV_INVALID_FD : rc;
    if (rc < 0) {
        return rc;
    }
    /* By default a socket gets the datagrams of all groups that any socket of the host has joined.
     * Kernels before 4.20 have no option against that for IPv6. */
#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29
#endif
    if (domain == AF_INET) {
        (void)xev__sys_set_int(*fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    } else {
        (void)xev__sys_set_int(*fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
    }
    return 0;
}

/* From kernel 5.0 on. */
int xev__os_udp_set_gro(xev_fd fd, bool on) {
    int rc = xev__sys_set_int(fd, IPPROTO_UDP, UDP_GRO, on);
    return rc == XEV_ENOPROTOOPT ? XEV_ENOTSUP : rc;
}

/* From kernel 4.18 on. An older kernel ignores the control message and sends one big datagram. */
bool xev__os_udp_has_gso(xev_fd fd) {
    static _Atomic bool has_gso;
    int size;
    socklen_t len = sizeof size;
    if (!has_gso && getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, &len) == 0) {
        has_gso = true;
    }
    return has_gso;
}

/* ---- datagrams ---- */

static struct msghdr *udp_header(xev_datagram *d) { return (struct msghdr *)(void *)d->priv.msg; }

static struct msghdr *init_udp_header(xev_datagram *d, void *base, size_t len_bytes) {
    struct msghdr *m = udp_header(d);
    memset(m, 0, sizeof *m);
    d->priv.vec.base = base;
    d->priv.vec.len_bytes = len_bytes;
    m->msg_iov = (struct iovec *)(void *)&d->priv.vec;
    m->msg_iovlen = 1;
    return m;
}

void xev__os_udp_prepare_recv(xev_datagram *d, void *buf, uint32_t capacity_bytes) {
    struct msghdr *m = init_udp_header(d, buf, capacity_bytes);
    m->msg_name = d->priv.name;
    m->msg_namelen = sizeof d->priv.name;
    m->msg_control = d->priv.control;
    m->msg_controllen = sizeof d->priv.control;
}

void xev__os_udp_prepare_send(xev_datagram *d) {
    struct msghdr *m = init_udp_header(d, (void *)(uintptr_t)d->data, d->len_bytes);
    if (d->peer.len_bytes > 0) {
        m->msg_name = d->peer.storage;
        m->msg_namelen = d->peer.len_bytes;
    }
    if (d->segment_bytes > 0) {
        assert(d->segment_bytes <= UINT16_MAX);
        uint16_t segment = (uint16_t)d->segment_bytes;
        memset(d->priv.control, 0, CMSG_SPACE(sizeof segment));
        m->msg_control = d->priv.control;
        m->msg_controllen = CMSG_SPACE(sizeof segment);
        struct cmsghdr *cm = CMSG_FIRSTHDR(m);
        cm->cmsg_level = IPPROTO_UDP;
        cm->cmsg_type = UDP_SEGMENT;
        cm->cmsg_len = CMSG_LEN(sizeof segment);
        memcpy(CMSG_DATA(cm), &segment, sizeof segment);
    }
}

/* The size of the segments that GRO has joined to one datagram; 0: it is a single one. */
static uint32_t segment_of(struct msghdr *m) {
    for (struct cmsghdr *cm = CMSG_FIRSTHDR(m); cm != NULL; cm = CMSG_NXTHDR(m, cm)) {
        if (cm->cmsg_level == IPPROTO_UDP && cm->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(cm), sizeof size);
            return size > 0 ? (uint32_t)size : 0;
        }
    }
    return 0;
}

void xev__os_udp_describe(xev_datagram *d, uint32_t len_bytes, const void *name, size_t name_bytes,
                          const void *control, size_t control_bytes, bool truncated) {
    d->len_bytes = len_bytes;
    d->truncated = truncated;
    /* In two pieces, which are plain stores: for one, gcc takes a string instruction, which is slow
     * to start. */
    enum { HALF = sizeof d->peer / 2 };
    memset(&d->peer, 0, HALF);
    memset((char *)&d->peer + HALF, 0, sizeof d->peer - HALF);
    /* An address that did not fit is of another family than IP. Its whole length is counted. */
    if (name_bytes <= sizeof d->priv.name) {
        d->peer.len_bytes = (uint32_t)name_bytes;
        memcpy(d->peer.storage, name, name_bytes);
    }
    d->segment_bytes = 0;
    if (control_bytes == 0) {
        return;
    }
    uint64_t aligned[sizeof d->priv.control / sizeof(uint64_t)];
    control_bytes = control_bytes < sizeof aligned ? control_bytes : sizeof aligned;
    memcpy(aligned, control, control_bytes);
    struct msghdr m = {.msg_control = aligned, .msg_controllen = (socklen_t)control_bytes};
    d->segment_bytes = segment_of(&m);
}

void xev__os_udp_received(xev_datagram *d, uint32_t len_bytes) {
    const struct msghdr *m = udp_header(d);
    xev__os_udp_describe(d, len_bytes, d->priv.name, m->msg_namelen, d->priv.control,
                         m->msg_controllen, (m->msg_flags & MSG_TRUNC) != 0);
}

int xev__os_udp_recv(xev_fd fd, xev_datagram *d, void *buf, uint32_t capacity_bytes) {
    assert(buf != NULL || capacity_bytes == 0);
    xev__os_udp_prepare_recv(d, buf, capacity_bytes);
    int rc = xev__os_recvmsg(fd, udp_header(d));
    if (rc >= 0) {
        xev__os_udp_received(d, (uint32_t)rc);
    }
    return rc;
}

int xev__os_udp_send(xev_fd fd, xev_datagram *d) {
    assert(d->data != NULL || d->len_bytes == 0);
    xev__os_udp_prepare_send(d);
    return xev__os_sendmsg(fd, udp_header(d));
}

int xev__os_udp_recv_batch(xev_fd fd, xev_datagram *ds, uint32_t count) {
    assert(ds != NULL && count > 0);
    struct mmsghdr vec[XEV_UDP_BATCH_MAX];
    count = count < XEV_UDP_BATCH_MAX ? count : XEV_UDP_BATCH_MAX;
    for (uint32_t i = 0; i < count; i++) {
        xev__os_udp_prepare_recv(&ds[i], ds[i].buf, ds[i].capacity_bytes);
        vec[i] = (struct mmsghdr){.msg_hdr = *udp_header(&ds[i])};
    }
    int rc;
    do {
        rc = xev__sys_result(recvmmsg(fd, vec, count, MSG_DONTWAIT, NULL));
    } while (rc == XEV_EINTR);
    assert(rc <= (int)count);
    for (int i = 0; i < rc; i++) {
        *udp_header(&ds[i]) = vec[i].msg_hdr;
        xev__os_udp_received(&ds[i], vec[i].msg_len);
    }
    return rc;
}

int xev__os_udp_send_batch(xev_fd fd, xev_datagram *ds, uint32_t count) {
    assert(ds != NULL && count > 0);
    struct mmsghdr vec[XEV_UDP_BATCH_MAX];
    count = count < XEV_UDP_BATCH_MAX ? count : XEV_UDP_BATCH_MAX;
    for (uint32_t i = 0; i < count; i++) {
        xev__os_udp_prepare_send(&ds[i]);
        vec[i] = (struct mmsghdr){.msg_hdr = *udp_header(&ds[i])};
    }
    int rc;
    do {
        rc = xev__sys_result(sendmmsg(fd, vec, count, MSG_DONTWAIT | MSG_NOSIGNAL));
    } while (rc == XEV_EINTR);
    assert(rc <= (int)count);
    return rc;
}
