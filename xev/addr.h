/* Socket addresses, as a value of our own. */
#ifndef XEV_ADDR_H
#define XEV_ADDR_H

#include <stddef.h>
#include <stdint.h>

#include "xev/error.h"

enum xev_family { XEV_AF_UNSPEC = 0, XEV_AF_INET = 1, XEV_AF_INET6 = 2, XEV_AF_UNIX = 3 };

/* XEV_ADDR_TEXT_BYTES holds any address as text with its terminator. */
#define XEV_ADDR_TEXT_BYTES 112

/* Private: a sockaddr of the platform and its length. A zeroed one is "no address". */
typedef struct xev_addr {
    uint32_t len_bytes;
    uint32_t reserved;
    uint64_t storage[15];
} xev_addr;

XEV_BEGIN_DECLS

/* From a literal host ("127.0.0.1", "::1", "[::1]", "::", "fe80::1%eth0"; no name look-up) and a
 * port 0 to 65535. 0 or XEV_EINVAL (also where addr or host is NULL). Any thread. */
XEV_NODISCARD int xev_addr_parse(xev_addr *addr, const char *host, uint32_t port);

/* "1.2.3.4:80" or "[::1]:80" into out (len_bytes in size, always terminated; XEV_ADDR_TEXT_BYTES
 * is enough); for a Unix socket see unix.h. 0 or XEV_EINVAL (no such address, NULL included, or no
 * or too little room). Any thread. */
int xev_addr_format(const xev_addr *addr, char *out, size_t len_bytes);

/* XEV_AF_UNSPEC where there is none: for NULL, and a zeroed address. Any thread. */
enum xev_family xev_addr_family(const xev_addr *addr);

/* 0 to 65535; 0 for NULL, and for an address without a port. Any thread. */
uint32_t xev_addr_port(const xev_addr *addr);

XEV_END_DECLS

#endif
