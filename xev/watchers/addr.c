/* Addresses: arguments are checked here, and the system's part is called. */
#include "xev/addr.h"

#include <assert.h>

#include "xev/core/core.h"
#include "xev/os/addr.h"
#include "xev/unix.h"

int xev_addr_parse(xev_addr *addr, const char *host, uint32_t port) {
    if (addr == NULL || host == NULL || port > 65535) {
        return XEV_EINVAL;
    }
    int rc = xev__os_addr_parse(addr, host, port);
    assert(rc < 0 || (addr->len_bytes > 0 && addr->len_bytes <= sizeof addr->storage));
    return rc;
}

int xev_addr_unix(xev_addr *addr, const char *name, size_t len_bytes) {
    if (addr == NULL || (name == NULL && len_bytes > 0)) {
        return XEV_EINVAL;
    }
    int rc = xev__os_addr_unix(addr, name, len_bytes);
    assert(rc < 0 || (addr->len_bytes > 0 && addr->len_bytes <= sizeof addr->storage));
    return rc;
}

enum xev_family xev_addr_family(const xev_addr *addr) {
    return addr == NULL || addr->len_bytes == 0 ? XEV_AF_UNSPEC : xev__os_addr_family(addr);
}

uint32_t xev_addr_port(const xev_addr *addr) { return addr == NULL ? 0 : xev__os_addr_port(addr); }

int xev_addr_format(const xev_addr *addr, char *out, size_t len_bytes) {
    if (out == NULL || len_bytes == 0) {
        return XEV_EINVAL;
    }
    out[0] = '\0';
    return xev_addr_family(addr) == XEV_AF_UNSPEC ? XEV_EINVAL
                                                  : xev__os_addr_format(addr, out, len_bytes);
}

const char *xev_addr_unix_name(const xev_addr *addr, size_t *len_bytes) {
    xev__check_pointer("xev_addr_unix_name", "room for the length is null", len_bytes);
    if (addr == NULL) {
        *len_bytes = 0;
        return "";
    }
    return xev__os_addr_unix_name(addr, len_bytes);
}
