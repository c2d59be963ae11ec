/* Files: what each operation is, where it runs and why, which ones are tried on the loop first, and
 * the two that take several steps. */
#include "xev/file.h"

#include <assert.h>
#include <ck_pr.h>

#include "mpsc/handoff.h"
#include "xev/fd.h"
#include "xev/os/descriptor.h"
#include "xev/os/file.h"
#include "xev/os/socket.h"
#include "xev/watchers/watchers.h"

/* What sendfile gives a socket at most before it looks at the loop again. */
#define SEND_PIECE ((size_t)1 << 20)

static bool stop_wanted(const xev_file_req *r) { return ck_pr_load_32(&r->link.stop) != 0; }

/* ---- on a pool thread ---- */

static int run_open(void *req) {
    const xev_file_req *r = req;
    return xev__os_file_open(r->path, r->flags, r->count);
}

static int run_read(void *req) {
    const xev_file_req *r = req;
    int rc = xev__os_file_readv(r->c.fd, r->vec, r->count, r->offset);
    return rc == 0 ? XEV_EOF : rc;
}

static int run_write(void *req) {
    xev_file_req *r = req;
    return xev__os_file_writev(r->c.fd, r->vec, r->count, r->offset, &r->done_bytes);
}

static int run_fsync(void *req) {
    const xev_file_req *r = req;
    return xev__os_file_sync(r->c.fd, false);
}

static int run_fdatasync(void *req) {
    const xev_file_req *r = req;
    return xev__os_file_sync(r->c.fd, true);
}

static int run_stat(void *req) {
    xev_file_req *r = req;
    return xev__os_file_stat(r->path, true, &r->stat);
}

static int run_lstat(void *req) {
    xev_file_req *r = req;
    return xev__os_file_stat(r->path, false, &r->stat);
}

static int run_stat_fd(void *req) {
    xev_file_req *r = req;
    return xev__os_file_stat_fd(r->c.fd, &r->stat);
}

static int run_truncate(void *req) {
    const xev_file_req *r = req;
    return xev__os_file_truncate(r->path, r->length);
}

static int run_truncate_fd(void *req) {
    const xev_file_req *r = req;
    return xev__os_file_truncate_fd(r->c.fd, r->length);
}

static int run_rename(void *req) {
    const xev_file_req *r = req;
    return xev__os_file_rename(r->path, r->path2);
}

static int run_unlink(void *req) {
    const xev_file_req *r = req;
    return xev__os_file_unlink(r->path);
}

static int run_mkdir(void *req) {
    const xev_file_req *r = req;
    return xev__os_file_mkdir(r->path, r->count);
}

static int run_rmdir(void *req) {
    const xev_file_req *r = req;
    return xev__os_file_rmdir(r->path);
}

static int run_symlink(void *req) {
    const xev_file_req *r = req;
    return xev__os_file_symlink(r->path, r->path2);
}

static int run_link(void *req) {
    const xev_file_req *r = req;
    return xev__os_file_link(r->path, r->path2);
}

static int run_readdir(void *req) {
    const xev_file_req *r = req;
    return xev__os_file_readdir(r->c.fd, r->one.base, r->one.len_bytes);
}

static int run_copy(void *req) {
    xev_file_req *r = req;
    struct xev__os_copy copy;
    r->done_bytes = 0;
    int rc = xev__os_copy_begin(&copy, r->path, r->path2, (r->flags & XEV_COPY_EXCLUSIVE) != 0);
    if (rc < 0) {
        return rc;
    }
    do {
        rc = stop_wanted(r) ? XEV_ECANCELED : xev__os_copy_piece(&copy);
        r->done_bytes += rc > 0 ? (uint64_t)rc : 0;
    } while (rc > 0);
    return xev__os_copy_end(&copy, r->path2, rc);
}

/* Not XEV_EAGAIN, with which a step ends that no thread could be started for. */
#define SOCKET_FULL XEV_EINPROGRESS

static int run_send_piece(void *req) {
    const xev_file_req *r = req;
    uint64_t left = r->length - r->done_bytes;
    int rc = xev__os_sendfile(r->c.fd, r->file, r->offset + r->done_bytes,
                              left < SEND_PIECE ? (size_t)left : SEND_PIECE);
    return rc == XEV_EAGAIN ? SOCKET_FULL : rc;
}

/* How far the close of a file is; in flags, written by the thread and read by the loop as well.
 * From CLOSE_CALLED on the number may be another file's at any moment, long before the call is
 * back. */
enum { CLOSE_ASKED, CLOSE_CALLED, CLOSE_DONE };

/* What tells the file that is being closed from the next one with its number. */
static bool identify(xev_fd fd, uint64_t *device, uint64_t *inode) {
    xev_file_stat stat;
    if (xev__os_file_stat_fd(fd, &stat) < 0) {
        return false;
    }
    *device = stat.device;
    *inode = stat.inode;
    return true;
}

static void close_is(xev_file_req *r, uint32_t state) {
    XEV_HANDOFF_RELEASE(&r->flags);
    ck_pr_fence_release();
    ck_pr_store_32(&r->flags, state);
}

static int run_close(void *req) {
    xev_file_req *r = req;
    assert(ck_pr_load_32(&r->flags) == CLOSE_ASKED);
    r->offset = r->length = 0;
    (void)identify(r->c.fd, &r->offset, &r->length);
    close_is(r, CLOSE_CALLED);
    int rc = xev__os_close(r->c.fd);
    close_is(r, CLOSE_DONE);
    return rc;
}

/* ---- the table ----
 *
 * The pool is used on io_uring too, because the ring's buffered reads run in the loop's own thread.
 * Random reads of a 512 MiB file, 2 CPUs, ext4, Linux 6.18, bare liburing with DEFER_TASKRUN
 * against a default pool, ranges over three runs under some load:
 *
 *                                  reads/s, 1000s            us of the loop's CPU per read
 *     block, at once               ring          pool         ring          pool
 *      4 KiB, 64, cached       440 to 900    320 to 440    0.9 to 1.1    0.3 to 1.2
 *     64 KiB, 64, cached        78 to 160     77 to 98     4.7 to 8.3    1.2 to 2.5
 *      1 MiB, 16, cached       4.0 to 5.3    4.1 to 5.0    145 to 163    5.3 to 8.4
 *      1 MiB, 16, not cached   1.4 to 1.6    2.1 to 2.2    303 to 340      8 to 17
 *      4 KiB,  1, cached       280 to 450     22 to 36     1.7 to 1.8     15 to 17
 *      4 KiB,  1, not cached    13 to 16       7 to 13      22 to 26       8 to 14
 *
 * Large reads and those that are not cached gain nothing from the ring, and each keeps the loop's
 * connections waiting, a large one for 0.1 to 0.3 ms. A small cached read costs less than the two
 * wakes that the pool takes for it, so those are tried on the loop's thread first, by a system call
 * that does not wait (below). The same call on every backend: a program sees the same order, cancel
 * and deadlines on each. Buffered writes, fsync, openat, statx and the names go to a kernel worker
 * thread from the ring in any case, without our caps per kind. O_DIRECT reads could be an
 * exception.
 */
enum file_op {
    OPEN,
    READ,
    WRITE,
    FSYNC,
    FDATASYNC,
    STAT,
    LSTAT,
    STAT_FD,
    TRUNCATE,
    TRUNCATE_FD,
    RENAME,
    UNLINK,
    MKDIR,
    RMDIR,
    SYMLINK,
    LINK,
    READDIR,
    COPY,
    SEND_PIECE_STEP,
    CLOSE_STEP,
};

static const struct {
    enum xev_threadpool_lane lane;
    xev_work_fn run;
} table[] = {
    [OPEN] = {XEV_LANE_FS, run_open},
    [READ] = {XEV_LANE_FS, run_read},
    [WRITE] = {XEV_LANE_FS, run_write},
    /* Tens of ms each: apart, so that they never take the threads that reads want. */
    [FSYNC] = {XEV_LANE_FSYNC, run_fsync},
    [FDATASYNC] = {XEV_LANE_FSYNC, run_fdatasync},
    [STAT] = {XEV_LANE_FS, run_stat},
    [LSTAT] = {XEV_LANE_FS, run_lstat},
    [STAT_FD] = {XEV_LANE_FS, run_stat_fd},
    [TRUNCATE] = {XEV_LANE_FS, run_truncate},
    [TRUNCATE_FD] = {XEV_LANE_FS, run_truncate_fd},
    [RENAME] = {XEV_LANE_FS, run_rename},
    [UNLINK] = {XEV_LANE_FS, run_unlink},
    [MKDIR] = {XEV_LANE_FS, run_mkdir},
    [RMDIR] = {XEV_LANE_FS, run_rmdir},
    [SYMLINK] = {XEV_LANE_FS, run_symlink},
    [LINK] = {XEV_LANE_FS, run_link},
    /* The ring has no such operation. */
    [READDIR] = {XEV_LANE_FS, run_readdir},
    [COPY] = {XEV_LANE_FS, run_copy},
    /* The loop waits for the socket, the thread reads the file. */
    [SEND_PIECE_STEP] = {XEV_LANE_FS, run_send_piece},
    [CLOSE_STEP] = {XEV_LANE_FS, run_close},
};

/* ---- submission ---- */

/* False: over already. */
static bool begin(const char *call, enum file_op op, xev_loop *loop, xev_file_req *r, xev_fd fd,
                  bool in_order, void *userdata, xev_cb cb) {
    if (r == NULL) {
        xev__misuse(call, "request is null", r);
    }
    if (!xev__begin(call, loop, &r->c, XEV__OP_REQUEST, userdata, cb)) {
        return false;
    }
    r->link = (struct xev__request_link){.in_order = in_order, .makes_fd = op == OPEN};
    r->done_bytes = 0;
    r->c.fd = fd;
    r->c.slot = (uint32_t)table[op].lane;
    r->c.arg.work = table[op].run;
    return true;
}

static void on_path(const char *call, enum file_op op, xev_loop *loop, xev_file_req *r,
                    const char *path, const char *path2, uint64_t number, void *userdata,
                    xev_cb cb) {
    if (path == NULL || path2 == NULL) {
        xev__misuse(call, "path is null", r);
    }
    if (begin(call, op, loop, r, XEV_INVALID_FD, false, userdata, cb)) {
        r->path = path;
        r->path2 = path2;
        r->length = number;
        xev__work_start(loop, &r->c);
    }
}

/* begin, for an operation on a descriptor: which may not be one. */
static bool begin_fd(const char *call, enum file_op op, xev_fd fd, xev_loop *loop, xev_file_req *r,
                     bool in_order, void *userdata, xev_cb cb) {
    if (!begin(call, op, loop, r, fd, in_order, userdata, cb)) {
        return false;
    }
    if (fd < 0) {
        xev__request_refuse(loop, &r->c, XEV_EBADF);
    }
    return fd >= 0;
}

/* ---- what needs no thread ----
 *
 * A try is made from the loop's turn, and not at submission: a callback that submits many does not
 * copy without limit, what is cancelled before has had no effect, and the data is still in the
 * processor's cache when the callback gets it.
 */

/* The largest read or write that is tried on the loop's thread. A read of so much takes 10 us (2 us
 * for 4 KiB), and the two wakes of the pool cost that thread as much; on a busy machine. */
#define TRY_BYTES ((uint32_t)64 << 10)
/* How often a hint is used before the file is looked at anew. The program may have closed it, and
 * opened another with the number: the worst that comes of it is that tries are missed, or that so
 * many of them wait for a disk. */
#define HINT_USES 64
/* Reads without a try behind the last of many in a row whose data was not in memory: 2 to the power
 * of this, less 1. Such a try costs the loop's thread the start of the disk's work. */
#define MISSES_MAX 5

static struct xev__file_hint *hint_at(xev_loop *loop, xev_fd fd) {
    return &loop->file_hints[(uint32_t)fd % XEV__FILE_HINTS];
}

static struct xev__file_hint *hint_of(xev_loop *loop, xev_fd fd) {
    struct xev__file_hint *h = hint_at(loop, fd);
    if (h->left > 0 && h->fd == fd) {
        h->left--;
        return h;
    }
    uint32_t can = xev__os_file_can_try(fd);
    xev__count(&loop->count.syscalls, 2);
    if (h->fd != fd) {
        *h = (struct xev__file_hint){.fd = fd};
    }
    h->can_read = (can & XEV__CAN_READ_NOW) != 0;
    h->can_write = (can & XEV__CAN_WRITE_NOW) != 0 && !h->writes_wait;
    h->left = HINT_USES - 1;
    return h;
}

/* The hint of a request that is being tried, where no other descriptor has taken its place. */
static struct xev__file_hint *hint_tried(const xev_file_req *r) {
    struct xev__file_hint *h = hint_at(r->c.loop, r->c.fd);
    return h->fd == r->c.fd ? h : NULL;
}

/* Not this kernel, its filter, this file system or this file. (An error of the arguments may say
 * the same; the thread will find it.) */
static bool is_unsupported(int code) {
    return code == XEV_ENOTSUP || code == XEV_ENOSYS || code == XEV_EINVAL || code == XEV_EPERM;
}

static int try_read(xev_completion *c) {
    const xev_file_req *r = (const xev_file_req *)(const void *)c;
    int rc = xev__os_file_read_now(c->fd, r->vec, r->count, r->link.try_bytes, r->offset);
    struct xev__file_hint *h = hint_tried(r);
    if (rc >= 0) {
        if (h != NULL) {
            h->misses = 0;
        }
        return rc == 0 ? XEV_EOF : rc;
    }
    if (h != NULL && is_unsupported(rc)) {
        h->can_read = false;
    } else if (h != NULL && rc == XEV_EAGAIN) {
        if (h->misses < MISSES_MAX) {
            h->misses++;
        }
        h->skip = (uint8_t)((1u << h->misses) - 1);
    }
    return XEV_EAGAIN; /* a thread reports what else it was */
}

static int try_write(xev_completion *c) {
    xev_file_req *r = (xev_file_req *)(void *)c;
    xev__block_write_signals(c->loop);
    int rc = xev__os_file_write_now(c->fd, r->vec, r->count, r->offset);
    struct xev__file_hint *h = hint_tried(r);
    if (h != NULL && rc > 0 && !h->writes_known) {
        h->writes_wait = xev__os_file_writes_through(c->fd);
        h->writes_known = true;
        xev__count(&c->loop->count.syscalls, 1);
    } else if (h != NULL && is_unsupported(rc)) {
        h->writes_wait = true;
    }
    if (h != NULL && h->writes_wait) {
        h->can_write = false;
    }
    r->done_bytes = rc > 0 ? (uint64_t)rc : 0;
    return (uint32_t)rc == r->link.try_bytes ? rc : XEV_EAGAIN; /* a thread writes the rest */
}

static int check_pieces(xev_completion *c) {
    xev_file_req *r = (xev_file_req *)(void *)c;
    bool one = r->vec == &r->one && r->one.len_bytes <= TRY_BYTES; /* the usual case */
    uint32_t len_bytes = one ? (uint32_t)r->one.len_bytes : xev__vec_bytes(r->vec, r->count);
    r->done_bytes = 0;
    r->link.try_now = NULL;
    if (len_bytes == 0) {
        return XEV_EINVAL;
    }
    if (len_bytes > TRY_BYTES || c->loop->options.thread_pool == NULL) {
        return 0;
    }
    struct xev__file_hint *h = hint_of(c->loop, c->fd);
    bool reads = c->arg.work == run_read;
    if (reads && h->skip > 0) {
        h->skip--;
    } else if (reads ? h->can_read : h->can_write) {
        r->link.try_now = reads ? try_read : try_write;
        r->link.try_bytes = len_bytes;
    }
    return 0;
}

/* ---- submission of reads and writes ---- */

/* A begun transfer goes on; vec may be the one in the request. */
static void transfer(xev_loop *loop, xev_file_req *r, const xev_vec *vec, size_t count,
                     uint64_t offset) {
    r->link.check = check_pieces;
    r->vec = vec;
    r->count = xev__vec_count(count);
    r->offset = offset;
    xev__work_start(loop, &r->c);
}

static void vectored(const char *call, enum file_op op, xev_fd fd, xev_loop *loop, xev_file_req *r,
                     const xev_vec *vec, size_t count, uint64_t offset, void *userdata, xev_cb cb) {
    if (vec == NULL && count > 0) {
        xev__misuse(call, "vector is null", r);
    }
    if (begin_fd(call, op, fd, loop, r, offset == XEV__AT_POSITION, userdata, cb)) {
        transfer(loop, r, vec, count, offset);
    }
}

static void plain(const char *call, enum file_op op, xev_fd fd, xev_loop *loop, xev_file_req *r,
                  const void *buf, size_t len_bytes, uint64_t offset, void *userdata, xev_cb cb) {
    if (buf == NULL && len_bytes > 0) {
        xev__misuse(call, "buffer is null", r);
    }
    if (begin_fd(call, op, fd, loop, r, offset == XEV__AT_POSITION, userdata, cb)) {
        r->one = (xev_vec){(void *)(uintptr_t)buf, len_bytes};
        transfer(loop, r, &r->one, 1, offset);
    }
}

/* An offset of the caller's: one too large must not be taken for "at the position". */
static uint64_t at(uint64_t offset_bytes) {
    return offset_bytes == XEV__AT_POSITION ? offset_bytes - 1 : offset_bytes;
}

void xev_file_read(xev_fd fd, xev_loop *loop, xev_file_req *req, void *buf, size_t len_bytes,
                   void *userdata, xev_cb cb) {
    plain(XEV__CALL("xev_file_read"), READ, fd, loop, req, buf, len_bytes, XEV__AT_POSITION,
          userdata, cb);
}

void xev_file_pread(xev_fd fd, xev_loop *loop, xev_file_req *req, void *buf, size_t len_bytes,
                    uint64_t offset_bytes, void *userdata, xev_cb cb) {
    plain(XEV__CALL("xev_file_pread"), READ, fd, loop, req, buf, len_bytes, at(offset_bytes),
          userdata, cb);
}

void xev_file_readv(xev_fd fd, xev_loop *loop, xev_file_req *req, const xev_vec *vec, size_t count,
                    void *userdata, xev_cb cb) {
    vectored(XEV__CALL("xev_file_readv"), READ, fd, loop, req, vec, count, XEV__AT_POSITION,
             userdata, cb);
}

void xev_file_preadv(xev_fd fd, xev_loop *loop, xev_file_req *req, const xev_vec *vec, size_t count,
                     uint64_t offset_bytes, void *userdata, xev_cb cb) {
    vectored(XEV__CALL("xev_file_preadv"), READ, fd, loop, req, vec, count, at(offset_bytes),
             userdata, cb);
}

void xev_file_write(xev_fd fd, xev_loop *loop, xev_file_req *req, const void *buf, size_t len_bytes,
                    void *userdata, xev_cb cb) {
    plain(XEV__CALL("xev_file_write"), WRITE, fd, loop, req, buf, len_bytes, XEV__AT_POSITION,
          userdata, cb);
}

void xev_file_pwrite(xev_fd fd, xev_loop *loop, xev_file_req *req, const void *buf,
                     size_t len_bytes, uint64_t offset_bytes, void *userdata, xev_cb cb) {
    plain(XEV__CALL("xev_file_pwrite"), WRITE, fd, loop, req, buf, len_bytes, at(offset_bytes),
          userdata, cb);
}

void xev_file_writev(xev_fd fd, xev_loop *loop, xev_file_req *req, const xev_vec *vec, size_t count,
                     void *userdata, xev_cb cb) {
    vectored(XEV__CALL("xev_file_writev"), WRITE, fd, loop, req, vec, count, XEV__AT_POSITION,
             userdata, cb);
}

void xev_file_pwritev(xev_fd fd, xev_loop *loop, xev_file_req *req, const xev_vec *vec,
                      size_t count, uint64_t offset_bytes, void *userdata, xev_cb cb) {
    vectored(XEV__CALL("xev_file_pwritev"), WRITE, fd, loop, req, vec, count, at(offset_bytes),
             userdata, cb);
}

void xev_file_open(xev_loop *loop, xev_file_req *req, const char *path, uint32_t flags,
                   uint32_t mode, void *userdata, xev_cb cb) {
    if (path == NULL) {
        xev__misuse("xev_file_open", "path is null", req);
    }
    if (!begin(XEV__CALL("xev_file_open"), OPEN, loop, req, XEV_INVALID_FD, false, userdata, cb)) {
        return;
    }
    const uint32_t access = XEV_OPEN_READ | XEV_OPEN_WRITE | XEV_OPEN_DIRECTORY;
    bool alone = (flags & (XEV_OPEN_EXCLUSIVE | XEV_OPEN_CREATE)) == XEV_OPEN_EXCLUSIVE;
    bool no_write = (flags & XEV_OPEN_TRUNCATE) != 0 && (flags & XEV_OPEN_WRITE) == 0;
    bool both = (flags & XEV_OPEN_DIRECTORY) != 0 && (flags & XEV_OPEN_CREATE) != 0;
    if (flags > XEV_OPEN_ALL || (flags & access) == 0 || alone || no_write || both ||
        mode > 07777) {
        xev__request_refuse(loop, &req->c, XEV_EINVAL);
        return;
    }
    req->path = path;
    req->flags = flags;
    req->count = mode;
    xev__work_start(loop, &req->c);
}

static void on_fd(const char *call, enum file_op op, xev_fd fd, xev_loop *loop, xev_file_req *r,
                  uint64_t number, void *userdata, xev_cb cb) {
    if (begin_fd(call, op, fd, loop, r, false, userdata, cb)) {
        r->length = number;
        xev__work_start(loop, &r->c);
    }
}

void xev_file_fsync(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb) {
    on_fd(XEV__CALL("xev_file_fsync"), FSYNC, fd, loop, req, 0, userdata, cb);
}

void xev_file_fdatasync(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb) {
    on_fd(XEV__CALL("xev_file_fdatasync"), FDATASYNC, fd, loop, req, 0, userdata, cb);
}

void xev_file_stat_fd(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb) {
    on_fd(XEV__CALL("xev_file_stat_fd"), STAT_FD, fd, loop, req, 0, userdata, cb);
}

void xev_file_truncate(xev_fd fd, xev_loop *loop, xev_file_req *req, uint64_t size_bytes,
                       void *userdata, xev_cb cb) {
    on_fd(XEV__CALL("xev_file_truncate"), TRUNCATE_FD, fd, loop, req, size_bytes, userdata, cb);
}

void xev_file_stat_path(xev_loop *loop, xev_file_req *req, const char *path, void *userdata,
                        xev_cb cb) {
    on_path(XEV__CALL("xev_file_stat_path"), STAT, loop, req, path, "", 0, userdata, cb);
}

void xev_file_lstat_path(xev_loop *loop, xev_file_req *req, const char *path, void *userdata,
                         xev_cb cb) {
    on_path(XEV__CALL("xev_file_lstat_path"), LSTAT, loop, req, path, "", 0, userdata, cb);
}

void xev_file_truncate_path(xev_loop *loop, xev_file_req *req, const char *path,
                            uint64_t size_bytes, void *userdata, xev_cb cb) {
    on_path(XEV__CALL("xev_file_truncate_path"), TRUNCATE, loop, req, path, "", size_bytes,
            userdata, cb);
}

void xev_file_rename(xev_loop *loop, xev_file_req *req, const char *from, const char *to,
                     void *userdata, xev_cb cb) {
    on_path(XEV__CALL("xev_file_rename"), RENAME, loop, req, from, to, 0, userdata, cb);
}

void xev_file_unlink(xev_loop *loop, xev_file_req *req, const char *path, void *userdata,
                     xev_cb cb) {
    on_path(XEV__CALL("xev_file_unlink"), UNLINK, loop, req, path, "", 0, userdata, cb);
}

void xev_file_mkdir(xev_loop *loop, xev_file_req *req, const char *path, uint32_t mode,
                    void *userdata, xev_cb cb) {
    if (path == NULL) {
        xev__misuse("xev_file_mkdir", "path is null", req);
    }
    if (!begin(XEV__CALL("xev_file_mkdir"), MKDIR, loop, req, XEV_INVALID_FD, false, userdata,
               cb)) {
        return;
    }
    if (mode > 07777) {
        xev__request_refuse(loop, &req->c, XEV_EINVAL);
        return;
    }
    req->path = path;
    req->count = mode;
    xev__work_start(loop, &req->c);
}

void xev_file_rmdir(xev_loop *loop, xev_file_req *req, const char *path, void *userdata,
                    xev_cb cb) {
    on_path(XEV__CALL("xev_file_rmdir"), RMDIR, loop, req, path, "", 0, userdata, cb);
}

void xev_file_symlink(xev_loop *loop, xev_file_req *req, const char *target, const char *link_path,
                      void *userdata, xev_cb cb) {
    on_path(XEV__CALL("xev_file_symlink"), SYMLINK, loop, req, target, link_path, 0, userdata, cb);
}

void xev_file_link(xev_loop *loop, xev_file_req *req, const char *from, const char *to,
                   void *userdata, xev_cb cb) {
    on_path(XEV__CALL("xev_file_link"), LINK, loop, req, from, to, 0, userdata, cb);
}

void xev_file_readdir(xev_fd fd, xev_loop *loop, xev_file_req *req, void *buf, size_t len_bytes,
                      void *userdata, xev_cb cb) {
    if ((buf == NULL && len_bytes > 0) || (uintptr_t)buf % 8 != 0) {
        xev__misuse("xev_file_readdir", "buffer is null or not aligned to 8", req);
    }
    if (!begin_fd(XEV__CALL("xev_file_readdir"), READDIR, fd, loop, req, true, userdata, cb)) {
        return;
    }
    if (len_bytes < XEV_FILE_READDIR_MIN || len_bytes > INT32_MAX) {
        xev__request_refuse(loop, &req->c, XEV_EINVAL);
        return;
    }
    req->one = (xev_vec){buf, len_bytes};
    xev__work_start(loop, &req->c);
}

void xev_file_copy(xev_loop *loop, xev_file_req *req, const char *from, const char *to,
                   uint32_t flags, void *userdata, xev_cb cb) {
    if (from == NULL || to == NULL) {
        xev__misuse("xev_file_copy", "path is null", req);
    }
    if (!begin(XEV__CALL("xev_file_copy"), COPY, loop, req, XEV_INVALID_FD, false, userdata, cb)) {
        return;
    }
    if ((flags & ~(uint32_t)XEV_COPY_EXCLUSIVE) != 0) {
        xev__request_refuse(loop, &req->c, XEV_EINVAL);
        return;
    }
    req->path = from;
    req->path2 = to;
    req->flags = flags;
    xev__work_start(loop, &req->c);
}

/* ---- in steps: the operation is stepping while a completion of ours is on the pool ---- */

static void step(const char *call, enum file_op op, xev_loop *loop, xev_file_req *r, xev_cb cb) {
    r->c.state = XEV__STEPPING;
    r->c.arg.target = &r->step;
    bool begun = xev__begin(call, loop, &r->step, XEV__OP_WORK, r, cb);
    xev__make_internal(loop, &r->step); /* the operation itself says whether the loop goes on */
    if (begun) {
        xev__work_init(&r->step, table[op].lane, table[op].run);
        xev__work_start(loop, &r->step);
    }
}

static xev_cb_action on_piece_sent(xev_loop *loop, xev_completion *c, int rc, void *userdata) {
    xev_file_req *r = userdata;
    (void)c;
    struct xev__fd *e = xev__fds_find(loop->fds, r->c.fd);
    r->done_bytes += rc > 0 ? (uint64_t)rc : 0;
    if (rc == 0 || r->done_bytes == r->length) {
        xev__finish(loop, &r->c, r->done_bytes > 0 ? (int)r->done_bytes : XEV_EOF, false);
    } else if (rc < 0 && rc != SOCKET_FULL) {
        xev__finish(loop, &r->c, rc, false);
    } else if ((r->c.flags & XEV__F_CANCEL) != 0) {
        xev__finish(loop, &r->c, XEV_ECANCELED, false);
    } else {
        r->c.state = XEV__STARTED;
        loop->ops->start(loop, e, &r->c);
    }
    return XEV_DISARM;
}

int xev__sendfile_writable(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    /* A thread has had the socket since the backend last looked, so its word may be old. */
    int rc = xev__os_poll_now(c->fd, XEV_POLL_OUT);
    if (rc < 0) {
        return rc;
    }
    rc = xev__os_leave_blocking(c->fd);
    if (rc < 0) {
        return rc;
    }
    e->lent_nonblocking |= rc == 1;
    step("xev_file_sendfile", SEND_PIECE_STEP, loop, (xev_file_req *)(void *)c, on_piece_sent);
    return XEV_EINPROGRESS;
}

bool xev__sendfile_stop(xev_loop *loop, xev_completion *c) {
    c->flags |= XEV__F_CANCEL;
    (void)xev__stop(loop, c->arg.target);
    return true;
}

void xev__sendfile_ended(xev_loop *loop, xev_completion *c) {
    if ((c->flags & XEV__F_COUNTED) == 0) {
        return; /* refused before it came to its descriptor */
    }
    struct xev__fd *e = xev__fds_find(loop->fds, c->fd);
    bool next = e->head[XEV__WRITE] != NULL && e->head[XEV__WRITE]->op == XEV__OP_SENDFILE;
    if (e->lent_nonblocking && !next) {
        e->lent_nonblocking = false;
        if (!e->nonblocking) {
            (void)xev__os_set_nonblocking(e->fd, false);
        }
    }
}

void xev__sendfile_start(xev_loop *loop, xev_completion *c) {
    xev_file_req *r = (xev_file_req *)(void *)c;
    r->done_bytes = 0;
    if (r->link.refused != 0) {
        xev__pend(loop, c, r->link.refused);
    } else if (loop->options.thread_pool == NULL) {
        xev__pend(loop, c, XEV_ENOPOOL);
    } else if (xev__os_check_endpoint(c->fd) == XEV_ENOTCONN) {
        xev__pend(loop, c, XEV_EPIPE); /* it would wait for ever for a listener to take data */
    } else {
        xev__submit(loop, c);
    }
}

void xev_file_sendfile(xev_fd socket, xev_loop *loop, xev_file_req *req, xev_fd file,
                       uint64_t offset_bytes, size_t len_bytes, void *userdata, xev_cb cb) {
    if (req == NULL) {
        xev__misuse("xev_file_sendfile", "request is null", req);
    }
    if (!xev__begin(XEV__CALL("xev_file_sendfile"), loop, &req->c, XEV__OP_SENDFILE, userdata,
                    cb)) {
        return;
    }
    req->link = (struct xev__request_link){0};
    req->c.fd = socket;
    req->step.state = XEV__DEAD;
    req->file = file;
    req->offset = offset_bytes;
    req->length = len_bytes;
    req->done_bytes = 0;
    if (len_bytes == 0 || len_bytes > INT32_MAX || offset_bytes > INT64_MAX - len_bytes) {
        xev__request_refuse(loop, &req->c, XEV_EINVAL);
    } else if (file < 0) {
        xev__request_refuse(loop, &req->c, XEV_EBADF);
    } else {
        xev__sendfile_start(loop, &req->c);
    }
}

static xev_cb_action on_closed(xev_loop *loop, xev_completion *c, int rc, void *userdata) {
    xev_file_req *r = userdata;
    (void)c;
    struct xev__fd *e = xev__fds_find(loop->fds, r->c.fd);
    if (ck_pr_load_32(&r->flags) == CLOSE_ASKED) {
        assert(e != NULL && e->closer == &r->c);
        rc = xev__os_close(r->c.fd); /* no thread could be had, or the loop ends */
    }
    if (e != NULL && e->closer == &r->c) {
        xev__fds_drop(loop->fds, e); /* else dropped before, for the next with the number */
    }
    xev__finish(loop, &r->c, rc < 0 ? rc : r->c.result, false);
    return XEV_DISARM;
}

bool xev__file_close_is_past(const xev_completion *c) {
    assert(c->op == XEV__OP_CLOSE);
    if (c->state != XEV__STEPPING) {
        return false;
    }
    const xev_file_req *r = (const xev_file_req *)(const void *)c;
    uint32_t state = ck_pr_load_32(&r->flags);
    ck_pr_fence_acquire();
    XEV_HANDOFF_ACQUIRE(&r->flags);
    if (state != CLOSE_CALLED) {
        return state == CLOSE_DONE;
    }
    /* The pool thread is in close(2). Either answer is right: the number is still the closed
     * file's, or it is not. */
    uint64_t device, inode;
    XEV_RACY_READS_BEGIN();
    bool is_open = identify(c->fd, &device, &inode);
    XEV_RACY_READS_END();
    return !is_open || device != r->offset || inode != r->length;
}

/* While it is on the pool, nothing but its part there leads to a close. */
bool xev__file_close_named_by(xev_completion *c, const xev_completion *part) {
    (void)part;
    return c->state == XEV__STEPPING;
}

bool xev__file_close_start(xev_loop *loop, xev_completion *c) {
    if (c->arg.close.step == NULL || loop->deinit || loop->options.thread_pool == NULL) {
        return false;
    }
    step("xev_file_close", CLOSE_STEP, loop, (xev_file_req *)(void *)c, on_closed);
    return true;
}

void xev_file_close(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb) {
    if (req == NULL) {
        xev__misuse("xev_file_close", "request is null", req);
    }
    xev__close(XEV__CALL("xev_file_close"), loop, &req->c, fd, userdata, cb);
    req->c.arg.close.step = &req->step;
    req->step.state = XEV__DEAD;
    req->flags = CLOSE_ASKED;
}

bool xev_file_next_entry(const void *buf, size_t filled_bytes, size_t *at_bytes,
                         xev_file_entry *entry) {
    if (buf == NULL || at_bytes == NULL || entry == NULL) {
        xev__misuse("xev_file_next_entry", "buffer, position or entry is null", buf);
    }
    return xev__os_file_next_entry(buf, filled_bytes, at_bytes, entry);
}
