/* macOS and the BSDs: what services need of them beyond POSIX. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "serve/system_serve.h"

bool xev__serve_shares_ports(void) {
#if defined(SO_REUSEPORT_LB)
    return true;
#else
    return false;
#endif
}

int xev__serve_limit_mode(xev_fd fd, uint32_t mode) {
    /* The file is made by the umask alone; xev__serve_set_mode follows at once. */
    (void)fd;
    (void)mode;
    return 0;
}

int xev__serve_limit_unsent(xev_fd fd, uint32_t bytes) {
#if defined(TCP_NOTSENT_LOWAT)
    return setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes) == 0 ? 0 : -errno;
#else
    (void)fd;
    (void)bytes;
    return 0;
#endif
}

int xev__serve_spread_by_cpu(xev_fd fd, const uint32_t *cpus, uint32_t cpus_len, uint32_t count) {
    (void)fd;
    (void)cpus;
    (void)cpus_len;
    (void)count;
    return -ENOTSUP;
}

uint64_t xev__serve_random(void) {
    uint64_t number;
    arc4random_buf(&number, sizeof number);
    return number;
}
