/* Windows: Unix sockets. Windows 10 has them since 1803, in part: streams with a path, but no
 * pairs, datagrams, descriptors that travel, or abstract names. A system that has none at all says
 * so when the first one is asked for. Wine has none, so this has not been run. */
#include <string.h>

#include "xev/os/addr.h"
#include "xev/os/clock.h"
#include "xev/os/descriptor.h"
#include "xev/os/socket.h"
#include "xev/os/unix.h"
#include "xev/os/windows/windows_base.h"

#include <afunix.h> /* which needs the types of winsock2.h */

int xev__os_unix_socket(bool datagram, xev_fd *fd) {
    *fd = XEV_INVALID_FD;
    int rc = datagram ? XEV_ENOTSUP : xev__win_new_socket(AF_UNIX, SOCK_STREAM, fd);
    bool absent = rc == XEV_EAFNOSUPPORT || rc == XEV_EPROTONOSUPPORT || rc == XEV_EINVAL;
    return absent ? XEV_ENOTSUP : rc;
}

int xev__os_unix_pair(bool datagram, xev_fd *a, xev_fd *b) {
    (void)datagram;
    *a = *b = XEV_INVALID_FD;
    return XEV_ENOTSUP;
}

/* The path of addr in out, which has room for a 0 at its end; or XEV_ENOTSUP: an abstract name, or
 * none. */
static int path_of_socket(const xev_addr *addr, char out[XEV_UNIX_NAME_MAX + 1]) {
    size_t len;
    const char *name = xev__os_addr_unix_name(addr, &len);
    if (len > XEV_UNIX_NAME_MAX) {
        return XEV_EINVAL; /* the program may have filled in the address by itself */
    }
    if (len == 0 || name[0] == '\0') {
        return XEV_ENOTSUP;
    }
    memcpy(out, name, len);
    out[len] = '\0';
    return 0;
}

int xev__os_unix_bind(xev_fd fd, const xev_addr *addr) {
    char path[XEV_UNIX_NAME_MAX + 1];
    int rc = path_of_socket(addr, path);
    return rc == 0 ? xev__win_socket_result(
                         fd, bind(xev__win_socket(fd), xev__win_addr(addr), (int)addr->len_bytes))
                   : rc;
}

/* 1: path is the file of a socket; 0: it is another one; or a code. */
static int is_file_of_socket(const char *path) {
    enum { TAG_AF_UNIX = (int)0x80000023 };
    wchar_t wide[XEV_UNIX_NAME_MAX + 1];
    WIN32_FIND_DATAW found;
    int rc = xev__win_wide(path, wide, sizeof wide / sizeof wide[0]);
    if (rc < 0) {
        return rc;
    }
    HANDLE search = FindFirstFileW(wide, &found);
    if (search == INVALID_HANDLE_VALUE) {
        return xev__win_last_code();
    }
    (void)FindClose(search);
    return (found.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0 &&
           found.dwReserved0 == (DWORD)TAG_AF_UNIX;
}

/* An answer of this machine is there at once, as a rule. Without one the name counts as in use. */
#define STALE_TRIES 200

int xev__os_unix_check_stale(const xev_addr *addr) {
    char path[XEV_UNIX_NAME_MAX + 1];
    xev_fd fd;
    if (path_of_socket(addr, path) < 0 || is_file_of_socket(path) != 1) {
        return XEV_EADDRINUSE;
    }
    int rc = xev__os_unix_socket(false, &fd);
    if (rc < 0) {
        return rc;
    }
    rc = xev__os_connect(fd, addr);
    for (int tries = 0; rc == XEV_EINPROGRESS && tries < STALE_TRIES; tries++) {
        xev__os_sleep_ms(1);
        rc = xev__os_connect_result(fd);
        rc = rc == XEV_EAGAIN ? XEV_EINPROGRESS : rc;
    }
    (void)xev__os_close(fd);
    return rc == XEV_ECONNREFUSED ? 0 : XEV_EADDRINUSE;
}

int xev__os_unix_unlink(const xev_addr *addr) {
    char path[XEV_UNIX_NAME_MAX + 1];
    int rc = path_of_socket(addr, path);
    if (rc < 0) {
        return rc == XEV_ENOTSUP ? 0 : rc; /* an abstract name has no file */
    }
    rc = is_file_of_socket(path);
    wchar_t wide[XEV_UNIX_NAME_MAX + 1];
    if (rc <= 0 || xev__win_wide(path, wide, sizeof wide / sizeof wide[0]) < 0) {
        return rc < 0 ? rc : XEV_ENOTSOCK;
    }
    return DeleteFileW(wide) ? 0 : xev__win_last_code();
}

/* Users have no numbers. */
int xev__os_unix_peer_cred(xev_fd fd, xev_unix_cred *cred) {
    ULONG pid = 0;
    DWORD n;
    int rc = xev__win_socket_result(fd, WSAIoctl(xev__win_socket(fd), SIO_AF_UNIX_GETPEERPID, NULL,
                                                 0, &pid, sizeof pid, &n, NULL, NULL));
    *cred = (xev_unix_cred){.pid = 0, .uid = UINT32_MAX, .gid = UINT32_MAX};
    cred->pid = rc == 0 ? (int64_t)pid : 0;
    return rc;
}

/* Messages do not come here: the backend's table has none. */
void xev__os_unix_send(xev_unix_msg *msg) { msg->vec.base = NULL; }
void xev__os_unix_receive(xev_unix_msg *msg) { msg->vec.base = NULL; }
void xev__os_unix_received(xev_unix_msg *msg) { msg->fds_len = 0; }

bool xev__os_msg_is_to_unix(const void *msg) {
    (void)msg;
    return false;
}
