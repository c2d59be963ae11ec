/* Addresses: arguments are checked here, and the system's part is called. */
#include "xev/addr.h"

#include <assert.h>
#include <string.h>

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

/* "80", and nothing behind it. */
static bool parse_port(const char *text, uint32_t *port) {
    uint32_t n = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9' && n <= 65535; p++) {
        n = n * 10 + (uint32_t)(*p - '0');
    }
    *port = n;
    return p > text && *p == '\0' && n <= 65535;
}

static int unix_from_text(xev_addr *addr, const char *path) {
    char name[XEV_UNIX_NAME_MAX + 1];
    size_t len = strlen(path);
    if (len == 0) {
        return XEV_EINVAL; /* the system would choose a name */
    }
    if (len > XEV_UNIX_NAME_MAX) {
        return XEV_ENAMETOOLONG;
    }
    memcpy(name, path, len);
    if (name[0] == '@') {
        name[0] = '\0';
    }
    return xev_addr_unix(addr, name, len);
}

int xev_addr_from_text(xev_addr *addr, const char *text) {
    if (addr == NULL || text == NULL) {
        return XEV_EINVAL;
    }
    if (strncmp(text, "unix:", 5) == 0) {
        return unix_from_text(addr, text + 5);
    }
    char host[XEV_ADDR_TEXT_BYTES];
    const char *colon = strrchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : 0;
    uint32_t port;
    if (colon == NULL || len >= sizeof host || !parse_port(colon + 1, &port)) {
        return XEV_EINVAL;
    }
    memcpy(host, text, len);
    host[len] = '\0';
    if (strchr(host, ':') != NULL && host[0] != '[') {
        return XEV_EINVAL; /* is its last part the port or not? */
    }
    return xev_addr_parse(addr, host, port);
}

enum xev_family xev_addr_family(const xev_addr *addr) {
    return addr == NULL || addr->len_bytes == 0 ? XEV_AF_UNSPEC : xev__os_addr_family(addr);
}

uint32_t xev_addr_bytes(const xev_addr *addr, void *out) {
    xev__check_pointer("xev_addr_bytes", "room for the bytes is null", out);
    return addr == NULL || addr->len_bytes == 0 ? 0 : xev__os_addr_bytes(addr, out);
}

int xev_addr_from_bytes(xev_addr *addr, const void *bytes, size_t len_bytes, uint32_t port) {
    if (addr == NULL || bytes == NULL || (len_bytes != 4 && len_bytes != 16) || port > 65535) {
        return XEV_EINVAL;
    }
    xev__os_addr_from_bytes(addr, bytes, (uint32_t)len_bytes, port);
    return 0;
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
