/* Linux: reads and writes that do not wait, directories (getdents64), and files that are copied or
 * sent inside the kernel. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "xev/error.h"
#include "xev/os/descriptor.h"
#include "xev/os/file.h"
#include "xev/os/linux/libc.h"
#include "xev/os/posix/sys.h"

/* How much a copy moves before it looks whether it is to stop. This takes some tens of ms. */
#define COPY_PIECE ((size_t)16 << 20)

int xev__sys_sync(int fd, bool data_only) {
    return xev__sys_result(data_only ? fdatasync(fd) : fsync(fd));
}

void xev__sys_times(const struct stat *st, xev_file_stat *out) {
    out->access_ns = (int64_t)st->st_atim.tv_sec * 1000000000 + st->st_atim.tv_nsec;
    out->modify_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    out->change_ns = (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
}

const int xev__sys_o_direct = O_DIRECT;
const bool xev__sys_follows = false;

/* ---- without waiting ---- */

/* O_DIRECT reads and writes wait for the disk under RWF_NOWAIT too, as do writes that are to reach
 * it. What is appended is to be one piece of the file whoever else appends: a try may write a part
 * of it, and others come before the thread that writes the rest. Pipes and devices: a thread has
 * always waited for those, and tries of them take data that a cancelled read leaves alone. */
uint32_t xev__os_file_can_try(xev_fd fd) {
    int flags = fcntl(fd, F_GETFL);
    struct statx st;
    /* DONT_SYNC: a server is not asked. */
    if (flags < 0 || (flags & O_DIRECT) != 0 ||
        statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0 ||
        (!S_ISREG(st.stx_mode) && !S_ISBLK(st.stx_mode))) {
        return 0;
    }
    return (flags & (O_SYNC | O_DSYNC | O_APPEND)) != 0 ? XEV__CAN_READ_NOW
                                                        : XEV__CAN_READ_NOW | XEV__CAN_WRITE_NOW;
}

bool xev__os_file_writes_through(xev_fd fd) {
    struct statvfs fs;
    return fstatvfs(fd, &fs) < 0 || (fs.f_flag & ST_SYNCHRONOUS) != 0;
}

/* These calls take -1 for "at the position", and other offsets beyond INT64_MAX for wrong. */
_Static_assert((off_t)XEV__AT_POSITION == -1, "as for preadv2");

static int read_some_now(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset) {
    const struct iovec *pieces = (const struct iovec *)(const void *)vec;
    int rc;
    do {
        rc = xev__sys_result(preadv2(fd, pieces, (int)count, (off_t)offset, RWF_NOWAIT));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_file_read_now(xev_fd fd, const xev_vec *vec, uint32_t count, size_t len_bytes,
                          uint64_t offset) {
    int rc = read_some_now(fd, vec, count, offset);
    if (rc <= 0 || (size_t)rc == len_bytes) {
        return rc;
    }
    assert((size_t)rc < len_bytes);
    /* That far it was in memory. Whether the file ends there is what the next byte says. */
    bool moves = offset == XEV__AT_POSITION;
    off_t behind = moves ? lseek(fd, 0, SEEK_CUR) : (off_t)offset + rc;
    if (behind < rc) {
        return rc; /* it has no position: a pipe has the number now, and the bytes are out of it */
    }
    char byte;
    xev_vec next = {&byte, 1};
    if (read_some_now(fd, &next, 1, (uint64_t)behind) == 0) {
        return rc;
    }
    if (moves) {
        (void)lseek(fd, behind - rc, SEEK_SET);
    }
    return XEV_EAGAIN;
}

int xev__os_file_write_now(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset) {
    const struct iovec *pieces = (const struct iovec *)(const void *)vec;
    int rc;
    do {
        rc = xev__sys_result(pwritev2(fd, pieces, (int)count, (off_t)offset, RWF_NOWAIT));
    } while (rc == XEV_EINTR);
    return rc;
}

/* ---- directories ---- */

static bool is_dots(const char *name) {
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

bool xev__os_file_next_entry(const void *buf, size_t filled_bytes, size_t *at_bytes,
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
    const size_t head = offsetof(struct dirent64, d_name);
    while (*at_bytes < filled_bytes && filled_bytes - *at_bytes > head) {
        const struct dirent64 *d =
            (const struct dirent64 *)(const void *)((const char *)buf + *at_bytes);
        if (d->d_reclen <= head || d->d_reclen > filled_bytes - *at_bytes) {
            return false; /* the caller's buffer was not filled by a read */
        }
        *at_bytes += d->d_reclen;
        assert(*at_bytes <= filled_bytes);
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

int xev__os_file_readdir(xev_fd fd, void *buf, size_t len_bytes) {
    for (;;) {
        int rc = xev__sys_result(getdents64(fd, buf, len_bytes));
        if (rc <= 0) {
            return rc == 0 ? XEV_EOF : rc;
        }
        assert((size_t)rc <= len_bytes);
        size_t at = 0;
        xev_file_entry entry;
        if (xev__os_file_next_entry(buf, (size_t)rc, &at, &entry)) {
            return rc;
        }
    }
}

/* ---- copy ---- */

int xev__sys_copy_piece(struct xev__os_copy *copy) {
    assert(copy->from > 2 && copy->to > 2 && copy->way >= 0);
    while (copy->way < 2) {
        int rc;
        do {
            rc = xev__sys_result(
                copy->way == 0 ? copy_file_range(copy->from, NULL, copy->to, NULL, COPY_PIECE, 0)
                               : sendfile(copy->to, copy->from, NULL, COPY_PIECE));
        } while (rc == XEV_EINTR);
        /* The call may not know one of the file systems, or not copy between two of them. The
         * kernel may be too old, or a filter forbid the call. 0 may be the end of the file, or may
         * come of a file of /proc, which says that its size is 0. */
        bool other_way = rc == 0 || rc == XEV_EXDEV || rc == XEV_EINVAL || rc == XEV_ENOTSUP ||
                         rc == XEV_ENOSYS || rc == XEV_EPERM;
        if (!other_way) {
            return rc;
        }
        copy->way++; /* the next way goes on from the positions of both files */
    }
    return XEV_ENOTSUP;
}

int xev__os_sendfile(xev_fd socket, xev_fd file, uint64_t offset, size_t len_bytes) {
    assert(offset <= INT64_MAX && len_bytes > 0);
    off_t at = (off_t)offset;
    int rc;
    do {
        rc = xev__sys_result(sendfile(socket, file, &at, len_bytes));
    } while (rc == XEV_EINTR);
    assert(rc < 0 || (size_t)rc <= len_bytes);
    return rc;
}
