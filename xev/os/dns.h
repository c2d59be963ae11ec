/* Internal: the system's calls for names of hosts. They block, so pool threads make them. Codes are
 * XEV_E*. */
#ifndef XEV_OS_DNS_H
#define XEV_OS_DNS_H

#include "xev/addr.h"

/* The addresses of a name. Arguments and result are those of xev_dns_resolve. */
int xev__os_resolve(const char *host, const char *service, enum xev_family family, xev_addr *addrs,
                    uint32_t max, uint32_t *found);
/* The name of an address, as xev_dns_name. */
int xev__os_name(const xev_addr *addr, char *name, size_t len_bytes);

#endif
