/* macOS and the BSDs: who the peer of a Unix socket is. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include "xev/error.h"
#include "xev/os/posix/posix.h"
#include "xev/os/unix.h"

int xev__os_unix_peer_cred(xev_fd fd, xev_unix_cred *cred) {
    uid_t uid = (uid_t)-1;
    gid_t gid = (gid_t)-1;
    int rc = xev__sys_result(getpeereid(fd, &uid, &gid));
    *cred = (xev_unix_cred){.pid = 0, .uid = UINT32_MAX, .gid = UINT32_MAX};
    if (rc == 0) {
        *cred = (xev_unix_cred){.pid = 0, .uid = uid, .gid = gid};
#if defined(LOCAL_PEERPID)
        pid_t pid = 0;
        socklen_t len = sizeof pid;
        cred->pid = getsockopt(fd, 0, LOCAL_PEERPID, &pid, &len) == 0 ? pid : 0;
#endif
    }
    return rc;
}
