/* WASI: there are no datagrams. */
#include "xev/os/udp.h"
#include "xev/os/wasi/wasi.h"

int xev__os_udp_socket(enum xev_family family, xev_fd *fd) {
    (void)family;
    *fd = XEV_INVALID_FD;
    return XEV_ENOTSUP;
}

int xev__os_udp_bind(xev_fd fd, const xev_addr *addr, uint32_t flags) {
    (void)addr;
    (void)flags;
    return xev__wasi_lacks(fd);
}

int xev__os_udp_connect(xev_fd fd, const xev_addr *addr) {
    (void)addr;
    return xev__wasi_lacks(fd);
}

int xev__os_udp_membership(xev_fd fd, bool join, const xev_addr *group, const xev_addr *source,
                           uint32_t interface_index) {
    (void)join;
    (void)group;
    (void)source;
    (void)interface_index;
    return xev__wasi_lacks(fd);
}

static int lacks_option(xev_fd fd, uint32_t value) {
    (void)value;
    return xev__wasi_lacks(fd);
}

int xev__os_udp_set_multicast_interface(xev_fd fd, uint32_t interface_index) {
    return lacks_option(fd, interface_index);
}

int xev__os_udp_set_multicast_ttl(xev_fd fd, uint32_t ttl) { return lacks_option(fd, ttl); }
int xev__os_udp_set_multicast_loop(xev_fd fd, bool on) { return lacks_option(fd, on); }
int xev__os_udp_set_ttl(xev_fd fd, uint32_t ttl) { return lacks_option(fd, ttl); }
int xev__os_udp_set_broadcast(xev_fd fd, bool on) { return lacks_option(fd, on); }
int xev__os_udp_set_gro(xev_fd fd, bool on) { return lacks_option(fd, on); }

bool xev__os_udp_has_gso(xev_fd fd) {
    (void)fd;
    return false;
}

void xev__os_udp_prepare_recv(xev_datagram *d, void *buf, uint32_t capacity_bytes) {
    (void)d;
    (void)buf;
    (void)capacity_bytes;
}

void xev__os_udp_prepare_send(xev_datagram *d) { (void)d; }

void xev__os_udp_received(xev_datagram *d, uint32_t len_bytes) { d->len_bytes = len_bytes; }

void xev__os_udp_describe(xev_datagram *d, uint32_t len_bytes, const void *name, size_t name_bytes,
                          const void *control, size_t control_bytes, bool truncated) {
    (void)name;
    (void)name_bytes;
    (void)control;
    (void)control_bytes;
    d->len_bytes = len_bytes;
    d->truncated = truncated;
}

int xev__os_udp_recv(xev_fd fd, xev_datagram *d, void *buf, uint32_t capacity_bytes) {
    (void)d;
    (void)buf;
    (void)capacity_bytes;
    return xev__wasi_lacks(fd);
}

int xev__os_udp_send(xev_fd fd, xev_datagram *d) {
    (void)d;
    return xev__wasi_lacks(fd);
}

int xev__os_udp_recv_batch(xev_fd fd, xev_datagram *ds, uint32_t count) {
    (void)ds;
    (void)count;
    return xev__wasi_lacks(fd);
}

int xev__os_udp_send_batch(xev_fd fd, xev_datagram *ds, uint32_t count) {
    (void)ds;
    (void)count;
    return xev__wasi_lacks(fd);
}
