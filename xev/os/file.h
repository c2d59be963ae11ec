/* Internal: the system's calls for files. All of them may block: for pool threads. Codes are
 * XEV_E*. */
#ifndef XEV_OS_FILE_H
#define XEV_OS_FILE_H

#include "xev/addr.h"
#include "xev/file.h"

/* Offset for "at the position, which moves". */
#define XEV__AT_POSITION UINT64_MAX

int xev__os_file_open(const char *path, uint32_t flags, uint32_t mode);
int xev__os_file_readv(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset);
/* All of it; *done counts what was written, also before an error. */
int xev__os_file_writev(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset,
                        uint64_t *done);
int xev__os_file_sync(xev_fd fd, bool data_only);
int xev__os_file_stat(const char *path, bool follow, xev_file_stat *out);
int xev__os_file_stat_fd(xev_fd fd, xev_file_stat *out);
int xev__os_file_truncate(const char *path, uint64_t size);
int xev__os_file_truncate_fd(xev_fd fd, uint64_t size);
int xev__os_file_rename(const char *from, const char *to);
int xev__os_file_unlink(const char *path);
int xev__os_file_mkdir(const char *path, uint32_t mode);
int xev__os_file_rmdir(const char *path);
int xev__os_file_symlink(const char *target, const char *link_path);
int xev__os_file_link(const char *from, const char *to);
int xev__os_file_readdir(xev_fd fd, void *buf, size_t len_bytes);
bool xev__os_file_next_entry(const void *buf, size_t filled_bytes, size_t *at_bytes,
                             xev_file_entry *entry);

/* A copy in pieces: begin; then piece until it is 0 (the end) or an error; then end, with 0 or the
 * code it failed with, whose result is the copy's. */
struct xev__os_copy {
    xev_fd from, to;
    bool created;
    int way;
};
int xev__os_copy_begin(struct xev__os_copy *copy, const char *from, const char *to, bool exclusive);
int xev__os_copy_piece(struct xev__os_copy *copy);
int xev__os_copy_end(struct xev__os_copy *copy, const char *to, int result);

/* A piece of at most len_bytes to a non-blocking socket: bytes, 0 at the file's end, XEV_EAGAIN. */
int xev__os_sendfile(xev_fd socket, xev_fd file, uint64_t offset, size_t len_bytes);
/* Does not block. 1: it was blocking and no longer is; 0: it was not. */
int xev__os_leave_blocking(xev_fd fd);

#endif
