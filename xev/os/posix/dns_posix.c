/* POSIX: names of hosts, by the C library's resolver. The resolver allocates memory; no other file
 * of this folder does. */
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "xev/error.h"
#include "xev/os/dns.h"

/* code: the resolver's; errno was 0 before the call. Only errno says that descriptors or memory
 * were lacking. Without descriptors glibc 2.36 answers "no such name" (EAI_NONAME) for every name
 * as long as it has not read nsswitch.conf, and EAI_SYSTEM later. */
static int dns_code(int code) {
    assert(code != 0);
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
        return -errno;
    }
    switch (code) {
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return XEV_ENONAME;
    case EAI_AGAIN:
        return XEV_EDNS_AGAIN;
    case EAI_SERVICE:
        return XEV_ENOSERVICE;
    case EAI_FAMILY:
        return XEV_EAFNOSUPPORT;
    case EAI_MEMORY:
        return XEV_ENOMEM;
    case EAI_OVERFLOW:
        return XEV_ENOBUFS;
    case EAI_SYSTEM:
        return errno != 0 ? -errno : XEV_EDNS_FAIL;
    default:
        return XEV_EDNS_FAIL;
    }
}

int xev__os_resolve(const char *host, const char *service, enum xev_family family, xev_addr *addrs,
                    uint32_t max, uint32_t *found) {
    assert(host != NULL && max > 0);
    /* One type of sockets, or the resolver would list each address once for each type. */
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
    errno = 0;
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc == EAI_SERVICE) {
        hints.ai_socktype = SOCK_DGRAM; /* the service may be one of UDP only */
        errno = 0;
        rc = getaddrinfo(host, service, &hints, &list);
    }
    if (rc != 0) {
        return dns_code(rc);
    }
    uint32_t n = 0;
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) ||
            a->ai_addrlen > sizeof addrs->storage) {
            continue;
        }
        if (n < max) {
            addrs[n] = (xev_addr){.len_bytes = a->ai_addrlen};
            memcpy(addrs[n].storage, a->ai_addr, a->ai_addrlen);
        }
        n++;
    }
    freeaddrinfo(list);
    assert(n <= INT32_MAX);
    *found = n;
    return n == 0 ? XEV_ENONAME : (int)(n < max ? n : max);
}

int xev__os_name(const xev_addr *addr, char *name, size_t len_bytes) {
    errno = 0;
    int rc = getnameinfo((const struct sockaddr *)(const void *)addr->storage, addr->len_bytes,
                         name, (socklen_t)len_bytes, NULL, 0, NI_NAMEREQD);
    return rc == 0 ? 0 : dns_code(rc);
}
