/* Windows: Unix sockets. Windows 10 has them in part (no descriptors, no datagrams, no abstract
 * names), and nothing here can be tried (Wine has none), so the calls say XEV_ENOTSUP. */
#include "xev/os/unix.h"

#include "xev/os/windows/windows_base.h"

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
    (void)fd;
    (void)addr;
    return XEV_ENOTSUP;
}

bool xev__os_unix_is_stale(const xev_addr *addr) {
    (void)addr;
    return false;
}

int xev__os_unix_unlink(const xev_addr *addr) {
    (void)addr;
    return XEV_ENOTSUP;
}

int xev__os_unix_peer_cred(xev_fd fd, xev_unix_cred *cred) {
    (void)fd;
    *cred = (xev_unix_cred){0};
    return XEV_ENOTSUP;
}

void xev__os_unix_send(xev_unix_msg *msg) { msg->vec.base = NULL; }
void xev__os_unix_receive(xev_unix_msg *msg) { msg->vec.base = NULL; }
void xev__os_unix_received(xev_unix_msg *msg) { msg->fds_len = 0; }

bool xev__os_msg_is_to_unix(const void *msg) {
    (void)msg;
    return false;
}
