/* Socket addresses, as values: IPv4, IPv6 and Unix.
 *
 *     xev_addr addr;
 *     if (xev_addr_parse(&addr, "127.0.0.1", 8080) == 0) ...
 *
 * For names of hosts see dns.h, for Unix sockets unix.h (xev_addr_unix).
 */
#ifndef XEV_ADDR_H
#define XEV_ADDR_H

#include <stddef.h>
#include <stdint.h>

#include "xev/error.h"

enum xev_family { XEV_AF_UNSPEC = 0, XEV_AF_INET = 1, XEV_AF_INET6 = 2, XEV_AF_UNIX = 3 };

/* Room for any address as text, with its terminator. */
#define XEV_ADDR_TEXT_BYTES 112

/* Private: a sockaddr of the platform, and its length. A zeroed one is no address. */
typedef struct xev_addr {
    uint32_t len_bytes;
    uint32_t reserved;
    uint64_t storage[15];
} xev_addr;

XEV_BEGIN_DECLS

/* An address from a literal host ("127.0.0.1", "::1", "[::1]", "::", "fe80::1%eth0") and a port, 0
 * to 65535. Names are not looked up. 0, or XEV_EINVAL (also for NULL). Any thread. */
XEV_NODISCARD int xev_addr_parse(xev_addr *addr, const char *host, uint32_t port);

/* An address from text with its port: "127.0.0.1:80", "[::1]:80" (the brackets must be there);
 * "unix:/run/app.sock", or "unix:@name" for an abstract name. 0, XEV_EINVAL (also for NULL),
 * XEV_ENAMETOOLONG (the path). Any thread. */
XEV_NODISCARD int xev_addr_from_text(xev_addr *addr, const char *text);

/* Write an address as text, "1.2.3.4:80" or "[::1]:80", to out, which has len_bytes of room
 * (XEV_ADDR_TEXT_BYTES is enough). Always terminated, unless len_bytes is 0. For a Unix socket see
 * unix.h. 0, or XEV_EINVAL (NULL, no address, or too little room). Any thread. */
int xev_addr_format(const xev_addr *addr, char *out, size_t len_bytes);

/* The family of an address; XEV_AF_UNSPEC for NULL and for a zeroed one. Any thread. */
enum xev_family xev_addr_family(const xev_addr *addr);

/* The bytes of an IP address in network order, without port and scope, to out, which has 16 bytes.
 * Returns their number: 4, 16, or 0 where it is no IP address (NULL included). Any thread. */
uint32_t xev_addr_bytes(const xev_addr *addr, void *out);

/* An IP address from 4 or 16 bytes in network order, and a port. 0, or XEV_EINVAL (NULL, another
 * len_bytes, a port above 65535). Any thread. */
XEV_NODISCARD int xev_addr_from_bytes(xev_addr *addr, const void *bytes, size_t len_bytes,
                                      uint32_t port);

/* The port of an address, 0 to 65535; 0 for NULL, and for an address without a port. Any thread. */
uint32_t xev_addr_port(const xev_addr *addr);

XEV_END_DECLS

#endif
