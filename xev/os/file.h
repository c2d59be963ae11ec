/* Internal: the system's calls for files. They may wait for a disk or a server, so pool threads
 * make them, except where a comment says that a call does not wait. Codes are XEV_E*. */
#ifndef XEV_OS_FILE_H
#define XEV_OS_FILE_H

#include "xev/addr.h"
#include "xev/file.h"

/* As an offset: at the file's position, which then moves. */
#define XEV__AT_POSITION UINT64_MAX

int xev__os_file_open(const char *path, uint32_t flags, uint32_t mode);
int xev__os_file_readv(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset);
/* Write all of it behind the first *done bytes, which are written already. *done is then how much
 * is written, also where an error ended it. */
int xev__os_file_writev(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset,
                        uint64_t *done);

/* The same without waiting: XEV_EAGAIN where data or room would have to be waited for, other codes
 * where the system or this file has no such call, or for an error. A read gives all len_bytes that
 * vec has, or as many as there are before the end of the file (0: none); else XEV_EAGAIN, and the
 * position is as it was. A write may be in part. Only for files that xev__os_file_can_try allows.
 */
int xev__os_file_read_now(xev_fd fd, const xev_vec *vec, uint32_t count, size_t len_bytes,
                          uint64_t offset);
int xev__os_file_write_now(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset);
/* XEV__CAN_*: which of the two cannot wait for storage, as far as that depends on the kind of file
 * and on how it was opened. Does not wait. */
enum { XEV__CAN_READ_NOW = 1, XEV__CAN_WRITE_NOW = 2 };
uint32_t xev__os_file_can_try(xev_fd fd);
/* Every write to the file system waits for storage, however the file was opened. Does not wait
 * where a write_now has succeeded. */
bool xev__os_file_writes_through(xev_fd fd);

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

/* A copy in pieces. Call begin once; then piece, until it answers 0 (the end) or a code; then end,
 * with that result. The result of end is the copy's. */
struct xev__os_copy {
    xev_fd from, to;
    bool created;
    int way;
};
int xev__os_copy_begin(struct xev__os_copy *copy, const char *from, const char *to, bool exclusive);
int xev__os_copy_piece(struct xev__os_copy *copy);
int xev__os_copy_end(struct xev__os_copy *copy, const char *to, int result);

/* Send at most len_bytes to a non-blocking socket. The result is the number of bytes, 0 at the
 * file's end, or a code; XEV_EAGAIN: the socket has no room. */
int xev__os_sendfile(xev_fd socket, xev_fd file, uint64_t offset, size_t len_bytes);
/* Make a descriptor non-blocking. 1: it was blocking before; 0: it was not. The call does not
 * block. */
int xev__os_leave_blocking(xev_fd fd);

#endif
