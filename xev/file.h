/* Files and directories.
 *
 *     xev_file_req req;
 *     xev_file_open(&loop, &req, "/etc/hosts", XEV_OPEN_READ, 0, userdata, on_open);
 *     (in on_open, result >= 0)
 *     xev_file_read(result, loop, &req, buf, sizeof buf, userdata, on_read);
 *
 * Where. Operations run on a thread of the loop's pool (xev_loop_options.thread_pool), on all
 * backends alike, and call back on the loop. fsync and fdatasync are in XEV_LANE_FSYNC and
 * everything else is in XEV_LANE_FS, so a flush never keeps reads waiting. The table in file.c says
 * why no operation uses the ring. A pool thread is taken for as long as the system call lasts, so
 * these calls are for regular files, directories and block devices. A pipe, a terminal or a socket
 * without data would hold the thread: see fd.h for those.
 *
 * Tries. A small read or write that would not wait needs no thread. The loop tries reads and writes
 * of up to 64 KiB itself, in its turn, in a form that does not wait (RWF_NOWAIT of preadv2(2)):
 * reads of data that is in the page cache, and writes on file systems that can tell that a write
 * would wait (XFS and Btrfs, for instance, but not ext4). A thread does what a try has left. Not
 * tried are: a file that was opened with XEV_OPEN_DIRECT; a write with XEV_OPEN_SYNC, or with
 * XEV_OPEN_APPEND, which others' appends must not come between; what is neither a regular file nor
 * a block device; and, for a while, reads of a file whose data was not in memory several times in a
 * row. One turn makes at most 32 tries, or as many as copy 256 KiB or take 0.05 ms, so that the
 * loop goes on with everything else. A loop without a pool tries nothing, and reports XEV_ENOPOOL
 * even for data in memory. A pool that is shut down refuses only operations that need a thread.
 *
 * The request is the caller's. Like a completion it stays at one address from submission until its
 * terminal callback is entered, and needs no initialisation. req->c is its completion, for
 * xev_cancel, xev_completion_set_timeout, ref and unref. Buffers, vectors and paths are not copied:
 * the caller keeps them until the callback. No operation allocates.
 *
 * Cancel and time-out. An operation that waits for its try or for a thread ends with XEV_ECANCELED
 * or XEV_ETIMEDOUT, and has had no effect, except that of a write whose try wrote a part
 * req->done_bytes are written. One that runs ends with its real result, and a cancel of it reports
 * XEV_ENOENT. Only xev_file_copy and xev_file_sendfile look up between pieces, and stop in the
 * middle.
 *
 * Order. Operations at the position of a file (read, write, their vectored forms, and readdir) run
 * one after the other on one descriptor, in the order of submission; an error in one does not stop
 * the next. All others run side by side, in any order: an operation that must come after another is
 * submitted in the callback of that one.
 *
 * Close. xev_file_close, or any close of the same loop, cancels what waits, lets what runs finish,
 * and closes after the last operation has reported. So no thread works on a number that may already
 * be another file's. From the call of the close until its callback, another close of the descriptor
 * reports XEV_EBADF, and another operation XEV_ECANCELED. The kernel frees the number shortly
 * before the callback; a new file that gets it in between is recognised as another one, and can be
 * used. The caller takes care of the second descriptor of an operation (the file of
 * xev_file_sendfile).
 *
 * Results that all operations have: XEV_ENOPOOL (the loop has no pool), XEV_ECANCELED,
 * XEV_ETIMEDOUT, XEV_EAGAIN (no thread could be started), XEV_EBADF, XEV_EIO, XEV_ENOMEM. Paths end
 * with a NUL, and are relative to the working directory. All operations that take a path have
 * XEV_ENOENT, XEV_ENOTDIR, XEV_EACCES, XEV_ELOOP, XEV_ENAMETOOLONG and XEV_EROFS. All calls: loop's
 * thread.
 */
#ifndef XEV_FILE_H
#define XEV_FILE_H

#include "xev/vec.h"
#include "xev/work.h"

enum xev_open_flags {
    XEV_OPEN_READ = 1 << 0,
    XEV_OPEN_WRITE = 1 << 1, /* with READ: both; one of them is needed, unless DIRECTORY */
    XEV_OPEN_CREATE = 1 << 2,
    XEV_OPEN_EXCLUSIVE = 1 << 3, /* with CREATE: XEV_EEXIST if it exists */
    XEV_OPEN_TRUNCATE = 1 << 4,
    XEV_OPEN_APPEND = 1 << 5, /* each write goes to the end, and its offset is ignored */
    /* XEV_ENOTDIR for anything else; needed for readdir; without CREATE */
    XEV_OPEN_DIRECTORY = 1 << 6,
    XEV_OPEN_NOFOLLOW = 1 << 7, /* XEV_ELOOP for a symbolic link */
    /* past the page cache; the caller aligns what it reads and writes */
    XEV_OPEN_DIRECT = 1 << 8,
    XEV_OPEN_SYNC = 1 << 9, /* each write has reached storage when it reports */
    XEV_OPEN_ALL = (1 << 10) - 1,
};

enum xev_file_type {
    XEV_FILE_UNKNOWN, /* of readdir: the file system does not tell; stat does */
    XEV_FILE_REGULAR,
    XEV_FILE_DIRECTORY,
    XEV_FILE_SYMLINK,
    XEV_FILE_FIFO,
    XEV_FILE_SOCKET,
    XEV_FILE_CHAR_DEVICE,
    XEV_FILE_BLOCK_DEVICE,
};

typedef struct xev_file_stat {
    uint64_t size_bytes;
    uint64_t allocated_bytes; /* less than size_bytes if the file has holes */
    uint64_t device, inode;
    uint64_t links;
    uint32_t mode; /* permission bits, 07777 */
    uint32_t uid, gid;
    enum xev_file_type type;
    int64_t access_ns, modify_ns, change_ns; /* since 1970 */
} xev_file_stat;

/* One entry of a directory. */
typedef struct xev_file_entry {
    const char *name; /* points into the buffer of the read */
    uint64_t inode;
    enum xev_file_type type;
} xev_file_entry;

enum xev_copy_flags {
    XEV_COPY_EXCLUSIVE = 1 << 0, /* XEV_EEXIST if the target exists */
};

/* The smallest buffer for xev_file_readdir: it holds any name. */
#define XEV_FILE_READDIR_MIN 512

/* For the callback to read: c, stat and done_bytes. All other fields are private. */
typedef struct xev_file_req {
    xev_completion c;
    struct xev__request_link link;
    union {
        xev_file_stat stat;  /* result of the stat calls */
        xev_completion step; /* of sendfile and close: the step under way */
    };
    /* write, copy, sendfile: bytes that were transferred, also those before an error or a cancel */
    uint64_t done_bytes;
    const char *path, *path2;
    const xev_vec *vec;
    xev_vec one;
    uint64_t offset, length;
    uint32_t count, flags;
    xev_fd file;
} xev_file_req;

XEV_BEGIN_DECLS

/* Open path. flags: XEV_OPEN_*. mode: the permissions of a file that it creates, 0 to 07777, less
 * the umask of the process. Result: a descriptor, the caller's, close-on-exec; or XEV_EISDIR,
 * XEV_EEXIST, XEV_EMFILE, XEV_ENFILE, XEV_ETXTBSY, XEV_ENXIO, XEV_EINVAL (flags, mode). A cancelled
 * open has opened nothing.
 *
 * It waits for no other program. A FIFO is opened for reading at once: a read finds XEV_EOF until a
 * writer has come, so poll it for XEV_POLL_IN to wait for one. It is opened for writing only while
 * another program has it open for reading, else XEV_ENXIO. A serial line is opened whether or not
 * there is a carrier. */
void xev_file_open(xev_loop *loop, xev_file_req *req, const char *path, uint32_t flags,
                   uint32_t mode, void *userdata, xev_cb cb);

/* Close fd, after everything active on it in this loop has reported: see Close above. The system
 * call runs on the pool, because it may free all blocks of a file, or flush it to a server; if
 * there is no pool, or it has no thread, it runs on the loop. Result: 0, XEV_EBADF (not open, or
 * being closed), XEV_EIO, XEV_EDQUOT, XEV_ENOSPC (the descriptor is closed, but data was lost). A
 * close cannot be cancelled. */
void xev_file_close(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb);

/* Read up to len_bytes (1 to INT32_MAX) at the position, which moves, or (pread) at offset_bytes
 * (to INT64_MAX). Result: bytes (> 0), XEV_EOF (at the end or beyond), XEV_EISDIR, XEV_EINVAL
 * (len_bytes, offset_bytes), XEV_ESPIPE (pread of what has no position). Fewer bytes than asked for
 * are read near the end of the file, and where len_bytes is above 2 GiB less a page. */
void xev_file_read(xev_fd fd, xev_loop *loop, xev_file_req *req, void *buf, size_t len_bytes,
                   void *userdata, xev_cb cb);
void xev_file_pread(xev_fd fd, xev_loop *loop, xev_file_req *req, void *buf, size_t len_bytes,
                    uint64_t offset_bytes, void *userdata, xev_cb cb);

/* The same into count pieces (1 to XEV_VEC_MAX) of together 1 to INT32_MAX bytes; outside these
 * ranges XEV_EINVAL. The caller keeps vec itself until the callback, too. */
void xev_file_readv(xev_fd fd, xev_loop *loop, xev_file_req *req, const xev_vec *vec, size_t count,
                    void *userdata, xev_cb cb);
void xev_file_preadv(xev_fd fd, xev_loop *loop, xev_file_req *req, const xev_vec *vec, size_t count,
                     uint64_t offset_bytes, void *userdata, xev_cb cb);

/* Write all of len_bytes (1 to INT32_MAX), at the position or at offset_bytes; a partial write is
 * continued. Result: len_bytes, or an error; req->done_bytes then says how many bytes were written
 * before it. XEV_ENOSPC, XEV_EDQUOT, XEV_EFBIG, XEV_ESPIPE, XEV_EINVAL (lengths, count or
 * offset_bytes outside the ranges of reads). SIGPIPE is not raised: from the first write that is
 * tried on, SIGPIPE and SIGXFSZ are blocked in the loop's thread, as they are in those of the pool.
 */
void xev_file_write(xev_fd fd, xev_loop *loop, xev_file_req *req, const void *buf, size_t len_bytes,
                    void *userdata, xev_cb cb);
void xev_file_pwrite(xev_fd fd, xev_loop *loop, xev_file_req *req, const void *buf,
                     size_t len_bytes, uint64_t offset_bytes, void *userdata, xev_cb cb);
void xev_file_writev(xev_fd fd, xev_loop *loop, xev_file_req *req, const xev_vec *vec, size_t count,
                     void *userdata, xev_cb cb);
void xev_file_pwritev(xev_fd fd, xev_loop *loop, xev_file_req *req, const xev_vec *vec,
                      size_t count, uint64_t offset_bytes, void *userdata, xev_cb cb);

/* Flush to storage: everything (fsync), or what is needed to read the data back (fdatasync). Covers
 * all writes that have reported, by any descriptor of the file. Of a directory
 * (XEV_OPEN_DIRECTORY): the names in it; a file that was made, renamed or removed is so after a
 * loss of power only when its directory was flushed. Result: 0, XEV_EIO, XEV_ENOSPC, XEV_EINVAL (a
 * file that cannot be flushed). After an error the system may have dropped what it could not write,
 * and report 0 the next time: what was written since the last flush that reported 0 is not known.
 */
void xev_file_fsync(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb);
void xev_file_fdatasync(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb);

/* Read what is known of a file. lstat: of a symbolic link itself. Result: 0, and req->stat is
 * filled in. */
void xev_file_stat_path(xev_loop *loop, xev_file_req *req, const char *path, void *userdata,
                        xev_cb cb);
void xev_file_lstat_path(xev_loop *loop, xev_file_req *req, const char *path, void *userdata,
                         xev_cb cb);
void xev_file_stat_fd(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb);

/* Set the size of a file; bytes that are added read as zero. Result: 0, XEV_EINVAL (the file has no
 * size, or is not open for writing), XEV_EFBIG, XEV_EISDIR, XEV_ETXTBSY. */
void xev_file_truncate(xev_fd fd, xev_loop *loop, xev_file_req *req, uint64_t size_bytes,
                       void *userdata, xev_cb cb);
void xev_file_truncate_path(xev_loop *loop, xev_file_req *req, const char *path,
                            uint64_t size_bytes, void *userdata, xev_cb cb);

/* Names. Result: 0 or a code.
 *
 * - rename: from becomes to; an existing to is replaced atomically. XEV_EXDEV, XEV_ENOTEMPTY,
 *   XEV_EISDIR, XEV_EINVAL.
 * - unlink: remove the name of a file. XEV_EISDIR or XEV_EPERM for a directory.
 * - mkdir: make a directory; mode 0 to 07777 as in open, else XEV_EINVAL. XEV_EEXIST.
 * - rmdir: remove an empty directory. XEV_ENOTEMPTY, XEV_EBUSY.
 * - symlink: make link_path a symbolic link with the text target. XEV_EEXIST.
 * - link: to becomes another name of the file from. XEV_EEXIST, XEV_EXDEV, XEV_EMLINK, XEV_EPERM.
 */
void xev_file_rename(xev_loop *loop, xev_file_req *req, const char *from, const char *to,
                     void *userdata, xev_cb cb);
void xev_file_unlink(xev_loop *loop, xev_file_req *req, const char *path, void *userdata,
                     xev_cb cb);
void xev_file_mkdir(xev_loop *loop, xev_file_req *req, const char *path, uint32_t mode,
                    void *userdata, xev_cb cb);
void xev_file_rmdir(xev_loop *loop, xev_file_req *req, const char *path, void *userdata, xev_cb cb);
void xev_file_symlink(xev_loop *loop, xev_file_req *req, const char *target, const char *link_path,
                      void *userdata, xev_cb cb);
void xev_file_link(xev_loop *loop, xev_file_req *req, const char *from, const char *to,
                   void *userdata, xev_cb cb);

/* Read as many entries as fit from a directory that was opened with XEV_OPEN_DIRECTORY, from where
 * the last read ended; "." and ".." are left out. buf is aligned to 8; len_bytes is
 * XEV_FILE_READDIR_MIN to INT32_MAX. Result: how many bytes of buf are filled (> 0); XEV_EOF (all
 * entries were read), XEV_ENOTDIR, XEV_EINVAL. Entries that are made or removed meanwhile may or
 * may not be read. To start over, open the directory again. */
void xev_file_readdir(xev_fd fd, xev_loop *loop, xev_file_req *req, void *buf, size_t len_bytes,
                      void *userdata, xev_cb cb);

/* The next entry in buf, of which xev_file_readdir has filled filled_bytes. *at_bytes: 0 at first;
 * each call moves it on. entry->name is valid as long as buf is. Returns false when there are no
 * more entries in this buffer, or it holds something else. Any thread. */
bool xev_file_next_entry(const void *buf, size_t filled_bytes, size_t *at_bytes,
                         xev_file_entry *entry);

/* Copy the contents of the file from to the file to. If to does not exist it is created with from's
 * permissions (read, write, execute), else it is emptied first. flags: XEV_COPY_*. The kernel
 * copies where the file systems can (by sharing blocks, or on the server); otherwise the data goes
 * through a buffer. Result: 0, and req->done_bytes is the size; or XEV_EISDIR, XEV_EINVAL (flags,
 * the same file twice, or a pipe), XEV_ENOSPC, XEV_EEXIST, ... After an error a file that this call
 * created is removed; one that existed keeps what was copied. A cancel or a time-out takes effect
 * between pieces. */
void xev_file_copy(xev_loop *loop, xev_file_req *req, const char *from, const char *to,
                   uint32_t flags, void *userdata, xev_cb cb);

/* Send len_bytes (1 to INT32_MAX) of file, from offset_bytes on, to a connected socket, without a
 * copy through user space. It takes its turn among the sends of the socket. Result: bytes sent,
 * fewer than len_bytes if the file ended; XEV_EOF if the file had none; or an error, and
 * req->done_bytes says how many were sent before it: XEV_EPIPE (also: not connected),
 * XEV_ECONNRESET, XEV_EINVAL (the file cannot be sent, len_bytes, or a range that ends beyond
 * INT64_MAX), ...
 *
 * A peer that does not read holds no thread: the loop waits until the socket has room, and a thread
 * then sends what fits. A close of the socket ends the operation. file must stay open until the
 * callback. The socket is non-blocking meanwhile, for everyone who shares it. sendfile(2). */
void xev_file_sendfile(xev_fd socket, xev_loop *loop, xev_file_req *req, xev_fd file,
                       uint64_t offset_bytes, size_t len_bytes, void *userdata, xev_cb cb);

XEV_END_DECLS

#endif
