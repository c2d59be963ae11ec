/* Internal: the system's calls for addresses. No argument is NULL. Codes are XEV_E*. */
#ifndef XEV_OS_ADDR_H
#define XEV_OS_ADDR_H

#include "xev/addr.h"

/* As the public functions of the same names, whose arguments have been checked: addresses have a
 * family, and ports are at most 65535. */
int xev__os_addr_parse(xev_addr *addr, const char *host, uint32_t port);
int xev__os_addr_unix(xev_addr *addr, const char *name, size_t len_bytes);
enum xev_family xev__os_addr_family(const xev_addr *addr);
uint32_t xev__os_addr_port(const xev_addr *addr);
uint32_t xev__os_addr_bytes(const xev_addr *addr, void *out);
void xev__os_addr_from_bytes(xev_addr *addr, const void *bytes, uint32_t len_bytes, uint32_t port);
/* The part of format for Unix sockets. */
int xev__os_addr_unix_format(const xev_addr *addr, char *out, size_t len_bytes);
int xev__os_addr_format(const xev_addr *addr, char *out, size_t len_bytes);
const char *xev__os_addr_unix_name(const xev_addr *addr, size_t *len_bytes);

#endif
