/* WASI: there is no resolver. */
#include "xev/error.h"
#include "xev/os/dns.h"

int xev__os_resolve(const char *host, const char *service, enum xev_family family, xev_addr *addrs,
                    uint32_t max, uint32_t *found) {
    (void)host;
    (void)service;
    (void)family;
    (void)addrs;
    (void)max;
    (void)found;
    return XEV_ENOTSUP;
}

int xev__os_name(const xev_addr *addr, char *name, size_t len_bytes) {
    (void)addr;
    (void)name;
    (void)len_bytes;
    return XEV_ENOTSUP;
}
