/* macOS and the BSDs: directories, and what their file calls lack: reads and writes that do not
 * wait, copies inside the kernel. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xev/error.h"
#include "xev/os/descriptor.h"
#include "xev/os/file.h"
#include "xev/os/posix/posix.h"
#include "xev/os/socket.h"

#if defined(O_DIRECT)
const int xev__sys_o_direct = O_DIRECT;
#else
const int xev__sys_o_direct = 0;
#endif
const bool xev__sys_follows = false;

#if defined(__APPLE__)
int xev__sys_sync(int fd, bool data_only) {
    (void)data_only;
    /* fsync leaves the data in the disk's own memory. A file system may not know the request. */
    int rc = xev__sys_result(fcntl(fd, F_FULLFSYNC));
    return rc == XEV_ENOTSUP || rc == XEV_ENOTTY || rc == XEV_EINVAL ? xev__sys_result(fsync(fd))
           : rc < 0                                                  ? rc
                                                                     : 0;
}

#define TIME(st, which) (st)->st_##which##timespec
#else
int xev__sys_sync(int fd, bool data_only) {
    return xev__sys_result(data_only ? fdatasync(fd) : fsync(fd));
}

#define TIME(st, which) (st)->st_##which##tim
#endif

static int64_t file_time_ns(struct timespec t) {
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void xev__sys_times(const struct stat *st, xev_file_stat *out) {
    out->access_ns = file_time_ns(TIME(st, a));
    out->modify_ns = file_time_ns(TIME(st, m));
    out->change_ns = file_time_ns(TIME(st, c));
}

/* ---- without waiting: there is no such call ---- */

uint32_t xev__os_file_can_try(xev_fd fd) {
    (void)fd;
    return 0;
}

bool xev__os_file_writes_through(xev_fd fd) {
    (void)fd;
    return true;
}

int xev__os_file_read_now(xev_fd fd, const xev_vec *vec, uint32_t count, size_t len_bytes,
                          uint64_t offset) {
    (void)fd;
    (void)vec;
    (void)count;
    (void)len_bytes;
    (void)offset;
    return XEV_ENOTSUP;
}

int xev__os_file_write_now(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset) {
    (void)fd;
    (void)vec;
    (void)count;
    (void)offset;
    return XEV_ENOTSUP;
}

/* ---- directories ---- */

/* What readdir fills the caller's buffer with: records of this head, a name and its zero. */
struct entry {
    uint64_t inode;
    uint16_t record_bytes;
    uint8_t type; /* enum xev_file_type */
};
#define NAME_AT (offsetof(struct entry, type) + 1)

static bool is_no_entry(const char *name) {
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static enum xev_file_type type_of_entry(int type) {
    switch (type) {
    case DT_REG:
        return XEV_FILE_REGULAR;
    case DT_DIR:
        return XEV_FILE_DIRECTORY;
    case DT_LNK:
        return XEV_FILE_SYMLINK;
    case DT_FIFO:
        return XEV_FILE_FIFO;
    case DT_SOCK:
        return XEV_FILE_SOCKET;
    case DT_CHR:
        return XEV_FILE_CHAR_DEVICE;
    case DT_BLK:
        return XEV_FILE_BLOCK_DEVICE;
    default:
        return XEV_FILE_UNKNOWN;
    }
}

bool xev__os_file_next_entry(const void *buf, size_t filled_bytes, size_t *at_bytes,
                             xev_file_entry *entry) {
    struct entry e;
    if (*at_bytes > filled_bytes || filled_bytes - *at_bytes < sizeof e) {
        return false;
    }
    const char *record = (const char *)buf + *at_bytes;
    memcpy(&e, record, sizeof e);
    if (e.record_bytes < sizeof e || e.record_bytes > filled_bytes - *at_bytes) {
        return false; /* the caller's buffer was not filled by a read */
    }
    *at_bytes += e.record_bytes;
    *entry = (xev_file_entry){
        .name = record + NAME_AT, .inode = e.inode, .type = (enum xev_file_type)e.type};
    return true;
}

/* Fill buf from the entries behind the first *seen ones. The result is the bytes, 0 at the end. */
static int fill_from(DIR *dir, char *buf, size_t len_bytes, uint64_t *seen) {
    size_t at = 0;
    for (uint64_t i = 0;; i++) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (d == NULL) {
            return errno != 0 ? -errno : (int)at;
        }
        if (i < *seen) {
            continue;
        }
        size_t name_bytes = strlen(d->d_name) + 1;
        size_t bytes = (NAME_AT + name_bytes + _Alignof(struct entry) - 1) /
                       _Alignof(struct entry) * _Alignof(struct entry);
        bytes = bytes < sizeof(struct entry) ? sizeof(struct entry) : bytes;
        if (!is_no_entry(d->d_name)) {
            if (bytes > len_bytes - at) {
                return at > 0 ? (int)at : XEV_EINVAL;
            }
            struct entry e = {.inode = d->d_ino,
                              .record_bytes = (uint16_t)bytes,
                              .type = (uint8_t)type_of_entry(d->d_type)};
            memcpy(buf + at, &e, sizeof e);
            memcpy(buf + at + NAME_AT, d->d_name, name_bytes);
            at += bytes;
        }
        ++*seen;
    }
}

/* Their calls for entries differ, and that of macOS is private. So the folder is opened once more
 * for each call, and the position of fd counts the entries that were given. */
int xev__os_file_readdir(xev_fd fd, void *buf, size_t len_bytes) {
    off_t position = lseek(fd, 0, SEEK_CUR);
    if (position < 0) {
        return errno == ESPIPE ? XEV_ENOTDIR : -errno;
    }
    int again = xev__sys_new_fd(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (again < 0) {
        return again;
    }
    DIR *dir = fdopendir(again);
    if (dir == NULL) {
        int rc = -errno;
        (void)close(again);
        return rc;
    }
    uint64_t seen = (uint64_t)position;
    int rc = fill_from(dir, buf, len_bytes, &seen);
    (void)closedir(dir);
    if (rc > 0 && lseek(fd, (off_t)seen, SEEK_SET) < 0) {
        rc = -errno;
    }
    return rc == 0 ? XEV_EOF : rc;
}

/* ---- copies ---- */

int xev__sys_copy_piece(struct xev__os_copy *copy) {
    (void)copy;
    return XEV_ENOTSUP;
}

/* On the stack, and a pool's stacks may be small. */
#define PIECE ((size_t)16 << 10)

int xev__os_sendfile(xev_fd socket, xev_fd file, uint64_t offset, size_t len_bytes) {
    char buf[PIECE];
    assert(offset <= INT64_MAX && len_bytes > 0);
    xev_vec vec = {buf, len_bytes < sizeof buf ? len_bytes : sizeof buf};
    int n = xev__os_file_readv(file, &vec, 1, offset);
    return n > 0 ? xev__os_send(socket, buf, (size_t)n) : n;
}
