/* Files and directories.
 *
 * Operations run on a thread of the loop's pool (xev_loop_options.thread_pool), on all backends
 * alike, and report on the loop: fsync and fdatasync in XEV_LANE_FSYNC, everything else in
 * XEV_LANE_FS, so that flushing never keeps reads waiting. The table in file.c says why no
 * operation uses the ring. A pool thread is taken for as long as the system call lasts, so these
 * calls are for regular files, directories and block devices; a pipe, a terminal or a socket that
 * has nothing to give would hold the thread: see fd.h for those.
 *
 * Small reads and writes need no thread where nothing has to be waited for. The loop tries those of
 * up to 64 KiB itself, from its turn, in a form that does not wait: reads of what is in the page
 * cache, and writes on file systems that can say that they would wait (XFS and Btrfs, for instance;
 * not ext4). A thread does what the try leaves. Not tried is what is opened with XEV_OPEN_DIRECT, a
 * write with XEV_OPEN_SYNC, and what is no regular file or block device; and, for a while, reads of
 * a file that is not in memory, one after the other. One turn makes at most 64 tries, or as many as
 * copy 512 KiB or take 0.1 ms, so that a loop that reads at full speed goes on with everything
 * else. A loop without a pool tries nothing either: it reports XEV_ENOPOOL, whatever is in memory.
 * A pool that is shut down turns away only what needs a thread.
 *
 * The request. Caller-owned, at one address from submission until its terminal callback is entered,
 * like a completion; it need not be initialised. req->c is its completion, for xev_cancel,
 * xev_completion_set_timeout, ref and unref. Buffers, vectors and paths are not copied: the caller
 * keeps them until the callback. No operation allocates.
 *
 * Cancel and deadline. An operation that waits for its try or for a thread ends with XEV_ECANCELED
 * or XEV_ETIMEDOUT and has had no effect; of a write that could not be tried to its end,
 * req->done_bytes were written. One that is running ends with its real result, and the cancel
 * reports XEV_ENOENT; only xev_file_copy and xev_file_sendfile look up between pieces and stop in
 * the middle.
 *
 * Order. Operations at the file's position (read, write and their vectored forms, readdir) on one
 * descriptor run one after the other, in the order of submission; an error in one does not stop the
 * next. All others run side by side, in any order: what must come after something is submitted from
 * its callback.
 *
 * Close. xev_file_close (or any close of the same loop) cancels what waits, lets what runs finish,
 * and closes after the last of them has reported: no thread works on a number that may already be
 * another file's. From the call to the callback the descriptor is being closed: another close of it
 * reports XEV_EBADF, another operation XEV_ECANCELED. The kernel frees the number somewhat before
 * the callback. A file that gets it in between is known for another one, and can be used. Of the
 * other descriptors an operation uses (xev_file_sendfile's file) the caller takes care.
 *
 * Results common to all: XEV_ENOPOOL (the loop has no pool), XEV_ECANCELED, XEV_ETIMEDOUT,
 * XEV_EAGAIN (no thread could be started), XEV_EBADF, XEV_EIO, XEV_ENOMEM. Paths are
 * NUL-terminated, relative to the working directory; XEV_ENOENT, XEV_ENOTDIR, XEV_EACCES,
 * XEV_ELOOP, XEV_ENAMETOOLONG, XEV_EROFS are results of all that take one. All calls: loop's
 * thread.
 */
#ifndef XEV_FILE_H
#define XEV_FILE_H

#include "xev/vec.h"
#include "xev/work.h"

enum xev_open_flags {
    XEV_OPEN_READ = 1 << 0,
    XEV_OPEN_WRITE = 1 << 1, /* with READ: both; at least one, unless DIRECTORY */
    XEV_OPEN_CREATE = 1 << 2,
    XEV_OPEN_EXCLUSIVE = 1 << 3, /* with CREATE: XEV_EEXIST where it exists */
    XEV_OPEN_TRUNCATE = 1 << 4,
    XEV_OPEN_APPEND = 1 << 5,    /* each write goes to the end, an offset is ignored */
    XEV_OPEN_DIRECTORY = 1 << 6, /* XEV_ENOTDIR for anything else; for readdir, without CREATE */
    XEV_OPEN_NOFOLLOW = 1 << 7,  /* XEV_ELOOP for a symbolic link */
    XEV_OPEN_DIRECT = 1 << 8,    /* past the page cache; alignment is the caller's */
    XEV_OPEN_SYNC = 1 << 9,      /* each write reaches storage before it reports */
    XEV_OPEN_ALL = (1 << 10) - 1,
};

enum xev_file_type {
    XEV_FILE_UNKNOWN, /* readdir: the file system does not say; ask stat */
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
    uint64_t allocated_bytes; /* less than size where the file has holes */
    uint64_t device, inode;
    uint64_t links;
    uint32_t mode; /* permission bits, 07777 */
    uint32_t uid, gid;
    enum xev_file_type type;
    int64_t access_ns, modify_ns, change_ns; /* since 1970 */
} xev_file_stat;

/* One name in a directory. */
typedef struct xev_file_entry {
    const char *name; /* in the buffer of the read */
    uint64_t inode;
    enum xev_file_type type;
} xev_file_entry;

enum xev_copy_flags {
    XEV_COPY_EXCLUSIVE = 1 << 0, /* XEV_EEXIST where the target exists */
};

/* Smallest buffer for xev_file_readdir: any name with what belongs to it. */
#define XEV_FILE_READDIR_MIN 512

/* In the callback, read: c, stat, done_bytes. All other fields are private. */
typedef struct xev_file_req {
    xev_completion c;
    struct xev__request_link link;
    union {
        xev_file_stat stat;  /* result of the stat calls */
        xev_completion step; /* sendfile, close: what it does now */
    };
    /* write, copy, sendfile: bytes that were transferred, also before an error or a cancel. */
    uint64_t done_bytes;
    const char *path, *path2;
    const xev_vec *vec;
    xev_vec one;
    uint64_t offset, length;
    uint32_t count, flags;
    xev_fd file;
} xev_file_req;

XEV_BEGIN_DECLS

/* Open path, without waiting for anybody: a FIFO is opened for reading at once (poll it for
 * XEV_POLL_IN to wait for a writer, since a read finds XEV_EOF before one has come), and for
 * writing only while somebody has it open for reading, else XEV_ENXIO; a serial line is opened
 * whether or not there is a carrier. flags: XEV_OPEN_*; mode: permissions of a file it creates (0
 * to 07777, less the process's umask). Result: a descriptor, the caller's, close-on-exec.
 * XEV_EISDIR, XEV_EEXIST, XEV_EMFILE, XEV_ENFILE, XEV_ETXTBSY, XEV_ENXIO, XEV_EINVAL (flags). A
 * cancelled open has opened nothing. */
void xev_file_open(xev_loop *loop, xev_file_req *req, const char *path, uint32_t flags,
                   uint32_t mode, void *userdata, xev_cb cb);

/* Close, after everything active on fd in this loop has reported: see above. The system call runs
 * on the pool, for it may free a whole file's blocks or flush it to a server; where there is no
 * pool, or its threads are not to be had, on the loop. Result: 0, XEV_EBADF (not open, or being
 * closed), XEV_EIO, XEV_EDQUOT, XEV_ENOSPC (the descriptor is closed, data was lost). Cannot be
 * cancelled. */
void xev_file_close(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb);

/* Read up to len_bytes (1 to INT32_MAX): at the position, which moves, or at offset_bytes (up to
 * INT64_MAX). Result: bytes (> 0; fewer near the end of the file, and where 2 GiB less a page or
 * more are asked for), XEV_EOF at or after the
 * end, XEV_EISDIR, XEV_EINVAL (len_bytes, offset), XEV_ESPIPE (offset in what has none). */
void xev_file_read(xev_fd fd, xev_loop *loop, xev_file_req *req, void *buf, size_t len_bytes,
                   void *userdata, xev_cb cb);
void xev_file_pread(xev_fd fd, xev_loop *loop, xev_file_req *req, void *buf, size_t len_bytes,
                    uint64_t offset_bytes, void *userdata, xev_cb cb);

/* The same into count pieces (1 to XEV_VEC_MAX) of 1 to INT32_MAX bytes together, else
 * XEV_EINVAL. vec itself is kept until the callback too. */
void xev_file_readv(xev_fd fd, xev_loop *loop, xev_file_req *req, const xev_vec *vec, size_t count,
                    void *userdata, xev_cb cb);
void xev_file_preadv(xev_fd fd, xev_loop *loop, xev_file_req *req, const xev_vec *vec, size_t count,
                     uint64_t offset_bytes, void *userdata, xev_cb cb);

/* Write all of len_bytes (1 to INT32_MAX): partial writes are continued. Result: len_bytes, or an
 * error, and then req->done_bytes says how many were written before it. XEV_ENOSPC, XEV_EDQUOT,
 * XEV_EFBIG, XEV_ESPIPE, XEV_EINVAL (lengths, count or offset out of the ranges for reads). Raises
 * no SIGPIPE: from the first one that is tried on, SIGPIPE and SIGXFSZ are blocked in the loop's
 * thread, as they are in the pool's. */
void xev_file_write(xev_fd fd, xev_loop *loop, xev_file_req *req, const void *buf, size_t len_bytes,
                    void *userdata, xev_cb cb);
void xev_file_pwrite(xev_fd fd, xev_loop *loop, xev_file_req *req, const void *buf,
                     size_t len_bytes, uint64_t offset_bytes, void *userdata, xev_cb cb);
void xev_file_writev(xev_fd fd, xev_loop *loop, xev_file_req *req, const xev_vec *vec, size_t count,
                     void *userdata, xev_cb cb);
void xev_file_pwritev(xev_fd fd, xev_loop *loop, xev_file_req *req, const xev_vec *vec,
                      size_t count, uint64_t offset_bytes, void *userdata, xev_cb cb);

/* Flush to storage: everything, or what is needed to read the data back. Covers writes that have
 * reported. Result: 0, XEV_EIO, XEV_ENOSPC, XEV_EINVAL (cannot be flushed). */
void xev_file_fsync(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb);
void xev_file_fdatasync(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb);

/* Result: 0, with req->stat filled in. lstat: of a symbolic link itself. */
void xev_file_stat_path(xev_loop *loop, xev_file_req *req, const char *path, void *userdata,
                        xev_cb cb);
void xev_file_lstat_path(xev_loop *loop, xev_file_req *req, const char *path, void *userdata,
                         xev_cb cb);
void xev_file_stat_fd(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb);

/* Set the size; what is added reads as zero. Result: 0, XEV_EINVAL (no file that has a size, or not
 * open for writing), XEV_EFBIG, XEV_EISDIR, XEV_ETXTBSY. */
void xev_file_truncate(xev_fd fd, xev_loop *loop, xev_file_req *req, uint64_t size_bytes,
                       void *userdata, xev_cb cb);
void xev_file_truncate_path(xev_loop *loop, xev_file_req *req, const char *path,
                            uint64_t size_bytes, void *userdata, xev_cb cb);

/* Names. Result: 0 or a code.
 * rename: replaces what `to` names, atomically; XEV_EXDEV, XEV_ENOTEMPTY, XEV_EISDIR, XEV_EINVAL.
 * unlink: a file's name; XEV_EISDIR or XEV_EPERM for a directory.
 * mkdir: mode as in open, else XEV_EINVAL; XEV_EEXIST. rmdir: XEV_ENOTEMPTY, XEV_EBUSY.
 * symlink: link_path will hold the text target; XEV_EEXIST.
 * link: to becomes another name of the file from; XEV_EEXIST, XEV_EXDEV, XEV_EMLINK, XEV_EPERM. */
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

/* Read as many names as fit from a directory (opened with XEV_OPEN_DIRECTORY), going on where the
 * last read ended; "." and ".." are left out. buf: aligned to 8, len_bytes XEV_FILE_READDIR_MIN to
 * INT32_MAX. Result: how much of buf is filled (> 0), XEV_EOF when all were read, XEV_ENOTDIR,
 * XEV_EINVAL. Names that come or go meanwhile may or may not be seen. To start over, open again. */
void xev_file_readdir(xev_fd fd, xev_loop *loop, xev_file_req *req, void *buf, size_t len_bytes,
                      void *userdata, xev_cb cb);

/* The next name in filled_bytes at buf, as read by xev_file_readdir. *at_bytes: where to look, 0 at
 * first; moved on. False: there are no more in this buffer, or it holds something else. entry->name
 * is valid as long as buf is. Any thread. */
bool xev_file_next_entry(const void *buf, size_t filled_bytes, size_t *at_bytes,
                         xev_file_entry *entry);

/* Copy the contents of the file `from` to the file `to`, which is created with from's permissions
 * (read, write, execute) or emptied first. flags: XEV_COPY_*. In the kernel where the file systems
 * can (sharing blocks or on the server), else through a buffer. Result: 0, req->done_bytes being
 * the size; XEV_EISDIR, XEV_EINVAL (flags, the same file twice, or a pipe), XEV_ENOSPC, XEV_EEXIST,
 * ... After an error a `to` that this call created is removed, another is left as far as it got.
 * Stops between pieces. */
void xev_file_copy(xev_loop *loop, xev_file_req *req, const char *from, const char *to,
                   uint32_t flags, void *userdata, xev_cb cb);

/* Send len_bytes (1 to INT32_MAX) of file from offset_bytes to a connected socket, without a copy
 * through user space. It takes its turn among the socket's sends, and ends when all is with the
 * kernel, at the end of the file (result: bytes sent, XEV_EOF where there were none), or by an
 * error, cancel or deadline, and then req->done_bytes says how many were sent. A peer that does not
 * read keeps no thread waiting: the loop waits for the socket, a thread then sends what fits.
 * Closing the socket ends it. file stays open until the callback. The socket is non-blocking
 * meanwhile, which whoever shares it sees too. XEV_EPIPE (not connected, too), XEV_ECONNRESET,
 * XEV_EINVAL (file cannot be sent so; len_bytes, or a range that ends beyond INT64_MAX), ... */
void xev_file_sendfile(xev_fd socket, xev_loop *loop, xev_file_req *req, xev_fd file,
                       uint64_t offset_bytes, size_t len_bytes, void *userdata, xev_cb cb);

XEV_END_DECLS

#endif
