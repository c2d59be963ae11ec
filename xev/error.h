/* Error codes: one list from which the constants, names and texts are made.
 *
 * Every result in xev is one signed int: >= 0 is success, < 0 one of these. A code equals -errno
 * where the platform has that errno; the codes at -4000 and below have none and are stable too.
 */
#ifndef XEV_ERROR_H
#define XEV_ERROR_H

#include <errno.h>

#include "xev/platform.h"

/* X(name, text), name being an errno. */
#define XEV_ERRNO_MAP(X)                                                                           \
    X(E2BIG, "argument list too long")                                                             \
    X(EACCES, "permission denied")                                                                 \
    X(EADDRINUSE, "address already in use")                                                        \
    X(EADDRNOTAVAIL, "address not available on this host")                                         \
    X(EAFNOSUPPORT, "address family not supported")                                                \
    X(EAGAIN, "resource temporarily unavailable")                                                  \
    X(EALREADY, "operation already in progress")                                                   \
    X(EBADF, "bad or closed descriptor")                                                           \
    X(EBUSY, "resource busy")                                                                      \
    X(ECANCELED, "operation cancelled")                                                            \
    X(ECHILD, "not a child process, or waited for already")                                        \
    X(ECONNABORTED, "connection aborted")                                                          \
    X(ECONNREFUSED, "connection refused")                                                          \
    X(ECONNRESET, "connection reset by peer")                                                      \
    X(EDESTADDRREQ, "destination address required")                                                \
    X(EDQUOT, "disk quota exceeded")                                                               \
    X(EEXIST, "already exists")                                                                    \
    X(EFAULT, "bad address in memory")                                                             \
    X(EFBIG, "file too large")                                                                     \
    X(EHOSTUNREACH, "no route to host")                                                            \
    X(EINPROGRESS, "operation in progress")                                                        \
    X(EINTR, "interrupted")                                                                        \
    X(EINVAL, "invalid argument")                                                                  \
    X(EIO, "input/output error")                                                                   \
    X(EISCONN, "socket is already connected")                                                      \
    X(EISDIR, "is a directory")                                                                    \
    X(ELOOP, "too many symbolic links")                                                            \
    X(EMFILE, "too many open descriptors in this process")                                         \
    X(EMLINK, "too many links")                                                                    \
    X(EMSGSIZE, "message too long")                                                                \
    X(ENAMETOOLONG, "name too long")                                                               \
    X(ENETDOWN, "network is down")                                                                 \
    X(ENETUNREACH, "network unreachable")                                                          \
    X(ENFILE, "too many open descriptors in the system")                                           \
    X(ENOBUFS, "no buffer space")                                                                  \
    X(ENODEV, "no such device")                                                                    \
    X(ENOENT, "not found")                                                                         \
    X(ENOEXEC, "not a program the system can run")                                                 \
    X(ENOMEM, "out of memory")                                                                     \
    X(ENOPROTOOPT, "protocol option not available")                                                \
    X(ENOSPC, "no space left on device")                                                           \
    X(ENOSYS, "not implemented by the system")                                                     \
    X(ENOTCONN, "socket is not connected")                                                         \
    X(ENOTDIR, "not a directory")                                                                  \
    X(ENOTEMPTY, "directory not empty")                                                            \
    X(ENOTSOCK, "not a socket")                                                                    \
    X(ENOTSUP, "not supported here")                                                               \
    X(ENXIO, "no such device or address")                                                          \
    X(EOVERFLOW, "value too large")                                                                \
    X(EPERM, "operation not permitted")                                                            \
    X(EPIPE, "peer has closed its reading side")                                                   \
    X(EPROTO, "protocol error")                                                                    \
    X(EPROTONOSUPPORT, "protocol not supported")                                                   \
    X(EPROTOTYPE, "a socket of another type")                                                      \
    X(ERANGE, "out of range")                                                                      \
    X(EROFS, "read-only file system")                                                              \
    X(ESPIPE, "not seekable")                                                                      \
    X(ESRCH, "no such process")                                                                    \
    X(ETIMEDOUT, "timed out")                                                                      \
    X(ETOOMANYREFS, "too many descriptors on their way")                                           \
    X(ETXTBSY, "text file busy")                                                                   \
    X(EXDEV, "crosses file systems")                                                               \
    X(ESTALE, "stale handle")

/* X(name, value, text): results without an errno. */
#define XEV_EXTRA_MAP(X)                                                                           \
    X(EOF, -4095, "end of stream")                                                                 \
    X(ENOPOOL, -4094, "no thread pool attached to this loop")                                      \
    X(ENONAME, -4092, "no such host name, or none for this address")                               \
    X(EDNS_AGAIN, -4091, "name server did not answer, try again")                                  \
    X(EDNS_FAIL, -4090, "name resolution failed")                                                  \
    X(ENOSERVICE, -4089, "no such service name")                                                   \
    X(EFORKED, -4088, "the loop was made before fork(): the child needs its own")                  \
    X(EUNKNOWN, -4093, "unknown error")

enum xev_error {
#define XEV__ERRNO(name, text) XEV_##name = -(name),
    XEV_ERRNO_MAP(XEV__ERRNO)
#undef XEV__ERRNO
#define XEV__EXTRA(name, value, text) XEV_##name = (value),
        XEV_EXTRA_MAP(XEV__EXTRA)
#undef XEV__EXTRA
};

XEV_BEGIN_DECLS

/* The name of a code ("XEV_ECONNRESET"); "XEV_OK" for >= 0, "XEV_EUNKNOWN" for one not listed.
 * Never NULL, static storage. Any thread. */
const char *xev_err_name(int code);

/* One line of English for a code ("connection reset by peer"); "success" for >= 0. Never NULL,
 * static storage. Any thread. */
const char *xev_strerror(int code);

XEV_END_DECLS

#endif
