/* Groups by the calls of RFC 3678: Linux, macOS, FreeBSD. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "xev/error.h"
#include "xev/os/addr.h"
#include "xev/os/posix/posix.h"
#include "xev/os/udp.h"

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
        return xev__sys_result(setsockopt(fd, level, name, &req, sizeof req));
    }
    struct group_source_req req = {.gsr_interface = interface_index};
    memcpy(&req.gsr_group, group->storage, group->len_bytes);
    memcpy(&req.gsr_source, source->storage, source->len_bytes);
    int name = join ? MCAST_JOIN_SOURCE_GROUP : MCAST_LEAVE_SOURCE_GROUP;
    return xev__sys_result(setsockopt(fd, level, name, &req, sizeof req));
}

int xev__os_udp_set_multicast_interface(xev_fd fd, uint32_t interface_index) {
    if (interface_index > INT32_MAX) {
        return XEV_EINVAL;
    }
    int domain = xev__sys_domain(fd);
    if (domain == AF_INET) {
        struct ip_mreqn req = {.imr_ifindex = (int)interface_index};
        return xev__sys_result(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &req, sizeof req));
    }
    return domain < 0 ? domain
                      : xev__sys_set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)interface_index);
}
