/* WASI: what its files have otherwise than POSIX: directories, which the caller reads by a cookie;
 * and nothing that goes on inside the host. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "xev/os/file.h"
#include "xev/os/socket.h"
#include "xev/os/wasi/wasi.h"

const int xev__sys_o_direct = 0;
const bool xev__sys_follows = true; /* node:wasi does */

int xev__sys_sync(int fd, bool data_only) {
    return xev__sys_result(data_only ? fdatasync(fd) : fsync(fd));
}

static int64_t in_ns(struct timespec t) { return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec; }

void xev__sys_times(const struct stat *st, xev_file_stat *out) {
    out->access_ns = in_ns(st->st_atim);
    out->modify_ns = in_ns(st->st_mtim);
    out->change_ns = in_ns(st->st_ctim);
}

int xev__sys_copy_piece(struct xev__os_copy *copy) {
    (void)copy;
    return XEV_ENOTSUP;
}

uint32_t xev__sys_interface_index(const char *name) {
    (void)name;
    return 0;
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
    (void)vec;
    (void)count;
    (void)len_bytes;
    (void)offset;
    return xev__wasi_lacks(fd);
}

int xev__os_file_write_now(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset) {
    (void)vec;
    (void)count;
    (void)offset;
    return xev__wasi_lacks(fd);
}

/* ---- directories ---- */

/* How far descriptors were read as directories. Few are at a time. */
struct directory {
    struct directory *next;
    xev_fd fd;
    __wasi_dircookie_t cookie;
};
static struct directory *directories;

static struct directory *directory_of(xev_fd fd) {
    struct directory *d = directories;
    while (d != NULL && d->fd != fd) {
        d = d->next;
    }
    if (d == NULL && (d = malloc(sizeof *d)) != NULL) {
        *d = (struct directory){.next = directories, .fd = fd};
        directories = d;
    }
    return d;
}

void xev__wasi_directory_closed(xev_fd fd) {
    for (struct directory **link = &directories; *link != NULL; link = &(*link)->next) {
        struct directory *d = *link;
        if (d->fd == fd) {
            *link = d->next;
            free(d);
            return;
        }
    }
}

/* An entry as the caller's buffer has it. Its name follows, with a zero at its end. No longer than
 * what the host has written for it. */
struct entry {
    uint64_t inode;
    uint16_t len_bytes; /* of all of it */
    uint8_t type;
};
enum { ENTRY_HEAD = 11 };
_Static_assert(ENTRY_HEAD + 1 <= sizeof(__wasi_dirent_t), "an entry only becomes shorter");

static bool is_dot_entry(const char *name, size_t len) {
    return (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.');
}

/* Write the entries that stand whole in buf as the caller is to see them, but for "." and "..".
 * Returns the bytes that they take; *cookie is behind the last one of all. */
static size_t convert_entries(char *buf, size_t filled_bytes, __wasi_dircookie_t *cookie) {
    size_t from = 0, to = 0;
    __wasi_dirent_t theirs;
    while (filled_bytes - from >= sizeof theirs) {
        memcpy(&theirs, buf + from, sizeof theirs);
        if (theirs.d_namlen > filled_bytes - from - sizeof theirs || theirs.d_namlen > 4096) {
            break;
        }
        const char *name = buf + from + sizeof theirs;
        from += sizeof theirs + theirs.d_namlen;
        *cookie = theirs.d_next;
        if (is_dot_entry(name, theirs.d_namlen)) {
            continue;
        }
        size_t len = ENTRY_HEAD + theirs.d_namlen + 1;
        assert(to + len <= from);
        memmove(buf + to + ENTRY_HEAD, name, theirs.d_namlen);
        buf[to + len - 1] = '\0';
        const struct entry ours = {theirs.d_ino, (uint16_t)len, theirs.d_type};
        memcpy(buf + to, &ours.inode, 8);
        memcpy(buf + to + 8, &ours.len_bytes, 2);
        memcpy(buf + to + 10, &ours.type, 1);
        to += len;
    }
    return to;
}

int xev__os_file_readdir(xev_fd fd, void *buf, size_t len_bytes) {
    struct directory *d = directory_of(fd);
    if (d == NULL) {
        return XEV_ENOMEM;
    }
    for (;;) {
        __wasi_size_t filled = 0;
        __wasi_errno_t error = __wasi_fd_readdir(fd, buf, len_bytes, d->cookie, &filled);
        if (error != 0) {
            return error == __WASI_ERRNO_INVAL ? XEV_ENOTDIR : xev__wasi_code(error);
        }
        __wasi_dircookie_t before = d->cookie;
        size_t len = convert_entries(buf, filled, &d->cookie);
        if (len > 0) {
            return (int)len;
        }
        if (filled < len_bytes || d->cookie == before) {
            /* The host fills the buffer where there are more. What does not fit it alone is a name
             * that is too long. */
            return filled < len_bytes ? XEV_EOF : XEV_EINVAL;
        }
    }
}

bool xev__os_file_next_entry(const void *buf, size_t filled_bytes, size_t *at_bytes,
                             xev_file_entry *out) {
    static const struct {
        __wasi_filetype_t theirs;
        enum xev_file_type ours;
    } types[] = {
        {__WASI_FILETYPE_REGULAR_FILE, XEV_FILE_REGULAR},
        {__WASI_FILETYPE_DIRECTORY, XEV_FILE_DIRECTORY},
        {__WASI_FILETYPE_SYMBOLIC_LINK, XEV_FILE_SYMLINK},
        {__WASI_FILETYPE_SOCKET_STREAM, XEV_FILE_SOCKET},
        {__WASI_FILETYPE_SOCKET_DGRAM, XEV_FILE_SOCKET},
        {__WASI_FILETYPE_CHARACTER_DEVICE, XEV_FILE_CHAR_DEVICE},
        {__WASI_FILETYPE_BLOCK_DEVICE, XEV_FILE_BLOCK_DEVICE},
    };
    if (*at_bytes >= filled_bytes || filled_bytes - *at_bytes <= ENTRY_HEAD) {
        return false;
    }
    const char *at = (const char *)buf + *at_bytes;
    struct entry entry;
    memcpy(&entry.inode, at, 8);
    memcpy(&entry.len_bytes, at + 8, 2);
    memcpy(&entry.type, at + 10, 1);
    if (entry.len_bytes <= ENTRY_HEAD || entry.len_bytes > filled_bytes - *at_bytes) {
        return false; /* the caller's buffer was not filled by a read */
    }
    *at_bytes += entry.len_bytes;
    *out = (xev_file_entry){.name = at + ENTRY_HEAD, .inode = entry.inode};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        out->type = types[i].theirs == entry.type ? types[i].ours : out->type;
    }
    return true;
}

/* ---- files to sockets: through a buffer ---- */

int xev__os_sendfile(xev_fd socket, xev_fd file, uint64_t offset, size_t len_bytes) {
    char buf[16 * 1024];
    assert(offset <= INT64_MAX && len_bytes > 0);
    size_t want = len_bytes < sizeof buf ? len_bytes : sizeof buf;
    int n = xev__sys_result(pread(file, buf, want, (off_t)offset));
    /* What the socket has no room for is read again. */
    return n > 0 ? xev__os_send(socket, buf, (size_t)n) : n;
}
