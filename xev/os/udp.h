/* Internal: the system's calls for UDP. Codes are XEV_E*. */
#ifndef XEV_OS_UDP_H
#define XEV_OS_UDP_H

#include "xev/udp.h"

int xev__os_udp_socket(enum xev_family family, xev_fd *fd);
int xev__os_udp_bind(xev_fd fd, const xev_addr *addr, uint32_t flags);
int xev__os_udp_connect(xev_fd fd, const xev_addr *addr); /* NULL: disconnect */
int xev__os_udp_membership(xev_fd fd, bool join, const xev_addr *group, const xev_addr *source,
                           uint32_t interface_index);
int xev__os_udp_set_multicast_interface(xev_fd fd, uint32_t interface_index);
int xev__os_udp_set_multicast_ttl(xev_fd fd, uint32_t ttl);
int xev__os_udp_set_multicast_loop(xev_fd fd, bool on);
int xev__os_udp_set_ttl(xev_fd fd, uint32_t ttl);
int xev__os_udp_set_broadcast(xev_fd fd, bool on);
int xev__os_udp_set_gro(xev_fd fd, bool on);
bool xev__os_udp_has_gso(xev_fd fd);

/* Make d->priv.msg the system's message header, for a receive into buf or for a send. */
void xev__os_udp_prepare_recv(xev_datagram *d, void *buf, uint32_t capacity_bytes);
void xev__os_udp_prepare_send(xev_datagram *d);

/* After a receive: set d's public fields, from the message header that the kernel has filled in, or
 * from the parts that it gave otherwise. len_bytes is the kernel's result. */
void xev__os_udp_received(xev_datagram *d, uint32_t len_bytes);
void xev__os_udp_describe(xev_datagram *d, uint32_t len_bytes, const void *name, size_t name_bytes,
                          const void *control, size_t control_bytes, bool truncated);

/* These never wait. The result is the number of bytes, or of datagrams for a batch, or a code. */
int xev__os_udp_recv(xev_fd fd, xev_datagram *d, void *buf, uint32_t capacity_bytes);
int xev__os_udp_send(xev_fd fd, xev_datagram *d);
int xev__os_udp_recv_batch(xev_fd fd, xev_datagram *ds, uint32_t count);
int xev__os_udp_send_batch(xev_fd fd, xev_datagram *ds, uint32_t count);

#endif
