/* Linux: the files of Unix sockets, the choice of a listener by CPU, addresses of peers. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "serve/system_serve.h"

bool xev__serve_shares_ports(void) { return true; }

int xev__serve_limit_mode(xev_fd fd, uint32_t mode) {
    /* Linux makes the file with the permissions of the socket, less the umask. */
    return fchmod(fd, (mode_t)mode) == 0 ? 0 : -errno;
}

/* ---- listening sockets ---- */

int xev__serve_limit_unsent(xev_fd fd, uint32_t bytes) {
    return setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes) == 0 ? 0 : -errno;
}

int xev__serve_spread_by_cpu(xev_fd fd, const uint32_t *cpus, uint32_t cpus_len, uint32_t count) {
    /* Two instructions for each CPU, the first, and two for CPUs that are not among them. */
    size_t len = 2 * (size_t)cpus_len + 3;
    struct sock_filter *code = calloc(len, sizeof *code);
    if (code == NULL) {
        return -ENOMEM;
    }
    size_t at = 0;
    code[at++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_CPU));
    for (uint32_t k = 0; k < cpus_len; k++) {
        code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, cpus[k], 0, 1);
        code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, k % count);
    }
    code[at++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_A, 0);
    struct sock_fprog program = {.len = (unsigned short)len, .filter = code};
    int rc = setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program);
    rc = rc == 0 ? 0 : -errno;
    free(code);
    return rc;
}

uint64_t xev__serve_random(void) {
    uint64_t number = 0;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != (ssize_t)sizeof number) {
        struct timespec ts;
        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        number = (uint64_t)ts.tv_nsec * UINT64_C(0x9e3779b97f4a7c15) ^ (uintptr_t)&ts;
    }
    return number;
}
