/* POSIX: the files of Unix sockets, addresses of peers, the service manager. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "serve/system_serve.h"
#include "xev/unix.h"

void xev__serve_forget_environment(const char *name) { (void)unsetenv(name); }

int xev__serve_keep_to_self(xev_fd fd) { return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? 0 : -errno; }

uint32_t xev__serve_process(void) { return (uint32_t)getpid(); }

int xev__serve_set_mode(const char *path, uint32_t mode, struct xev__serve_file *file) {
    struct stat st;
    *file = (struct xev__serve_file){0};
    if (lstat(path, &st) < 0) {
        return -errno;
    }
    if (!S_ISSOCK(st.st_mode)) {
        return -ENOTSOCK; /* somebody has replaced it meanwhile */
    }
    *file = (struct xev__serve_file){.device = (uint64_t)st.st_dev, .number = st.st_ino};
    if ((st.st_mode & 07777) == mode) {
        return 0;
    }
    /* Not through a symbolic link that somebody has put there. */
    return fchmodat(AT_FDCWD, path, (mode_t)mode, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
}

void xev__serve_remove(const char *path, const struct xev__serve_file *file) {
    struct stat st;
    /* The number is not used again while our socket keeps the file. */
    if (file == NULL || (lstat(path, &st) == 0 && (uint64_t)st.st_dev == file->device &&
                         st.st_ino == file->number)) {
        (void)unlink(path);
    }
}

/* ---- peers ---- */

static bool address_of(const struct sockaddr_storage *sa, uint8_t key[16]) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (sa->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)sa;
        memcpy(key, mapped, sizeof mapped);
        memcpy(key + sizeof mapped, &v4->sin_addr, 4);
    } else if (sa->ss_family == AF_INET6) {
        memcpy(key, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
    } else {
        return false;
    }
    return true;
}

bool xev__serve_peer_address(xev_fd fd, uint8_t key[16]) {
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof sa;
    /* It fails where the peer has gone already. */
    return getpeername(fd, (struct sockaddr *)(void *)&sa, &len) == 0 && address_of(&sa, key);
}

void xev__serve_address(const xev_addr *addr, uint8_t key[16]) {
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    memcpy(&sa, addr->storage, addr->len_bytes < sizeof sa ? addr->len_bytes : sizeof sa);
    memset(key, 0, 16);
    (void)address_of(&sa, key);
}

/* ---- the service manager ---- */

xev_fd xev__serve_open_teller(void) {
    xev_unix sock; /* which is none of the standard streams, where those are closed */
    return xev_unix_init(&sock, XEV_UNIX_DATAGRAM) == 0 ? sock.fd : XEV_INVALID_FD;
}

void xev__serve_close_teller(xev_fd fd) { (void)close(fd); }

int xev__serve_tell(xev_fd fd, const xev_addr *to, const char *text) {
    ssize_t n = sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
                       (const struct sockaddr *)(const void *)to->storage, to->len_bytes);
    return n >= 0 ? 0 : -errno;
}

uint64_t xev__serve_monotonic_us(void) {
    struct timespec ts = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint32_t xev__serve_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > INT32_MAX) {
        return INT32_MAX;
    }
    return (uint32_t)limit.rlim_cur;
}
