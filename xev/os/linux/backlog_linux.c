/* What a TCP socket holds and cannot send. <netinet/tcp.h> has a shorter tcp_info, so this file is
 * one of its own. */
#include <assert.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#include "xev/error.h"
#include "xev/os/posix/sys.h"
#include "xev/os/socket.h"

static int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }

int xev__os_backlog_bytes(xev_fd fd, int64_t *bytes) {
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    int rc = xev__sys_result(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
    if (rc < 0) {
        return rc;
    }
    if (len < offsetof(struct tcp_info, tcpi_notsent_bytes) + sizeof info.tcpi_notsent_bytes) {
        return XEV_ENOTSUP; /* before Linux 4.6 */
    }
    /* Before Linux 5.4 the window is not told, and is 0 here. Segments under way count as full. */
    int64_t under_way = (int64_t)info.tcpi_unacked * info.tcpi_snd_mss;
    int64_t windows = min_i64(info.tcpi_snd_wnd, (int64_t)info.tcpi_snd_cwnd * info.tcpi_snd_mss);
    int64_t room = windows > under_way ? windows - under_way : 0;
    /* A part of a window that is less than a segment may stay empty for a while. */
    room -= info.tcpi_snd_mss > 0 ? room % info.tcpi_snd_mss : room;
    *bytes = (int64_t)info.tcpi_notsent_bytes - room;
    return 0;
}

int xev__os_set_backlog(xev_fd fd, uint32_t bytes) {
    return xev__sys_result(setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes));
}
