/* POSIX: the names of Unix sockets. */
#include <assert.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "xev/error.h"
#include "xev/os/addr.h"
#include "xev/unix.h"

_Static_assert(sizeof(((xev_addr *)0)->storage) >= sizeof(struct sockaddr_un), "address fits");
/* 108 bytes on Linux, 104 on macOS and the BSDs. */
#define NAME_MAX_HERE sizeof(((struct sockaddr_un *)0)->sun_path)
_Static_assert(XEV_UNIX_NAME_MAX >= NAME_MAX_HERE, "name fits");

static const struct sockaddr_un *unix_part(const xev_addr *a) {
    return (const struct sockaddr_un *)(const void *)a->storage;
}

#define NAME_AT offsetof(struct sockaddr_un, sun_path)

int xev__os_addr_unix(xev_addr *addr, const char *name, size_t len_bytes) {
    memset(addr, 0, sizeof *addr);
    bool path = len_bytes > 0 && name[0] != '\0';
    if (len_bytes > NAME_MAX_HERE - path) {
        return XEV_ENAMETOOLONG;
    }
    if (path && memchr(name, '\0', len_bytes) != NULL) {
        return XEV_EINVAL;
    }
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)addr->storage;
    un->sun_family = AF_UNIX;
    assert(len_bytes <= sizeof un->sun_path);
    if (len_bytes > 0) {
        memcpy(un->sun_path, name, len_bytes);
    }
    addr->len_bytes = (uint32_t)(NAME_AT + len_bytes + path);
    assert(addr->len_bytes <= sizeof(struct sockaddr_un));
    return 0;
}

const char *xev__os_addr_unix_name(const xev_addr *addr, size_t *len_bytes) {
    *len_bytes = 0;
    const char *name = unix_part(addr)->sun_path;
    if (xev__os_addr_family(addr) == XEV_AF_UNIX && addr->len_bytes > NAME_AT) {
        size_t len = addr->len_bytes - NAME_AT;
        /* The kernel counts the zero at the end of a path, or leaves no room for one. */
        *len_bytes = name[0] != '\0' ? strnlen(name, len) : len;
    }
    return name;
}

/* A zero in an abstract name is written as "@". */
int xev__os_addr_unix_format(const xev_addr *addr, char *out, size_t len_bytes) {
    size_t len;
    const char *name = xev__os_addr_unix_name(addr, &len);
    if (len >= len_bytes) {
        return XEV_EINVAL;
    }
    for (size_t i = 0; i < len; i++) {
        out[i] = '@';
        if (name[i] != '\0') {
            out[i] = name[i];
        }
    }
    assert(len < len_bytes);
    out[len] = '\0';
    return 0;
}
