/* Internal: the system's calls for names. They block: for pool threads. Codes are XEV_E*. */
#ifndef XEV_OS_DNS_H
#define XEV_OS_DNS_H

#include "xev/addr.h"

/* Names; family and result as in dns.h. */
int xev__os_resolve(const char *host, const char *service, enum xev_family family, xev_addr *addrs,
                    uint32_t max, uint32_t *found);
int xev__os_name(const xev_addr *addr, char *name, size_t len_bytes);

#endif
