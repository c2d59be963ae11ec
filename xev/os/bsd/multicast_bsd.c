/* NetBSD and OpenBSD: groups by the calls before RFC 3678. There are no sources, and IPv4 names an
 * interface by its address. */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "xev/error.h"
#include "xev/os/addr.h"
#include "xev/os/posix/posix.h"
#include "xev/os/udp.h"

/* The first IPv4 address of an interface; of 0, the system's choice. 0 or a code. */
static int interface_address(uint32_t index, struct in_addr *out) {
    char name[IF_NAMESIZE];
    struct ifaddrs *list;
    *out = (struct in_addr){.s_addr = htonl(INADDR_ANY)};
    if (index == 0) {
        return 0;
    }
    if (if_indextoname(index, name) == NULL || getifaddrs(&list) < 0) {
        return -errno;
    }
    int rc = XEV_EADDRNOTAVAIL;
    for (const struct ifaddrs *a = list; a != NULL && rc < 0; a = a->ifa_next) {
        if (a->ifa_addr != NULL && a->ifa_addr->sa_family == AF_INET &&
            strcmp(a->ifa_name, name) == 0) {
            *out = ((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr;
            rc = 0;
        }
    }
    freeifaddrs(list);
    return rc;
}

int xev__os_udp_membership(xev_fd fd, bool join, const xev_addr *group, const xev_addr *source,
                           uint32_t interface_index) {
    if (source != NULL) {
        return XEV_ENOTSUP;
    }
    if (xev__os_addr_family(group) == XEV_AF_INET6) {
        struct ipv6_mreq req = {.ipv6mr_interface = interface_index};
        (void)xev__os_addr_bytes(group, &req.ipv6mr_multiaddr);
        return xev__sys_result(setsockopt(
            fd, IPPROTO_IPV6, join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP, &req, sizeof req));
    }
    if (xev__os_addr_family(group) != XEV_AF_INET) {
        return XEV_EINVAL;
    }
    struct ip_mreq req = {{0}, {0}};
    (void)xev__os_addr_bytes(group, &req.imr_multiaddr);
    int rc = interface_address(interface_index, &req.imr_interface);
    return rc < 0 ? rc
                  : xev__sys_result(setsockopt(fd, IPPROTO_IP,
                                               join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, &req,
                                               sizeof req));
}

int xev__os_udp_set_multicast_interface(xev_fd fd, uint32_t interface_index) {
    if (interface_index > INT32_MAX) {
        return XEV_EINVAL;
    }
    int domain = xev__sys_domain(fd);
    if (domain == AF_INET) {
        struct in_addr addr;
        int rc = interface_address(interface_index, &addr);
        return rc < 0 ? rc
                      : xev__sys_result(
                            setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &addr, sizeof addr));
    }
    return domain < 0 ? domain
                      : xev__sys_set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)interface_index);
}
