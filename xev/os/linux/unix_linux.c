/* Linux: who the peer of a Unix socket is. */
#include <errno.h>
#include <sys/socket.h>

#include "xev/error.h"
#include "xev/os/posix/posix.h"
#include "xev/os/unix.h"

int xev__os_unix_peer_cred(xev_fd fd, xev_unix_cred *cred) {
    struct ucred peer = {.pid = 0, .uid = 0, .gid = 0};
    socklen_t len = sizeof peer;
    int rc = xev__sys_result(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len));
    if (rc == 0 && peer.uid == (uid_t)-1) {
        rc = XEV_ENOTCONN; /* the kernel's answer for a socket without a peer */
    }
    *cred = (xev_unix_cred){.pid = 0, .uid = UINT32_MAX, .gid = UINT32_MAX};
    if (rc == 0) {
        *cred = (xev_unix_cred){.pid = peer.pid, .uid = peer.uid, .gid = peer.gid};
    }
    return rc;
}
