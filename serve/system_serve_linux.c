/* Linux: the files of Unix sockets, and the choice of a listener by CPU. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/system_serve.h"

int xev__serve_keep_to_self(xev_fd fd) { return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? 0 : -errno; }

int xev__serve_limit_mode(xev_fd fd, uint32_t mode) {
    /* Linux makes the file with the permissions of the socket, less the umask. */
    return fchmod(fd, (mode_t)mode) == 0 ? 0 : -errno;
}

int xev__serve_set_mode(const char *path, uint32_t mode, struct xev__serve_file *file) {
    struct stat st;
    *file = (struct xev__serve_file){0};
    if (lstat(path, &st) < 0) {
        return -errno;
    }
    if (!S_ISSOCK(st.st_mode)) {
        return -ENOTSOCK; /* somebody has replaced it meanwhile */
    }
    *file = (struct xev__serve_file){.device = st.st_dev, .number = st.st_ino};
    if ((st.st_mode & 07777) == mode) {
        return 0;
    }
    /* Not through a symbolic link that somebody has put there. */
    return fchmodat(AT_FDCWD, path, (mode_t)mode, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
}

void xev__serve_remove(const char *path, const struct xev__serve_file *file) {
    struct stat st;
    /* The number is not used again while our socket keeps the file. */
    if (file == NULL ||
        (lstat(path, &st) == 0 && st.st_dev == file->device && st.st_ino == file->number)) {
        (void)unlink(path);
    }
}

/* ---- CPUs ---- */

/* Room for the kernel's largest CPU mask. */
#define CPUS 8192u

uint32_t xev__serve_cpus(uint32_t *cpus, uint32_t max) {
    size_t size = CPU_ALLOC_SIZE(CPUS);
    cpu_set_t *set = CPU_ALLOC(CPUS);
    uint32_t len = 0;
    if (set != NULL && sched_getaffinity(0, size, set) == 0) {
        for (uint32_t cpu = 0; cpu < CPUS && len < max; cpu++) {
            if (CPU_ISSET_S(cpu, size, set)) {
                cpus[len++] = cpu;
            }
        }
    }
    CPU_FREE(set);
    return len;
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
