/* Windows: UDP sockets and datagrams. */
#include <string.h>

#include "xev/os/addr.h"
#include "xev/os/descriptor.h"
#include "xev/os/posix/sys.h"
#include "xev/os/socket.h"
#include "xev/os/udp.h"
#include "xev/os/windows/windows_base.h"

uint32_t xev__sys_interface_index(const char *name) { return if_nametoindex(name); }

/* Whether what the network says of an earlier datagram, that its port or its host cannot be
 * reached, fails the next receive. It must not where that may be one from anybody else. */
static void hear_of_refusals(xev_fd fd, bool on) {
    static const DWORD options[] = {_WSAIOW(IOC_VENDOR, 12), _WSAIOW(IOC_VENDOR, 15)};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) { /* CONNRESET, NETRESET */
        BOOL value = on;
        DWORD n;
        (void)WSAIoctl(xev__win_socket(fd), options[i], &value, sizeof value, NULL, 0, &n, NULL,
                       NULL);
    }
}

int xev__os_udp_socket(enum xev_family family, xev_fd *fd) {
    int domain = family == XEV_AF_INET ? AF_INET : family == XEV_AF_INET6 ? AF_INET6 : -1;
    *fd = XEV_INVALID_FD;
    int rc = domain < 0 ? XEV_EAFNOSUPPORT : xev__win_new_socket(domain, SOCK_DGRAM, fd);
    if (rc == 0) {
        hear_of_refusals(*fd, false);
    }
    return rc;
}

int xev__os_udp_bind(xev_fd fd, const xev_addr *addr, uint32_t flags) {
    if (!xev__win_is_socket(fd)) {
        return xev__os_is_open(fd) ? XEV_ENOTSOCK : XEV_EBADF;
    }
    if ((flags & XEV_UDP_REUSE_PORT) != 0) {
        return XEV_ENOTSUP;
    }
    int rc = xev__win_set_int(
        fd, SOL_SOCKET, (flags & XEV_UDP_REUSE_ADDR) != 0 ? SO_REUSEADDR : SO_EXCLUSIVEADDRUSE, 1);
    if (rc == 0 && xev__os_addr_family(addr) == XEV_AF_INET6) {
        rc = xev__win_set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    return rc == 0 ? xev__win_bind(fd, addr) : rc;
}

int xev__os_udp_connect(xev_fd fd, const xev_addr *addr) {
    if (addr != NULL) {
        int made = xev__win_socket_result(
            fd, connect(xev__win_socket(fd), xev__win_addr(addr), (int)addr->len_bytes));
        if (made == 0) {
            hear_of_refusals(fd, true); /* as POSIX: it is about the one peer */
        }
        return made;
    }
    /* The unspecified address takes the peer away. */
    xev_addr local;
    int rc = xev__os_local_addr(fd, &local);
    if (rc < 0) {
        return rc;
    }
    hear_of_refusals(fd, false);
    memset((char *)local.storage + sizeof(ADDRESS_FAMILY), 0,
           local.len_bytes - sizeof(ADDRESS_FAMILY));
    return xev__win_socket_result(
        fd, connect(xev__win_socket(fd), xev__win_addr(&local), (int)local.len_bytes));
}

/* ---- options ---- */

/* The socket's family: AF_INET, AF_INET6, or a code. */
static int family_of_socket(xev_fd fd) {
    xev_addr local;
    int rc = xev__os_local_addr(fd, &local);
    int family = xev__win_addr(&local)->sa_family;
    return rc < 0 ? rc : family == AF_INET || family == AF_INET6 ? family : XEV_EAFNOSUPPORT;
}

static int set_for_family(xev_fd fd, int v4_name, int v6_name, int value) {
    int family = family_of_socket(fd);
    return family < 0          ? family
           : family == AF_INET ? xev__win_set_int(fd, IPPROTO_IP, v4_name, value)
                               : xev__win_set_int(fd, IPPROTO_IPV6, v6_name, value);
}

int xev__os_udp_membership(xev_fd fd, bool join, const xev_addr *group, const xev_addr *source,
                           uint32_t interface_index) {
    int level = xev__os_addr_family(group) == XEV_AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    if (xev__os_addr_family(group) == XEV_AF_UNSPEC ||
        (source != NULL && xev__os_addr_family(source) != xev__os_addr_family(group))) {
        return XEV_EINVAL;
    }
    if (source == NULL) {
        struct group_req req = {.gr_interface = interface_index};
        memcpy(&req.gr_group, group->storage, group->len_bytes);
        int name = join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP;
        return xev__win_socket_result(
            fd, setsockopt(xev__win_socket(fd), level, name, (const char *)&req, sizeof req));
    }
    struct group_source_req req = {.gsr_interface = interface_index};
    memcpy(&req.gsr_group, group->storage, group->len_bytes);
    memcpy(&req.gsr_source, source->storage, source->len_bytes);
    int name = join ? MCAST_JOIN_SOURCE_GROUP : MCAST_LEAVE_SOURCE_GROUP;
    return xev__win_socket_result(
        fd, setsockopt(xev__win_socket(fd), level, name, (const char *)&req, sizeof req));
}

int xev__os_udp_set_multicast_interface(xev_fd fd, uint32_t interface_index) {
    if (interface_index > INT32_MAX) {
        return XEV_EINVAL;
    }
    /* Of IPv4, an address 0.x.x.x is taken for the number of an interface. */
    int family = family_of_socket(fd);
    return family < 0 ? family
           : family == AF_INET
               ? xev__win_set_int(fd, IPPROTO_IP, IP_MULTICAST_IF, (int)htonl(interface_index))
               : xev__win_set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)interface_index);
}

int xev__os_udp_set_multicast_ttl(xev_fd fd, uint32_t ttl) {
    return ttl > 255 ? XEV_EINVAL
                     : set_for_family(fd, IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, (int)ttl);
}

int xev__os_udp_set_multicast_loop(xev_fd fd, bool on) {
    return set_for_family(fd, IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, on);
}

int xev__os_udp_set_ttl(xev_fd fd, uint32_t ttl) {
    return ttl == 0 || ttl > 255 ? XEV_EINVAL
                                 : set_for_family(fd, IP_TTL, IPV6_UNICAST_HOPS, (int)ttl);
}

int xev__os_udp_set_broadcast(xev_fd fd, bool on) {
    return xev__win_set_int(fd, SOL_SOCKET, SO_BROADCAST, on);
}

int xev__os_udp_set_gro(xev_fd fd, bool on) {
    (void)on;
    return xev__win_is_socket(fd) ? XEV_ENOTSUP : xev__os_is_open(fd) ? XEV_ENOTSOCK : XEV_EBADF;
}

bool xev__os_udp_has_gso(xev_fd fd) {
    (void)fd;
    return false;
}

/* ---- datagrams ---- */

void xev__os_udp_prepare_recv(xev_datagram *d, void *buf, uint32_t capacity_bytes) {
    d->priv.vec.base = buf;
    d->priv.vec.len_bytes = capacity_bytes;
}

void xev__os_udp_prepare_send(xev_datagram *d) {
    d->priv.vec.base = (void *)(uintptr_t)d->data;
    d->priv.vec.len_bytes = d->len_bytes;
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
    xev__os_udp_describe(d, len_bytes, NULL, 0, NULL, 0, false);
}

/* rc, the code of a call, may be what the network says of an earlier datagram. Where there is one
 * peer it is about that one, with POSIX's code. Else, on a socket that the program has made, it is
 * about nobody in particular: XEV_EINTR. */
static int refusal(xev_fd fd, int rc) {
    xev_addr peer;
    if (rc != XEV_ECONNRESET && rc != XEV_ENETRESET) {
        return rc;
    }
    return xev__os_peer_addr(fd, &peer) < 0 ? XEV_EINTR
           : rc == XEV_ECONNRESET           ? XEV_ECONNREFUSED
                                            : XEV_EHOSTUNREACH;
}

/* There are no more in a row than datagrams that were sent before. */
#define REFUSALS_IN_A_ROW 64

int xev__os_udp_recv(xev_fd fd, xev_datagram *d, void *buf, uint32_t capacity_bytes) {
    assert(buf != NULL || capacity_bytes == 0);
    char nothing; /* no room at all would be no receive */
    struct sockaddr_storage from = {0};
    int from_len, rc = XEV_EINTR;
    WSABUF room = {.buf = capacity_bytes > 0 ? buf : &nothing, .len = capacity_bytes};
    DWORD n = 0, flags;
    for (int tries = 0; rc == XEV_EINTR && tries < REFUSALS_IN_A_ROW; tries++) {
        from_len = sizeof from;
        flags = 0;
        rc = xev__win_socket_result(fd,
                                    WSARecvFrom(xev__win_socket(fd), &room, 1, &n, &flags,
                                                (struct sockaddr *)&from, &from_len, NULL, NULL));
        rc = refusal(fd, rc);
    }
    rc = rc == XEV_EINTR ? XEV_EAGAIN : rc;
    bool truncated = rc == XEV_EMSGSIZE;
    if (rc < 0 && !truncated) {
        return rc;
    }
    n = truncated ? capacity_bytes : n;
    xev__os_udp_describe(d, n, &from, (size_t)from_len, NULL, 0, truncated);
    return (int)n;
}

int xev__os_udp_send(xev_fd fd, xev_datagram *d) {
    assert(d->data != NULL || d->len_bytes == 0);
    WSABUF data = {.buf = (char *)(uintptr_t)d->data, .len = d->len_bytes};
    DWORD n = 0;
    const struct sockaddr *to = d->peer.len_bytes > 0 ? xev__win_addr(&d->peer) : NULL;
    int rc = XEV_EINTR;
    for (int tries = 0; rc == XEV_EINTR && tries < REFUSALS_IN_A_ROW; tries++) {
        rc = xev__win_socket_result(fd, WSASendTo(xev__win_socket(fd), &data, 1, &n, 0, to,
                                                  (int)d->peer.len_bytes, NULL, NULL));
        rc = refusal(fd, rc);
    }
    rc = rc == XEV_EINTR ? XEV_EAGAIN : rc;
    if (to == NULL && (rc == XEV_ENOTCONN || rc == XEV_EINVAL)) { /* the second one is Wine's */
        return XEV_EDESTADDRREQ;
    }
    return rc == 0 ? (int)n : rc;
}

/* One call each: Windows has none for several datagrams. */
int xev__os_udp_recv_batch(xev_fd fd, xev_datagram *ds, uint32_t count) {
    int n = 0, rc = 0;
    while ((uint32_t)n < count && n < XEV_UDP_BATCH_MAX &&
           (rc = xev__os_udp_recv(fd, &ds[n], ds[n].buf, ds[n].capacity_bytes)) >= 0) {
        n++;
    }
    return n > 0 ? n : rc;
}

int xev__os_udp_send_batch(xev_fd fd, xev_datagram *ds, uint32_t count) {
    int n = 0, rc = 0;
    while ((uint32_t)n < count && n < XEV_UDP_BATCH_MAX &&
           (rc = xev__os_udp_send(fd, &ds[n])) >= 0) {
        n++;
    }
    return n > 0 ? n : rc;
}
