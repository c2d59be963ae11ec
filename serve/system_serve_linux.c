/* Linux: the files of Unix sockets. */
#include <errno.h>
#include <fcntl.h>
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
    if (lstat(path, &st) == 0 && st.st_dev == file->device && st.st_ino == file->number) {
        (void)unlink(path);
    }
}
