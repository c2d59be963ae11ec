/* WASI: there are no Unix sockets, nor names of any. */
#include <string.h>

#include "xev/os/addr.h"
#include "xev/os/unix.h"
#include "xev/os/wasi/wasi.h"

int xev__os_addr_unix(xev_addr *addr, const char *name, size_t len_bytes) {
    *addr = (xev_addr){0};
    bool path = len_bytes > 0 && name[0] != '\0';
    if (len_bytes > (size_t)XEV_UNIX_NAME_MAX - path) {
        return XEV_ENAMETOOLONG;
    }
    return path && memchr(name, '\0', len_bytes) != NULL ? XEV_EINVAL : XEV_ENOTSUP;
}

const char *xev__os_addr_unix_name(const xev_addr *addr, size_t *len_bytes) {
    (void)addr;
    *len_bytes = 0;
    return "";
}

int xev__os_addr_unix_format(const xev_addr *addr, char *out, size_t len_bytes) {
    (void)addr;
    (void)out;
    (void)len_bytes;
    return XEV_ENOTSUP;
}

int xev__os_unix_socket(bool datagram, xev_fd *fd) {
    (void)datagram;
    *fd = XEV_INVALID_FD;
    return XEV_ENOTSUP;
}

int xev__os_unix_pair(bool datagram, xev_fd *a, xev_fd *b) {
    (void)datagram;
    *a = *b = XEV_INVALID_FD;
    return XEV_ENOTSUP;
}

int xev__os_unix_bind(xev_fd fd, const xev_addr *addr) {
    (void)addr;
    return xev__wasi_lacks(fd);
}

int xev__os_unix_check_stale(const xev_addr *addr) {
    (void)addr;
    return XEV_ENOTSUP;
}

int xev__os_unix_unlink(const xev_addr *addr) {
    (void)addr;
    return XEV_ENOTSUP;
}

int xev__os_unix_peer_cred(xev_fd fd, xev_unix_cred *cred) {
    *cred = (xev_unix_cred){.pid = 0, .uid = UINT32_MAX, .gid = UINT32_MAX};
    return xev__wasi_lacks(fd);
}

void xev__os_unix_send(xev_unix_msg *msg) { (void)msg; }
void xev__os_unix_receive(xev_unix_msg *msg) { (void)msg; }
void xev__os_unix_received(xev_unix_msg *msg) { (void)msg; }

bool xev__os_msg_is_to_unix(const void *msg) {
    (void)msg;
    return false;
}
