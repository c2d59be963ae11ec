/* Linux: files, directories, copying, names by glibc's resolver. Nothing here allocates but what
 * glibc does inside getaddrinfo and getnameinfo; directories are read by getdents64. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "xev/core/core.h"
#include "xev/os/file.h"
#include "xev/os/os.h"

_Static_assert(sizeof(xev_vec) == sizeof(struct iovec), "vec is an iovec");
_Static_assert(offsetof(xev_vec, len_bytes) == offsetof(struct iovec, iov_len), "likewise");
_Static_assert(sizeof(off_t) == 8, "large files");

/* What a copy moves between two looks at whether to stop: tens of ms. */
#define COPY_PIECE ((size_t)16 << 20)
/* A pool's stacks may be small. */
#define HAND_PIECE ((size_t)4 << 10)
/* Pieces of memory in one write that continues a partial one. */
#define REST_VEC 16

static int result(long rc) { return rc < 0 ? -errno : (int)rc; }

static bool too_far(uint64_t offset) { return offset > INT64_MAX; }

static int open_file(const char *path, int how, mode_t mode) {
    int rc;
    do {
        rc = result(open(path, how, mode));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_file_open(const char *path, uint32_t flags, uint32_t mode) {
    static const struct {
        uint32_t ours;
        int theirs;
    } bits[] = {
        {XEV_OPEN_CREATE, O_CREAT},        {XEV_OPEN_EXCLUSIVE, O_EXCL},
        {XEV_OPEN_TRUNCATE, O_TRUNC},      {XEV_OPEN_APPEND, O_APPEND},
        {XEV_OPEN_DIRECTORY, O_DIRECTORY}, {XEV_OPEN_NOFOLLOW, O_NOFOLLOW},
        {XEV_OPEN_DIRECT, O_DIRECT},       {XEV_OPEN_SYNC, O_SYNC},
    };
    int how = O_CLOEXEC | O_NOCTTY;
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        how |= (flags & bits[i].ours) != 0 ? bits[i].theirs : 0;
    }
    bool read = (flags & XEV_OPEN_READ) != 0, write = (flags & XEV_OPEN_WRITE) != 0;
    how |= read && write ? O_RDWR : write ? O_WRONLY : O_RDONLY;
    return open_file(path, how, (mode_t)mode);
}

static const struct iovec *iovec_of(const xev_vec *vec) {
    return (const struct iovec *)(const void *)vec;
}

int xev__os_file_readv(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset) {
    int rc;
    do {
        rc = offset == XEV__AT_POSITION
                 ? result(readv(fd, iovec_of(vec), (int)count))
                 : result(preadv(fd, iovec_of(vec), (int)count, (off_t)offset));
    } while (rc == XEV_EINTR);
    return rc;
}

static int write_some(xev_fd fd, const struct iovec *vec, int count, uint64_t offset) {
    int rc;
    do {
        rc = offset == XEV__AT_POSITION ? result(writev(fd, vec, count))
                                        : result(pwritev(fd, vec, count, (off_t)offset));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_file_writev(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset,
                        uint64_t *done) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += vec[i].len_bytes;
    }
    *done = 0;
    int rc = write_some(fd, iovec_of(vec), (int)count, offset);
    while (rc > 0 && (*done += (uint64_t)rc) < total) {
        /* The caller's vector is not ours to change: go on with a copy of what comes next. */
        struct iovec rest[REST_VEC];
        uint64_t skip = *done;
        int n = 0;
        for (uint32_t i = 0; i < count && n < REST_VEC; i++) {
            if (skip >= vec[i].len_bytes) {
                skip -= vec[i].len_bytes;
                continue;
            }
            rest[n].iov_base = (char *)vec[i].base + skip;
            rest[n++].iov_len = vec[i].len_bytes - skip;
            skip = 0;
        }
        rc = write_some(fd, rest, n, offset == XEV__AT_POSITION ? offset : offset + *done);
    }
    /* A device that takes nothing and says no error must not be asked for ever. */
    return rc < 0 ? rc : rc == 0 ? XEV_EIO : (int)total;
}

int xev__os_file_sync(xev_fd fd, bool data_only) {
    int rc;
    do {
        rc = result(data_only ? fdatasync(fd) : fsync(fd));
    } while (rc == XEV_EINTR);
    return rc;
}

static enum xev_file_type type_of(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFREG:
        return XEV_FILE_REGULAR;
    case S_IFDIR:
        return XEV_FILE_DIRECTORY;
    case S_IFLNK:
        return XEV_FILE_SYMLINK;
    case S_IFIFO:
        return XEV_FILE_FIFO;
    case S_IFSOCK:
        return XEV_FILE_SOCKET;
    case S_IFCHR:
        return XEV_FILE_CHAR_DEVICE;
    case S_IFBLK:
        return XEV_FILE_BLOCK_DEVICE;
    default:
        return XEV_FILE_UNKNOWN;
    }
}

static int64_t ns_of(struct timespec t) { return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec; }

static int stat_result(int rc, const struct stat *st, xev_file_stat *out) {
    if (rc < 0) {
        return -errno;
    }
    *out = (xev_file_stat){
        .size_bytes = (uint64_t)st->st_size,
        .allocated_bytes = (uint64_t)st->st_blocks * 512,
        .device = st->st_dev,
        .inode = st->st_ino,
        .links = st->st_nlink,
        .mode = st->st_mode & 07777,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .type = type_of(st->st_mode),
        .access_ns = ns_of(st->st_atim),
        .modify_ns = ns_of(st->st_mtim),
        .change_ns = ns_of(st->st_ctim),
    };
    return 0;
}

int xev__os_file_stat(const char *path, bool follow, xev_file_stat *out) {
    struct stat st;
    return stat_result(fstatat(AT_FDCWD, path, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW), &st, out);
}

int xev__os_file_stat_fd(xev_fd fd, xev_file_stat *out) {
    struct stat st;
    return stat_result(fstat(fd, &st), &st, out);
}

int xev__os_file_truncate(const char *path, uint64_t size) {
    int rc;
    do {
        rc = too_far(size) ? XEV_EFBIG : result(truncate(path, (off_t)size));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_file_truncate_fd(xev_fd fd, uint64_t size) {
    int rc;
    do {
        rc = too_far(size) ? XEV_EFBIG : result(ftruncate(fd, (off_t)size));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_file_rename(const char *from, const char *to) { return result(rename(from, to)); }
int xev__os_file_unlink(const char *path) { return result(unlink(path)); }
int xev__os_file_mkdir(const char *path, uint32_t mode) {
    return result(mkdir(path, (mode_t)mode));
}
int xev__os_file_rmdir(const char *path) { return result(rmdir(path)); }
int xev__os_file_symlink(const char *target, const char *link_path) {
    return result(symlink(target, link_path));
}
int xev__os_file_link(const char *from, const char *to) { return result(link(from, to)); }

/* ---- directories ---- */

static bool is_dots(const char *name) {
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

int xev__os_file_readdir(xev_fd fd, void *buf, size_t len_bytes) {
    for (;;) {
        int rc = result(getdents64(fd, buf, len_bytes));
        if (rc <= 0) {
            return rc == 0 ? XEV_EOF : rc;
        }
        size_t at = 0;
        xev_file_entry entry;
        if (xev_file_next_entry(buf, (size_t)rc, &at, &entry)) {
            return rc;
        }
    }
}

bool xev_file_next_entry(const void *buf, size_t filled_bytes, size_t *at_bytes,
                         xev_file_entry *entry) {
    static const struct {
        unsigned char theirs;
        enum xev_file_type ours;
    } types[] = {
        {DT_REG, XEV_FILE_REGULAR},      {DT_DIR, XEV_FILE_DIRECTORY},
        {DT_LNK, XEV_FILE_SYMLINK},      {DT_FIFO, XEV_FILE_FIFO},
        {DT_SOCK, XEV_FILE_SOCKET},      {DT_CHR, XEV_FILE_CHAR_DEVICE},
        {DT_BLK, XEV_FILE_BLOCK_DEVICE},
    };
    if (buf == NULL || at_bytes == NULL || entry == NULL) {
        xev__misuse("xev_file_next_entry", "buffer, position or entry is null", buf);
    }
    const size_t head = offsetof(struct dirent64, d_name);
    while (*at_bytes < filled_bytes && filled_bytes - *at_bytes > head) {
        const struct dirent64 *d =
            (const struct dirent64 *)(const void *)((const char *)buf + *at_bytes);
        if (d->d_reclen <= head || d->d_reclen > filled_bytes - *at_bytes) {
            return false; /* nothing that a read has filled */
        }
        *at_bytes += d->d_reclen;
        if (is_dots(d->d_name)) {
            continue;
        }
        *entry = (xev_file_entry){.name = d->d_name, .inode = d->d_ino};
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
            entry->type = types[i].theirs == d->d_type ? types[i].ours : entry->type;
        }
        return true;
    }
    return false;
}

/* ---- copy ---- */

/* Opens or creates the target; the caller closes copy->from on failure. */
static int open_target(struct xev__os_copy *copy, const char *to, const struct stat *from,
                       bool exclusive) {
    mode_t mode = from->st_mode & 0777; /* not set-user-ID, which would be of another user */
    int how = O_WRONLY | O_CLOEXEC | O_NOCTTY;
    /* Whether this call made it decides whether a failure may remove it. */
    copy->to = open_file(to, how | O_CREAT | O_EXCL, mode);
    copy->created = copy->to >= 0;
    if (copy->created || copy->to != XEV_EEXIST || exclusive) {
        return copy->created ? 0 : copy->to;
    }
    /* CREAT: for a link to nowhere. NONBLOCK: for a pipe without a reader. */
    copy->to = open_file(to, how | O_CREAT | O_NONBLOCK, mode);
    if (copy->to < 0) {
        return copy->to == XEV_ENXIO ? XEV_EINVAL : copy->to;
    }
    struct stat st;
    int rc = result(fstat(copy->to, &st));
    if (rc == 0 && S_ISFIFO(st.st_mode)) {
        rc = XEV_EINVAL; /* a reader that does not read would hold the thread */
    }
    if (rc == 0) {
        rc = xev__os_set_nonblocking(copy->to, false);
    }
    if (rc == 0 && st.st_dev == from->st_dev && st.st_ino == from->st_ino) {
        rc = XEV_EINVAL; /* the same file: emptying it would lose it */
    }
    if (rc == 0 && S_ISREG(st.st_mode)) {
        rc = xev__os_file_truncate_fd(copy->to, 0);
    }
    if (rc < 0) {
        (void)close(copy->to);
    }
    return rc;
}

int xev__os_copy_begin(struct xev__os_copy *copy, const char *from, const char *to,
                       bool exclusive) {
    *copy = (struct xev__os_copy){.from = -1, .to = -1};
    /* NONBLOCK: a pipe without a writer must not keep the thread until it is known for one. */
    copy->from = open_file(from, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
    if (copy->from < 0) {
        return copy->from;
    }
    struct stat st;
    int rc = result(fstat(copy->from, &st));
    if (rc == 0 && !S_ISREG(st.st_mode)) {
        rc = S_ISDIR(st.st_mode) ? XEV_EISDIR : XEV_EINVAL;
    }
    if (rc == 0) {
        rc = open_target(copy, to, &st, exclusive);
    }
    if (rc < 0) {
        (void)close(copy->from);
    }
    return rc;
}

static int piece_by_hand(struct xev__os_copy *copy) {
    char buf[HAND_PIECE];
    xev_vec vec = {buf, sizeof buf};
    int n = xev__os_file_readv(copy->from, &vec, 1, XEV__AT_POSITION);
    if (n <= 0) {
        return n;
    }
    vec.len_bytes = (size_t)n;
    uint64_t done;
    return xev__os_file_writev(copy->to, &vec, 1, XEV__AT_POSITION, &done);
}

int xev__os_copy_piece(struct xev__os_copy *copy) {
    while (copy->way < 2) {
        int rc;
        do {
            rc = result(copy->way == 0
                            ? copy_file_range(copy->from, NULL, copy->to, NULL, COPY_PIECE, 0)
                            : sendfile(copy->to, copy->from, NULL, COPY_PIECE));
        } while (rc == XEV_EINTR);
        /* Not for these file systems, not over their border, or not by this kernel or its filter.
         * 0 may be the end, or a file of /proc, whose size is said to be 0. */
        bool other_way = rc == 0 || rc == XEV_EXDEV || rc == XEV_EINVAL || rc == XEV_ENOTSUP ||
                         rc == XEV_ENOSYS || rc == XEV_EPERM;
        if (!other_way) {
            return rc;
        }
        copy->way++; /* from the positions that both files are at */
    }
    return piece_by_hand(copy);
}

int xev__os_copy_end(struct xev__os_copy *copy, const char *to, int result_so_far) {
    (void)close(copy->from);
    int rc = result(close(copy->to)); /* a server may say only now that the disk is full */
    rc = result_so_far < 0 ? result_so_far : rc == XEV_EINTR ? 0 : rc;
    if (rc < 0 && copy->created) {
        (void)unlink(to);
    }
    return rc;
}

int xev__os_sendfile(xev_fd socket, xev_fd file, uint64_t offset, size_t len_bytes) {
    off_t at = (off_t)offset;
    int rc;
    do {
        rc = result(sendfile(socket, file, &at, len_bytes));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_leave_blocking(xev_fd fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        return -errno;
    }
    if ((flags & O_NONBLOCK) != 0) {
        return 0;
    }
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 1;
}

/* ---- names ---- */

static int dns_code(int code) {
    switch (code) {
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return XEV_ENONAME;
    case EAI_AGAIN:
        return XEV_EDNS_AGAIN;
    case EAI_SERVICE:
        return XEV_ENOSERVICE;
    case EAI_FAMILY:
        return XEV_EAFNOSUPPORT;
    case EAI_MEMORY:
        return XEV_ENOMEM;
    case EAI_OVERFLOW:
        return XEV_ENOBUFS;
    case EAI_SYSTEM:
        return errno != 0 ? -errno : XEV_EDNS_FAIL;
    default:
        return XEV_EDNS_FAIL;
    }
}

int xev__os_resolve(const char *host, const char *service, enum xev_family family, xev_addr *addrs,
                    uint32_t max, uint32_t *found) {
    /* One socket type, or each address would come once per type. */
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    hints.ai_family = family == XEV_AF_INET    ? AF_INET
                      : family == XEV_AF_INET6 ? AF_INET6
                                               : AF_UNSPEC;
    struct addrinfo *list = NULL;
    char inner[64];
    size_t len = strlen(host);
    if (len > 2 && len - 2 < sizeof inner && host[0] == '[' && host[len - 1] == ']') {
        memcpy(inner, host + 1, len - 2); /* [::1], as addresses of xev may be written */
        inner[len - 2] = '\0';
        host = inner;
    }
    errno = 0;
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc == EAI_SERVICE) {
        hints.ai_socktype = SOCK_DGRAM; /* a service of UDP only */
        rc = getaddrinfo(host, service, &hints, &list);
    }
    if (rc != 0) {
        return dns_code(rc);
    }
    uint32_t n = 0;
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) ||
            a->ai_addrlen > sizeof addrs->storage) {
            continue;
        }
        if (n < max) {
            addrs[n] = (xev_addr){.len_bytes = a->ai_addrlen};
            memcpy(addrs[n].storage, a->ai_addr, a->ai_addrlen);
        }
        n++;
    }
    freeaddrinfo(list);
    *found = n;
    return n == 0 ? XEV_ENONAME : (int)(n < max ? n : max);
}

int xev__os_name(const xev_addr *addr, char *name, size_t len_bytes) {
    errno = 0;
    int rc = getnameinfo((const struct sockaddr *)(const void *)addr->storage, addr->len_bytes,
                         name, (socklen_t)len_bytes, NULL, 0, NI_NAMEREQD);
    return rc == 0 ? 0 : dns_code(rc);
}
