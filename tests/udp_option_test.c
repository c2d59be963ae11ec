/* UDP: binding, multicast, broadcast and the other options. */
#include <net/if.h>

#include "tests/udp_scene.h"

/* ---- binding ---- */

TEST(an_address_is_shared_only_by_those_who_say_so) {
    struct net n;
    xev_addr at, v6;
    xev_udp a, b, c;
    net_open(&n, NULL);
    for (uint32_t flag = XEV_UDP_REUSE_PORT; flag <= XEV_UDP_REUSE_ADDR; flag++) {
        a = bound("127.0.0.1", &at);
        CHECK_EQ(xev_udp_init(&b, XEV_AF_INET), 0);
        CHECK_EQ(xev_udp_bind(b, &at, flag), XEV_EADDRINUSE);
        CHECK_EQ(xev_udp_close_now(a), 0);
        CHECK_EQ(xev_udp_bind(b, &at, flag), 0);
        CHECK_EQ(xev_udp_init(&a, XEV_AF_INET), 0);
        CHECK_EQ(xev_udp_bind(a, &at, 0), XEV_EADDRINUSE);
        CHECK_EQ(xev_udp_bind(a, &at, flag), 0);
        CHECK_EQ(xev_udp_close_now(a), 0);
        CHECK_EQ(xev_udp_close_now(b), 0);
    }
    /* IPv6 takes IPv6 only. */
    at = address("0.0.0.0", 0);
    CHECK_EQ(xev_udp_init(&a, XEV_AF_INET), 0);
    CHECK_EQ(xev_udp_bind(a, &at, 0), 0);
    CHECK_EQ(xev_udp_local_addr(a, &at), 0);
    v6 = address("::", xev_addr_port(&at));
    CHECK_EQ(xev_udp_init(&c, XEV_AF_INET6), 0);
    CHECK_EQ(xev_udp_bind(c, &v6, 0), 0);
    CHECK_EQ(xev_udp_close_now(a), 0);
    CHECK_EQ(xev_udp_close_now(c), 0);
    net_close(&n);
}

/* So many that two of them would have the same port, if the kernel were to choose it among those
 * that can be shared. */
TEST(a_chosen_port_is_nobody_elses) {
    enum { SOCKETS = 800 };
    static xev_udp sockets[SOCKETS];
    static unsigned char seen[65536];
    for (uint32_t flags = XEV_UDP_REUSE_PORT; flags <= (XEV_UDP_REUSE_PORT | XEV_UDP_REUSE_ADDR);
         flags++) {
        xev_addr at, same;
        memset(seen, 0, sizeof seen);
        for (int i = 0; i < SOCKETS; i++) {
            at = address("127.0.0.1", 0);
            CHECK_EQ(xev_udp_init(&sockets[i], XEV_AF_INET), 0);
            CHECK_EQ(xev_udp_bind(sockets[i], &at, flags), 0);
            CHECK_EQ(xev_udp_local_addr(sockets[i], &at), 0);
            CHECK_EQ(seen[xev_addr_port(&at)]++, 0);
        }
        same = at;
        CHECK_EQ(xev_udp_close_now(sockets[0]), 0);
        CHECK_EQ(xev_udp_init(&sockets[0], XEV_AF_INET), 0);
        CHECK_EQ(xev_udp_bind(sockets[0], &same, flags), 0);
        for (int i = 0; i < SOCKETS; i++) {
            CHECK_EQ(xev_udp_close_now(sockets[i]), 0);
        }
    }
}

/* ---- multicast and broadcast ---- */

static uint32_t loopback_interface(void) {
    uint32_t index = if_nametoindex("lo");
    CHECK_GT(index, 0);
    return index;
}

/* An interface with a route for the group: not the loopback one for IPv6, as a rule. 0: none. */
static uint32_t interface_to(const xev_addr *group) {
    struct if_nameindex *all = if_nameindex();
    uint32_t found = 0;
    CHECK(all != NULL);
    for (struct if_nameindex *i = all; found == 0 && i->if_index != 0; i++) {
        xev_udp udp;
        CHECK_EQ(xev_udp_init(&udp, xev_addr_family(group)), 0);
        if (xev_udp_set_multicast_interface(udp, i->if_index) == 0 &&
            xev_udp_connect(udp, group) == 0) {
            found = i->if_index;
        }
        CHECK_EQ(xev_udp_close_now(udp), 0);
    }
    if_freenameindex(all);
    return found;
}

/* A member-to-be on a port of its own, and a sender, by one interface. */
static struct pair multicast_pair(const char *any, const char *group, xev_addr *to, uint32_t *by) {
    struct pair p;
    p.in = bound(any, &p.in_at);
    p.out = bound(any, &p.out_at);
    *to = address(group, xev_addr_port(&p.in_at));
    *by = interface_to(to);
    if (*by > 0) {
        CHECK_EQ(xev_udp_set_multicast_interface(p.out, *by), 0);
    }
    return p;
}

static xev_addr unicast_to(const struct pair *p, const char *host) {
    return address(host, xev_addr_port(&p->in_at));
}

static void membership(const char *any, const char *group, const char *host) {
    struct net n;
    xev_addr to;
    uint32_t by;
    net_open(&n, NULL);
    struct pair p = multicast_pair(any, group, &to, &by);
    xev_addr marker = unicast_to(&p, host);
    uint32_t lo = by > 0 ? by : loopback_interface();
    CHECK_EQ(xev_udp_leave(p.in, &to, NULL, lo), XEV_EADDRNOTAVAIL);
    CHECK_EQ(xev_udp_join(p.in, &to, NULL, lo), 0);
    CHECK_EQ(xev_udp_join(p.in, &to, NULL, lo), XEV_EADDRINUSE);
    if (by > 0) {
        CHECK_EQ(send_to(&n, p.out, "group", 5, &to), 5);
        expect(&n, p.in, "group", NULL);
    }
    if (by > 0 && by != loopback_interface()) {
        /* The loopback interface brings back what it sends in any case. */
        CHECK_EQ(xev_udp_set_multicast_loop(p.out, false), 0);
        CHECK_EQ(send_to(&n, p.out, "unheard", 7, &to), 7);
        CHECK_EQ(xev_udp_set_multicast_loop(p.out, true), 0);
        CHECK_EQ(send_to(&n, p.out, "heard", 5, &to), 5);
        expect(&n, p.in, "heard", NULL);
    }
    CHECK_EQ(xev_udp_leave(p.in, &to, NULL, lo), 0);
    if (by > 0) {
        CHECK_EQ(send_to(&n, p.out, "left", 4, &to), 4);
    }
    CHECK_EQ(send_to(&n, p.out, "marker", 6, &marker), 6);
    expect(&n, p.in, "marker", NULL);
    CHECK_EQ(xev_udp_leave(p.in, &to, NULL, lo), XEV_EADDRNOTAVAIL);
    pair_close(&n, &p);
    net_close(&n);
}

TEST(multicast_join_and_leave_v4) { membership("0.0.0.0", "239.255.71.1", "127.0.0.1"); }
TEST(multicast_join_and_leave_v6) { membership("::", "ff11::7101", "::1"); }

/* The users of an IPv6 group on the loopback interface, as the kernel counts them. */
static int users_of(const char *group_in_hex) {
    FILE *f = fopen("/proc/net/igmp6", "re");
    char line[256], name[32], group[64];
    int users = 0, n = 0;
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%*u %31s %63s %d", name, group, &n) == 3 && strcmp(name, "lo") == 0 &&
            strcmp(group, group_in_hex) == 0) {
            users += n;
        }
    }
    fclose(f);
    return users;
}

/* Where only the loopback interface is, it has no route for IPv6 multicast, and nothing arrives
 * that would tell members from others. */
TEST(multicast_v6_join_and_leave_reach_the_interface) {
    struct net n;
    xev_addr at;
    xev_udp udp[2];
    char text[64], hex[64];
    unsigned pid = (unsigned)getpid(); /* a group of our own */
    net_open(&n, NULL);
    snprintf(text, sizeof text, "ff11::7105:%x:%x", pid >> 16, pid & 0xffff);
    snprintf(hex, sizeof hex, "ff1100000000000000007105%04x%04x", pid >> 16, pid & 0xffff);
    xev_addr group = address(text, 0);
    CHECK_EQ(users_of(hex), 0);
    for (int i = 0; i < 2; i++) {
        udp[i] = bound("::", &at);
        CHECK_EQ(xev_udp_join(udp[i], &group, NULL, loopback_interface()), 0);
        CHECK_EQ(users_of(hex), i + 1);
    }
    CHECK_EQ(xev_udp_leave(udp[0], &group, NULL, loopback_interface()), 0);
    CHECK_EQ(users_of(hex), 1);
    close_fd(&n, udp[1].fd); /* leaves too */
    CHECK_EQ(users_of(hex), 0);
    close_fd(&n, udp[0].fd);
    net_close(&n);
}

TEST(only_members_get_multicast) {
    static const char *const any[] = {"0.0.0.0", "::"};
    static const char *const group[] = {"239.255.71.2", "ff11::7102"};
    static const char *const host[] = {"127.0.0.1", "::1"};
    for (int i = 0; i < 2; i++) {
        struct net n;
        xev_addr to;
        xev_udp member;
        uint32_t by;
        net_open(&n, NULL);
        struct pair p = multicast_pair(any[i], group[i], &to, &by);
        xev_addr at = p.in_at, marker = unicast_to(&p, host[i]);
        CHECK_EQ(xev_udp_close_now(p.in), 0);
        CHECK_EQ(xev_udp_init(&p.in, xev_addr_family(&at)), 0);
        CHECK_EQ(xev_udp_init(&member, xev_addr_family(&at)), 0);
        CHECK_EQ(xev_udp_bind(member, &at, XEV_UDP_REUSE_ADDR), 0);
        CHECK_EQ(xev_udp_bind(p.in, &at, XEV_UDP_REUSE_ADDR), 0);
        if (by > 0) {
            CHECK_EQ(xev_udp_join(member, &to, NULL, by), 0);
            CHECK_EQ(send_to(&n, p.out, "group", 5, &to), 5);
            expect(&n, member, "group", NULL);
        }
        close_fd(&n, member.fd);
        CHECK_EQ(send_to(&n, p.out, "marker", 6, &marker), 6);
        expect(&n, p.in, "marker", NULL);
        pair_close(&n, &p);
        net_close(&n);
    }
}

TEST(multicast_of_one_source) {
    struct net n;
    xev_addr to, other_at;
    net_open(&n, NULL);
    uint32_t lo = loopback_interface();
    struct pair p = pair_at("0.0.0.0");
    to = address("232.255.71.3", xev_addr_port(&p.in_at));
    CHECK_EQ(xev_udp_close_now(p.out), 0);
    p.out = bound("127.0.0.1", &p.out_at);
    CHECK_EQ(xev_udp_set_multicast_interface(p.out, lo), 0);
    xev_udp other = bound("127.0.0.2", &other_at);
    xev_addr v6 = address("::1", 0);
    CHECK_EQ(xev_udp_set_multicast_interface(other, lo), 0);
    CHECK_EQ(xev_udp_join(p.in, &to, &v6, lo), XEV_EINVAL);
    CHECK_EQ(xev_udp_join(p.in, &to, &other_at, lo), 0);
    CHECK_EQ(send_to(&n, p.out, "wrong", 5, &to), 5);
    CHECK_EQ(send_to(&n, other, "right", 5, &to), 5);
    expect(&n, p.in, "right", &other_at);
    CHECK_EQ(xev_udp_leave(p.in, &to, &other_at, lo), 0);
    close_fd(&n, other.fd);
    pair_close(&n, &p);
    net_close(&n);
}

TEST(membership_of_what_is_no_group_is_an_error) {
    struct net n;
    net_open(&n, NULL);
    xev_addr at, v4 = address("127.0.0.1", 0), v6 = address("::1", 0), none = {0};
    xev_addr group = address("239.255.71.4", 0);
    xev_udp a = bound("127.0.0.1", &at), b = bound("::1", &at);
    CHECK_EQ(xev_udp_join(a, &v4, NULL, loopback_interface()), XEV_EINVAL);
    CHECK_EQ(xev_udp_join(b, &v6, NULL, loopback_interface()), XEV_EINVAL);
    CHECK_EQ(xev_udp_join(a, &none, NULL, 0), XEV_EINVAL);
    CHECK_EQ(xev_udp_join(a, NULL, NULL, 0), XEV_EINVAL);
    CHECK_EQ(xev_udp_leave(a, NULL, NULL, 0), XEV_EINVAL);
    CHECK_EQ(xev_udp_join(a, &group, &none, 0), XEV_EINVAL);
    CHECK_EQ(xev_udp_join(a, &group, NULL, 999999), XEV_ENODEV);
    CHECK_EQ(xev_udp_close_now(a), 0);
    CHECK_EQ(xev_udp_close_now(b), 0);
    CHECK_EQ(xev_udp_join(a, &group, NULL, 0), XEV_EBADF);
    net_close(&n);
}

TEST(broadcast_needs_permission) {
    struct net n;
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    CHECK_EQ(xev_udp_close_now(p.in), 0);
    p.in = bound("0.0.0.0", &p.in_at);
    xev_addr all = unicast_to(&p, "127.255.255.255");
    CHECK_EQ(send_to(&n, p.out, "all", 3, &all), XEV_EACCES);
    CHECK_EQ(xev_udp_set_broadcast(p.out, true), 0);
    CHECK_EQ(send_to(&n, p.out, "all", 3, &all), 3);
    expect(&n, p.in, "all", &p.out_at);
    CHECK_EQ(xev_udp_set_broadcast(p.out, false), 0);
    CHECK_EQ(send_to(&n, p.out, "all", 3, &all), XEV_EACCES);
    pair_close(&n, &p);
    net_close(&n);
}

/* ---- options ---- */

static int get_int(int fd, int level, int name) {
    int value = -1;
    socklen_t len = sizeof value;
    CHECK_EQ(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

TEST(options_reach_the_socket) {
    struct net n;
    net_open(&n, NULL);
    for (int v6 = 0; v6 < 2; v6++) {
        xev_addr at;
        xev_udp udp = bound(v6 ? "::1" : "127.0.0.1", &at);
        int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
        CHECK_EQ(get_int(udp.fd, level, v6 ? IPV6_MULTICAST_HOPS : IP_MULTICAST_TTL), 1);
        CHECK_EQ(xev_udp_set_ttl(udp, 7), 0);
        CHECK_EQ(get_int(udp.fd, level, v6 ? IPV6_UNICAST_HOPS : IP_TTL), 7);
        for (int ttl = 0; ttl <= 255; ttl += 51) {
            CHECK_EQ(xev_udp_set_multicast_ttl(udp, (uint32_t)ttl), 0);
            CHECK_EQ(get_int(udp.fd, level, v6 ? IPV6_MULTICAST_HOPS : IP_MULTICAST_TTL), ttl);
        }
        CHECK_EQ(xev_udp_set_ttl(udp, 0), XEV_EINVAL);
        CHECK_EQ(xev_udp_set_ttl(udp, 256), XEV_EINVAL);
        CHECK_EQ(xev_udp_set_multicast_ttl(udp, 256), XEV_EINVAL);
        CHECK_EQ(xev_udp_set_multicast_interface(udp, UINT32_MAX), XEV_EINVAL);
        CHECK_LT(xev_udp_set_multicast_interface(udp, 999999), 0);
        CHECK_EQ(xev_udp_set_buffers(udp, 10000, 20000), 0);
        CHECK_GE(get_int(udp.fd, SOL_SOCKET, SO_SNDBUF), 10000);
        CHECK_GE(get_int(udp.fd, SOL_SOCKET, SO_RCVBUF), 20000);
        CHECK_EQ(xev_udp_close_now(udp), 0);
    }
    net_close(&n);
}

TEST(options_of_what_is_not_open_are_errors) {
    xev_udp udp = xev_udp_from_fd(XEV_INVALID_FD);
    xev_addr at = address("127.0.0.1", 0);
    CHECK_EQ(xev_udp_bind(udp, &at, 0), XEV_EBADF);
    CHECK_EQ(xev_udp_connect(udp, &at), XEV_EBADF);
    CHECK_EQ(xev_udp_connect(udp, NULL), XEV_EBADF);
    CHECK_EQ(xev_udp_set_multicast_ttl(udp, 1), XEV_EBADF);
    CHECK_EQ(xev_udp_set_multicast_loop(udp, true), XEV_EBADF);
    CHECK_EQ(xev_udp_set_multicast_interface(udp, 1), XEV_EBADF);
    CHECK_EQ(xev_udp_set_ttl(udp, 1), XEV_EBADF);
    CHECK_EQ(xev_udp_set_broadcast(udp, true), XEV_EBADF);
    CHECK_EQ(xev_udp_set_gro(udp, true), XEV_EBADF);
    CHECK_EQ(xev_udp_set_buffers(udp, 1000, 0), XEV_EBADF);
    CHECK_EQ(xev_udp_local_addr(udp, &at), XEV_EBADF);
    CHECK_EQ(xev_udp_peer_addr(udp, &at), XEV_EBADF);
    CHECK_EQ(xev_udp_close_now(udp), XEV_EBADF);
    CHECK_EQ(xev_udp_init(&udp, XEV_AF_UNSPEC), XEV_EAFNOSUPPORT);
    CHECK_EQ(udp.fd, XEV_INVALID_FD);
}
