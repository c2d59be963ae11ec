/* Windows: names of hosts, by Winsock's resolver. */
#include <string.h>

#include "xev/os/dns.h"
#include "xev/os/windows/windows_base.h"

static int name_code(int error) {
    switch (error) {
    case WSAHOST_NOT_FOUND:
    case WSANO_DATA:
        return XEV_ENONAME;
    case WSATRY_AGAIN:
        return XEV_EDNS_AGAIN;
    case WSATYPE_NOT_FOUND:
        return XEV_ENOSERVICE;
    case WSAEAFNOSUPPORT:
        return XEV_EAFNOSUPPORT;
    case WSA_NOT_ENOUGH_MEMORY:
        return XEV_ENOMEM;
    default:
        return XEV_EDNS_FAIL;
    }
}

int xev__os_resolve(const char *host, const char *service, enum xev_family family, xev_addr *addrs,
                    uint32_t max, uint32_t *found) {
    assert(host != NULL && max > 0);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    hints.ai_family = family == XEV_AF_INET    ? AF_INET
                      : family == XEV_AF_INET6 ? AF_INET6
                                               : AF_UNSPEC;
    struct addrinfo *list = NULL;
    char inner[64];
    size_t len = strlen(host);
    if (len > 2 && len - 2 < sizeof inner && host[0] == '[' && host[len - 1] == ']') {
        memcpy(inner, host + 1, len - 2); /* "[::1]", as xev_addr_parse takes it */
        inner[len - 2] = '\0';
        host = inner;
    }
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc == WSATYPE_NOT_FOUND) {
        hints.ai_socktype = SOCK_DGRAM; /* the service may be one of UDP only */
        rc = getaddrinfo(host, service, &hints, &list);
    }
    if (rc != 0) {
        return name_code(rc);
    }
    uint32_t n = 0;
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) ||
            a->ai_addrlen > sizeof addrs->storage) {
            continue;
        }
        if (n < max) {
            addrs[n] = (xev_addr){.len_bytes = (uint32_t)a->ai_addrlen};
            memcpy(addrs[n].storage, a->ai_addr, a->ai_addrlen);
        }
        n++;
    }
    freeaddrinfo(list);
    *found = n;
    return n == 0 ? XEV_ENONAME : (int)(n < max ? n : max);
}

int xev__os_name(const xev_addr *addr, char *name, size_t len_bytes) {
    char found[NI_MAXHOST]; /* for a name that does not fit there is more than one error */
    int rc = getnameinfo(xev__win_addr(addr), (socklen_t)addr->len_bytes, found, sizeof found, NULL,
                         0, NI_NAMEREQD);
    if (rc != 0) {
        return name_code(rc);
    }
    size_t len = strlen(found) + 1;
    if (len > len_bytes) {
        return XEV_ENOBUFS;
    }
    memcpy(name, found, len);
    return 0;
}
