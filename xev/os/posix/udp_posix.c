/* POSIX: UDP sockets and datagrams. */
#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "xev/error.h"
#include "xev/os/addr.h"
#include "xev/os/posix/posix.h"
#include "xev/os/socket.h"
#include "xev/os/udp.h"

_Static_assert(sizeof(struct msghdr) <= sizeof(((xev_datagram *)0)->priv.msg), "header fits");
_Static_assert(sizeof(struct sockaddr_in6) <= sizeof(((xev_datagram *)0)->priv.name), "fits");
_Static_assert(offsetof(struct iovec, iov_len) == sizeof(void *), "vec is an iovec");

uint32_t xev__sys_interface_index(const char *name) { return if_nametoindex(name); }

/* The socket's family: AF_INET, AF_INET6, or a code. */
int xev__sys_domain(xev_fd fd) {
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof addr;
    int rc = xev__sys_result(getsockname(fd, (struct sockaddr *)(void *)&addr, &len));
    bool is_ip = addr.ss_family == AF_INET || addr.ss_family == AF_INET6;
    return rc < 0 ? rc : is_ip ? addr.ss_family : XEV_EAFNOSUPPORT;
}

/* Set an option that has a name and level of its own for each family. */
static int set_by_family(xev_fd fd, int v4_name, int v6_name, int value) {
    int domain = xev__sys_domain(fd);
    return domain < 0          ? domain
           : domain == AF_INET ? xev__sys_set_int(fd, IPPROTO_IP, v4_name, value)
                               : xev__sys_set_int(fd, IPPROTO_IPV6, v6_name, value);
}

/* Only where it is asked for, unlike for TCP: with SO_REUSEADDR another socket could bind the same
 * port, and get the datagrams. */
static int udp_set_reuse(xev_fd fd, uint32_t flags) {
    int rc = 0;
    if ((flags & XEV_UDP_REUSE_ADDR) != 0) {
        rc = xev__sys_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    }
    if (rc == 0 && (flags & XEV_UDP_REUSE_PORT) != 0) {
        rc = xev__sys_set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    return rc;
}

int xev__os_udp_bind(xev_fd fd, const xev_addr *addr, uint32_t flags) {
    /* The kernel may choose a port that sockets with the same options have. So with port 0 the
     * socket gets the options when it has its port: those who bind later read them as well. */
    bool chosen = xev__os_addr_port(addr) == 0;
    int rc = chosen ? 0 : udp_set_reuse(fd, flags);
    if (rc == 0 && xev__os_addr_family(addr) == XEV_AF_INET6) {
        rc = xev__sys_set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    if (rc == 0) {
        rc = xev__sys_result(bind(fd, xev__sys_addr(addr), addr->len_bytes));
    }
    return rc == 0 && chosen ? udp_set_reuse(fd, flags) : rc;
}

/* Take the peer away. Linux also gives up the port where it had chosen that, so bind it again. */
static int udp_disconnect(xev_fd fd) {
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    xev_addr before, after;
    int rc = xev__os_local_addr(fd, &before);
    if (rc == 0) {
        rc = xev__sys_result(connect(fd, &none, sizeof none));
    }
    if (rc == 0) {
        rc = xev__os_local_addr(fd, &after);
    }
    if (rc == 0 && xev__os_addr_port(&after) == 0 && xev__os_addr_port(&before) != 0) {
        /* The same port as before, but not the same address: that was chosen for the peer. */
        struct sockaddr_in6 bound; /* room for either family; the port is in the same place */
        assert(after.len_bytes <= sizeof bound);
        memcpy(&bound, after.storage, after.len_bytes);
        bound.sin6_port = htons((uint16_t)xev__os_addr_port(&before));
        rc = xev__sys_result(
            bind(fd, (const struct sockaddr *)(const void *)&bound, after.len_bytes));
    }
    return rc;
}

int xev__os_udp_connect(xev_fd fd, const xev_addr *addr) {
    return addr == NULL ? udp_disconnect(fd)
                        : xev__sys_result(connect(fd, xev__sys_addr(addr), addr->len_bytes));
}

/* ---- options ---- */

int xev__os_udp_set_multicast_ttl(xev_fd fd, uint32_t ttl) {
    return ttl > 255 ? XEV_EINVAL
                     : set_by_family(fd, IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, (int)ttl);
}

int xev__os_udp_set_multicast_loop(xev_fd fd, bool on) {
    return set_by_family(fd, IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, on);
}

int xev__os_udp_set_ttl(xev_fd fd, uint32_t ttl) {
    return ttl == 0 || ttl > 255 ? XEV_EINVAL
                                 : set_by_family(fd, IP_TTL, IPV6_UNICAST_HOPS, (int)ttl);
}

int xev__os_udp_set_broadcast(xev_fd fd, bool on) {
    return xev__sys_set_int(fd, SOL_SOCKET, SO_BROADCAST, on);
}

/* ---- datagrams ---- */
