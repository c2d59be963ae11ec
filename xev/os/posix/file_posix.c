/* POSIX: files and directories. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "xev/error.h"
#include "xev/os/descriptor.h"
#include "xev/os/file.h"
#include "xev/os/posix/sys.h"

_Static_assert(sizeof(xev_vec) == sizeof(struct iovec), "vec is an iovec");
_Static_assert(offsetof(xev_vec, len_bytes) == offsetof(struct iovec, iov_len), "likewise");
_Static_assert(sizeof(off_t) == 8, "large files");

/* How many pieces of memory a write has that continues a partial one. */
#define REST_VEC 16

static bool is_beyond_off_t(uint64_t offset) { return offset > INT64_MAX; }

/* WASI's C library takes an empty path for the folder ".". */
static bool is_path(const char *path) { return path[0] != '\0'; }

int xev__sys_open(const char *path, int how, mode_t mode) {
    int rc = XEV_ENOENT;
    how |= O_NONBLOCK;
    if (!is_path(path)) {
        return rc;
    }
    do {
        rc = xev__sys_new_fd(open(path, how, mode));
        if (rc == XEV_EAGAIN) {
            /* Another process has a lease on the file. A blocking open waits for its end. */
            how &= ~O_NONBLOCK;
            rc = XEV_EINTR;
        }
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_file_open(const char *path, uint32_t flags, uint32_t mode) {
    const struct {
        uint32_t ours;
        int theirs;
    } bits[] = {
        {XEV_OPEN_CREATE, O_CREAT},           {XEV_OPEN_EXCLUSIVE, O_EXCL},
        {XEV_OPEN_TRUNCATE, O_TRUNC},         {XEV_OPEN_APPEND, O_APPEND},
        {XEV_OPEN_DIRECTORY, O_DIRECTORY},    {XEV_OPEN_NOFOLLOW, O_NOFOLLOW},
        {XEV_OPEN_DIRECT, xev__sys_o_direct}, {XEV_OPEN_SYNC, O_SYNC},
    };
    int how = O_CLOEXEC | O_NOCTTY;
    if ((flags & XEV_OPEN_DIRECT) != 0 && xev__sys_o_direct == 0) {
        return XEV_ENOTSUP;
    }
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        how |= (flags & bits[i].ours) != 0 ? bits[i].theirs : 0;
    }
    bool read = (flags & XEV_OPEN_READ) != 0, write = (flags & XEV_OPEN_WRITE) != 0;
    how |= read && write ? O_RDWR : write ? O_WRONLY : O_RDONLY;
    struct stat st;
    if (xev__sys_follows && (how & O_NOFOLLOW) != 0 && lstat(path, &st) == 0 &&
        S_ISLNK(st.st_mode)) {
        return XEV_ELOOP;
    }
    int fd = xev__sys_open(path, how, (mode_t)mode);
    int rc = fd < 0 ? fd : xev__os_set_nonblocking(fd, false);
    if (rc < 0 && fd >= 0) {
        (void)xev__os_close(fd);
    }
    assert(rc < 0 || fd > 2);
    return rc < 0 ? rc : fd;
}

static const struct iovec *iovec_of(const xev_vec *vec) {
    return (const struct iovec *)(const void *)vec;
}

int xev__os_file_readv(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset) {
    assert(vec != NULL && count > 0);
    int rc;
    do {
        rc = offset == XEV__AT_POSITION
                 ? xev__sys_result(readv(fd, iovec_of(vec), (int)count))
                 : xev__sys_result(preadv(fd, iovec_of(vec), (int)count, (off_t)offset));
    } while (rc == XEV_EINTR);
    return rc;
}

static int write_some(xev_fd fd, const struct iovec *vec, int count, uint64_t offset) {
    assert(vec != NULL && count > 0);
    int rc;
    do {
        rc = offset == XEV__AT_POSITION ? xev__sys_result(writev(fd, vec, count))
                                        : xev__sys_result(pwritev(fd, vec, count, (off_t)offset));
    } while (rc == XEV_EINTR);
    return rc;
}

/* Describe the bytes of vec behind the first skip ones, as far as there is room. Returns how many
 * pieces that took. */
static int rest_of(const xev_vec *vec, uint32_t count, uint64_t skip, struct iovec rest[REST_VEC]) {
    int n = 0;
    for (uint32_t i = 0; i < count && n < REST_VEC; i++) {
        if (skip >= vec[i].len_bytes) {
            skip -= vec[i].len_bytes;
            continue;
        }
        rest[n].iov_base = (char *)vec[i].base + skip;
        rest[n++].iov_len = vec[i].len_bytes - (size_t)skip;
        skip = 0;
    }
    return n;
}

int xev__os_file_writev(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset,
                        uint64_t *done) {
    assert(vec != NULL && count > 0);
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += vec[i].len_bytes;
    }
    assert(*done < total);
    int rc;
    do {
        /* The caller's vector must not change, so the rest is described by a copy. */
        struct iovec rest[REST_VEC];
        const struct iovec *next = iovec_of(vec);
        int n = (int)count;
        if (*done > 0) {
            n = rest_of(vec, count, *done, rest);
            next = rest;
        }
        rc = write_some(fd, next, n, offset == XEV__AT_POSITION ? offset : offset + *done);
        *done += rc > 0 ? (uint64_t)rc : 0;
    } while (rc > 0 && *done < total);
    assert(rc <= 0 || *done == total);
    /* A device that takes 0 bytes without an error would be asked for ever. */
    return rc < 0 ? rc : rc == 0 ? XEV_EIO : (int)total;
}

int xev__os_file_sync(xev_fd fd, bool data_only) {
    int rc;
    do {
        rc = xev__sys_sync(fd, data_only);
    } while (rc == XEV_EINTR);
    return rc;
}

static enum xev_file_type type_of(mode_t mode) {
    /* Where sockets and pipes are the same, as in WASI's C library, they are sockets. */
    return S_ISREG(mode)    ? XEV_FILE_REGULAR
           : S_ISDIR(mode)  ? XEV_FILE_DIRECTORY
           : S_ISLNK(mode)  ? XEV_FILE_SYMLINK
           : S_ISSOCK(mode) ? XEV_FILE_SOCKET
           : S_ISFIFO(mode) ? XEV_FILE_FIFO
           : S_ISCHR(mode)  ? XEV_FILE_CHAR_DEVICE
           : S_ISBLK(mode)  ? XEV_FILE_BLOCK_DEVICE
                            : XEV_FILE_UNKNOWN;
}

static int stat_result(int rc, const struct stat *st, xev_file_stat *out) {
    if (rc < 0) {
        return -errno;
    }
    *out = (xev_file_stat){
        .size_bytes = (uint64_t)st->st_size,
        .allocated_bytes = (uint64_t)st->st_blocks * 512,
        .device = (uint64_t)st->st_dev,
        .inode = st->st_ino,
        .links = st->st_nlink,
        .mode = st->st_mode & 07777,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .type = type_of(st->st_mode),
    };
    xev__sys_times(st, out);
    return 0;
}

int xev__os_file_stat(const char *path, bool follow, xev_file_stat *out) {
    struct stat st;
    if (!is_path(path)) {
        return XEV_ENOENT;
    }
    return stat_result(fstatat(AT_FDCWD, path, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW), &st, out);
}

int xev__os_file_stat_fd(xev_fd fd, xev_file_stat *out) {
    struct stat st;
    return stat_result(fstat(fd, &st), &st, out);
}

int xev__os_file_truncate(const char *path, uint64_t size) {
    int rc;
    do {
        rc = is_beyond_off_t(size) ? XEV_EFBIG
             : is_path(path)       ? xev__sys_result(truncate(path, (off_t)size))
                                   : XEV_ENOENT;
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_file_truncate_fd(xev_fd fd, uint64_t size) {
    int rc;
    do {
        rc = is_beyond_off_t(size) ? XEV_EFBIG : xev__sys_result(ftruncate(fd, (off_t)size));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_file_rename(const char *from, const char *to) {
    return is_path(from) && is_path(to) ? xev__sys_result(rename(from, to)) : XEV_ENOENT;
}
int xev__os_file_unlink(const char *path) {
    return is_path(path) ? xev__sys_result(unlink(path)) : XEV_ENOENT;
}
int xev__os_file_mkdir(const char *path, uint32_t mode) {
    return is_path(path) ? xev__sys_result(mkdir(path, (mode_t)mode)) : XEV_ENOENT;
}
int xev__os_file_rmdir(const char *path) {
    return is_path(path) ? xev__sys_result(rmdir(path)) : XEV_ENOENT;
}
int xev__os_file_symlink(const char *target, const char *link_path) {
    return is_path(target) && is_path(link_path) ? xev__sys_result(symlink(target, link_path))
                                                 : XEV_ENOENT;
}
int xev__os_file_link(const char *from, const char *to) {
    return is_path(from) && is_path(to) ? xev__sys_result(link(from, to)) : XEV_ENOENT;
}

int xev__os_leave_blocking(xev_fd fd) {
    assert(fd >= 0);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        return -errno;
    }
    if ((flags & O_NONBLOCK) != 0) {
        return 0;
    }
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 1;
}
