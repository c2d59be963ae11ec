/* POSIX: copies of files. */
#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xev/error.h"
#include "xev/os/descriptor.h"
#include "xev/os/file.h"
#include "xev/os/posix/sys.h"

/* The buffer of a copy by read and write. It is on the stack, and a pool's stacks may be small. */
#define HAND_PIECE ((size_t)4 << 10)

/* Open or create the target. On failure copy->from stays open. */
static int open_target(struct xev__os_copy *copy, const char *to, const struct stat *from,
                       bool exclusive) {
    /* Without set-user-ID, since the copy may belong to another user. */
    mode_t mode = from->st_mode & 0777;
    int how = O_WRONLY | O_CLOEXEC | O_NOCTTY;
    /* A failure may remove the target only where this call has created it. */
    copy->to = xev__sys_open(to, how | O_CREAT | O_EXCL, mode);
    copy->created = copy->to >= 0;
    if (copy->created || copy->to != XEV_EEXIST || exclusive) {
        return copy->created ? 0 : copy->to;
    }
    /* O_CREAT: the name may be a link to a file that does not exist. O_NONBLOCK: it may be a pipe
     * without a reader. */
    copy->to = xev__sys_open(to, how | O_CREAT | O_NONBLOCK, mode);
    if (copy->to < 0) {
        return copy->to == XEV_ENXIO ? XEV_EINVAL : copy->to;
    }
    struct stat st;
    int rc = xev__sys_result(fstat(copy->to, &st));
    if (rc == 0 && S_ISFIFO(st.st_mode)) {
        rc = XEV_EINVAL; /* a pipe's reader that does not read would block the thread */
    }
    if (rc == 0) {
        rc = xev__os_set_nonblocking(copy->to, false);
    }
    if (rc == 0 && st.st_dev == from->st_dev && st.st_ino == from->st_ino) {
        rc = XEV_EINVAL; /* it is the source itself, and must not be truncated */
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
    /* O_NONBLOCK: the open of a pipe would wait for a writer. */
    copy->from = xev__sys_open(from, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
    if (copy->from < 0) {
        return copy->from;
    }
    struct stat st;
    int rc = xev__sys_result(fstat(copy->from, &st));
    if (rc == 0 && !S_ISREG(st.st_mode)) {
        rc = S_ISDIR(st.st_mode) ? XEV_EISDIR : XEV_EINVAL;
    }
    if (rc == 0) {
        rc = open_target(copy, to, &st, exclusive);
    }
    if (rc < 0) {
        (void)close(copy->from);
    }
    assert(rc < 0 || (copy->from > 2 && copy->to > 2));
    return rc;
}

static int copy_piece_by_hand(struct xev__os_copy *copy) {
    char buf[HAND_PIECE];
    xev_vec vec = {buf, sizeof buf};
    int n = xev__os_file_readv(copy->from, &vec, 1, XEV__AT_POSITION);
    if (n <= 0) {
        return n;
    }
    vec.len_bytes = (size_t)n;
    uint64_t done = 0;
    return xev__os_file_writev(copy->to, &vec, 1, XEV__AT_POSITION, &done);
}

int xev__os_copy_piece(struct xev__os_copy *copy) {
    assert(copy->from > 2 && copy->to > 2);
    int rc = xev__sys_copy_piece(copy);
    return rc == XEV_ENOTSUP ? copy_piece_by_hand(copy) : rc;
}

int xev__os_copy_end(struct xev__os_copy *copy, const char *to, int result_so_far) {
    (void)close(copy->from);
    /* A file server may report only now that its disk is full. */
    int rc = xev__sys_result(close(copy->to));
    rc = result_so_far < 0 ? result_so_far : rc == XEV_EINTR ? 0 : rc;
    if (rc < 0 && copy->created) {
        (void)unlink(to);
    }
    return rc;
}
