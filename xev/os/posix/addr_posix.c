/* POSIX: addresses, as text and as the system's structures. */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "xev/error.h"
#include "xev/os/addr.h"
#include "xev/os/posix/sys.h"

_Static_assert(sizeof(((xev_addr *)0)->storage) >= sizeof(struct sockaddr_in6), "address fits");

/* The interface of that number or name; 0: there is none. */
static uint32_t scope_index(const char *scope) {
    uint64_t index = 0;
    const char *p = scope;
    for (; *p >= '0' && *p <= '9' && index <= UINT32_MAX; p++) {
        index = index * 10 + (uint64_t)(*p - '0');
    }
    return *p != '\0' ? xev__sys_interface_index(scope) : index <= UINT32_MAX ? (uint32_t)index : 0;
}

int xev__os_addr_parse(xev_addr *addr, const char *host, uint32_t port) {
    assert(host != NULL && port <= 65535);
    memset(addr, 0, sizeof *addr);
    struct in_addr four; /* musl stores what it has read before it finds that it is none */
    if (inet_pton(AF_INET, host, &four) == 1) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)addr->storage;
        v4->sin_addr = four;
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        addr->len_bytes = sizeof *v4;
        return 0;
    }
    char text[INET6_ADDRSTRLEN + 16 + 1];
    size_t len = strlen(host);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    if (len >= sizeof text) {
        return XEV_EINVAL;
    }
    memcpy(text, host, len);
    text[len] = '\0';
    char *scope = strchr(text, '%');
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)addr->storage;
    if (scope != NULL) {
        *scope++ = '\0';
        v6->sin6_scope_id = scope_index(scope);
        if (v6->sin6_scope_id == 0) {
            return XEV_EINVAL;
        }
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1) {
        return XEV_EINVAL;
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    addr->len_bytes = sizeof *v6;
    return 0;
}

static sa_family_t family_of(const xev_addr *addr) {
    sa_family_t family;
    memcpy(&family, (const char *)addr->storage + offsetof(struct sockaddr, sa_family),
           sizeof family);
    return family;
}

enum xev_family xev__os_addr_family(const xev_addr *addr) {
    return family_of(addr) == AF_INET    ? XEV_AF_INET
           : family_of(addr) == AF_INET6 ? XEV_AF_INET6
           : family_of(addr) == AF_UNIX  ? XEV_AF_UNIX
                                         : XEV_AF_UNSPEC;
}

uint32_t xev__os_addr_port(const xev_addr *addr) {
    const struct sockaddr_in *v4 = (const void *)addr->storage;
    const struct sockaddr_in6 *v6 = (const void *)addr->storage;
    switch (xev__os_addr_family(addr)) {
    case XEV_AF_INET:
        return ntohs(v4->sin_port);
    case XEV_AF_INET6:
        return ntohs(v6->sin6_port);
    default:
        return 0;
    }
}

uint32_t xev__os_addr_bytes(const xev_addr *addr, void *out) {
    const struct sockaddr_in *v4 = (const void *)addr->storage;
    const struct sockaddr_in6 *v6 = (const void *)addr->storage;
    switch (xev__os_addr_family(addr)) {
    case XEV_AF_INET:
        memcpy(out, &v4->sin_addr, 4);
        return 4;
    case XEV_AF_INET6:
        memcpy(out, &v6->sin6_addr, 16);
        return 16;
    default:
        return 0;
    }
}

void xev__os_addr_from_bytes(xev_addr *addr, const void *bytes, uint32_t len_bytes, uint32_t port) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)addr->storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)addr->storage;
    assert((len_bytes == 4 || len_bytes == 16) && port <= 65535);
    memset(addr, 0, sizeof *addr);
    if (len_bytes == 4) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        memcpy(&v4->sin_addr, bytes, 4);
        addr->len_bytes = sizeof *v4;
    } else {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        memcpy(&v6->sin6_addr, bytes, 16);
        addr->len_bytes = sizeof *v6;
    }
}

int xev__os_addr_format(const xev_addr *addr, char *out, size_t len_bytes) {
    char ip[INET6_ADDRSTRLEN] = "", scope[16] = "";
    bool v6 = xev__os_addr_family(addr) == XEV_AF_INET6;
    if (xev__os_addr_family(addr) == XEV_AF_UNIX) {
        return xev__os_addr_unix_format(addr, out, len_bytes);
    }
    if (v6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)(const void *)addr->storage;
        inet_ntop(AF_INET6, &a->sin6_addr, ip, sizeof ip);
        if (a->sin6_scope_id != 0) {
            snprintf(scope, sizeof scope, "%%%u", (unsigned)a->sin6_scope_id);
        }
    } else if (xev__os_addr_family(addr) == XEV_AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)addr->storage;
        inet_ntop(AF_INET, &a->sin_addr, ip, sizeof ip);
    } else {
        return XEV_EINVAL;
    }
    int n =
        snprintf(out, len_bytes, v6 ? "[%s%s]:%u" : "%s%s:%u", ip, scope, xev__os_addr_port(addr));
    return n >= 0 && (size_t)n < len_bytes ? 0 : XEV_EINVAL;
}
