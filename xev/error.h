/* Error codes: one list from which the constants, names and texts are made.
 *
 *     if (result < 0) fprintf(stderr, "recv: %s\n", xev_strerror(result));
 *
 * Every result in xev is one signed int: >= 0 is success, < 0 is one of these codes. A code equals
 * -errno where the platform has that errno, and the list holds every errno of the system. Codes
 * from -4095 to -4084 have no errno there; their values are stable.
 */
#ifndef XEV_ERROR_H
#define XEV_ERROR_H

#include <errno.h>

#include "xev/platform.h"

/* X(name, text), where name is an errno: first those that all systems have, then those of Linux
 * only. */
#define XEV_ERRNO_COMMON_MAP(X)                                                                    \
    X(E2BIG, "argument list too long")                                                             \
    X(EACCES, "permission denied")                                                                 \
    X(EADDRINUSE, "address already in use")                                                        \
    X(EADDRNOTAVAIL, "address not available on this host")                                         \
    X(EAFNOSUPPORT, "address family not supported")                                                \
    X(EAGAIN, "resource temporarily unavailable")                                                  \
    X(EALREADY, "operation already in progress")                                                   \
    X(EBADF, "bad or closed descriptor")                                                           \
    X(EBADMSG, "message cannot be read")                                                           \
    X(EBUSY, "resource busy")                                                                      \
    X(ECANCELED, "operation cancelled")                                                            \
    X(ECHILD, "not a child process, or waited for already")                                        \
    X(ECONNABORTED, "connection aborted")                                                          \
    X(ECONNREFUSED, "connection refused")                                                          \
    X(ECONNRESET, "connection reset by peer")                                                      \
    X(EDEADLK, "would wait for itself")                                                            \
    X(EDESTADDRREQ, "destination address required")                                                \
    X(EDOM, "argument outside the function's domain")                                              \
    X(EEXIST, "already exists")                                                                    \
    X(EFAULT, "bad address in memory")                                                             \
    X(EFBIG, "file too large")                                                                     \
    X(EHOSTUNREACH, "no route to host")                                                            \
    X(EIDRM, "identifier was removed")                                                             \
    X(EILSEQ, "bytes that are no character")                                                       \
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
    X(ENETRESET, "connection dropped by the network")                                              \
    X(ENETUNREACH, "network unreachable")                                                          \
    X(ENFILE, "too many open descriptors in the system")                                           \
    X(ENOBUFS, "no buffer space")                                                                  \
    X(ENODEV, "no such device")                                                                    \
    X(ENOENT, "not found")                                                                         \
    X(ENOEXEC, "not a program the system can run")                                                 \
    X(ENOLCK, "no locks left")                                                                     \
    X(ENOMEM, "out of memory")                                                                     \
    X(ENOMSG, "no message of that kind")                                                           \
    X(ENOPROTOOPT, "protocol option not available")                                                \
    X(ENOSPC, "no space left on device")                                                           \
    X(ENOSYS, "not implemented by the system")                                                     \
    X(ENOTCONN, "socket is not connected")                                                         \
    X(ENOTDIR, "not a directory")                                                                  \
    X(ENOTEMPTY, "directory not empty")                                                            \
    X(ENOTRECOVERABLE, "state cannot be recovered")                                                \
    X(ENOTSOCK, "not a socket")                                                                    \
    X(ENOTSUP, "not supported here")                                                               \
    X(ENOTTY, "request does not fit this kind of descriptor")                                      \
    X(ENXIO, "no such device or address")                                                          \
    X(EOVERFLOW, "value too large")                                                                \
    X(EOWNERDEAD, "owner of a lock died")                                                          \
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
    X(ETXTBSY, "text file busy")                                                                   \
    X(EXDEV, "crosses file systems")

/* Codes that are errnos where the system has them, and else have stable values. */
#if defined(EDQUOT)
#define XEV__EDQUOT -EDQUOT
#else
#define XEV__EDQUOT -4086
#endif
#if defined(ESTALE)
#define XEV__ESTALE -ESTALE
#else
#define XEV__ESTALE -4085
#endif
#if defined(ETOOMANYREFS)
#define XEV__ETOOMANYREFS -ETOOMANYREFS
#else
#define XEV__ETOOMANYREFS -4084
#endif

#if defined(EBADR) && defined(EL3RST)
#define XEV_ERRNO_LINUX_MAP(X)                                                                     \
    X(EADV, "advertise error")                                                                     \
    X(EBADE, "invalid exchange")                                                                   \
    X(EBADFD, "descriptor in a bad state")                                                         \
    X(EBADR, "invalid request descriptor, or results of a ring were lost")                         \
    X(EBADRQC, "invalid request code")                                                             \
    X(EBADSLT, "invalid slot")                                                                     \
    X(EBFONT, "bad font file")                                                                     \
    X(ECHRNG, "channel number out of range")                                                       \
    X(ECOMM, "communication error on send")                                                        \
    X(EDOTDOT, "RFS-specific error")                                                               \
    X(EHOSTDOWN, "host is down")                                                                   \
    X(EHWPOISON, "memory page has a hardware error")                                               \
    X(EISNAM, "is a named file")                                                                   \
    X(EKEYEXPIRED, "key has expired")                                                              \
    X(EKEYREJECTED, "key was rejected")                                                            \
    X(EKEYREVOKED, "key has been revoked")                                                         \
    X(EL2HLT, "level 2 halted")                                                                    \
    X(EL2NSYNC, "level 2 not synchronised")                                                        \
    X(EL3HLT, "level 3 halted")                                                                    \
    X(EL3RST, "level 3 reset")                                                                     \
    X(ELIBACC, "cannot reach a shared library")                                                    \
    X(ELIBBAD, "shared library is damaged")                                                        \
    X(ELIBEXEC, "cannot execute a shared library")                                                 \
    X(ELIBMAX, "too many shared libraries")                                                        \
    X(ELIBSCN, "damaged section in a program")                                                     \
    X(ELNRNG, "link number out of range")                                                          \
    X(EMEDIUMTYPE, "wrong type of medium")                                                         \
    X(EMULTIHOP, "more than one hop attempted")                                                    \
    X(ENAVAIL, "no semaphores available")                                                          \
    X(ENOANO, "no anode")                                                                          \
    X(ENOCSI, "no structure available")                                                            \
    X(ENODATA, "no data")                                                                          \
    X(ENOKEY, "no such key")                                                                       \
    X(ENOLINK, "link has been cut")                                                                \
    X(ENOMEDIUM, "no medium")                                                                      \
    X(ENONET, "machine is not on the network")                                                     \
    X(ENOPKG, "package not installed")                                                             \
    X(ENOSR, "no stream resources")                                                                \
    X(ENOSTR, "not a stream")                                                                      \
    X(ENOTBLK, "not a block device")                                                               \
    X(ENOTNAM, "not a named file")                                                                 \
    X(ENOTUNIQ, "name not unique on the network")                                                  \
    X(EPFNOSUPPORT, "protocol family not supported")                                               \
    X(EREMCHG, "remote address changed")                                                           \
    X(EREMOTE, "object is remote")                                                                 \
    X(EREMOTEIO, "remote input/output error")                                                      \
    X(ERESTART, "interrupted, to be started again")                                                \
    X(ERFKILL, "radio is switched off")                                                            \
    X(ESHUTDOWN, "sending side is shut down")                                                      \
    X(ESOCKTNOSUPPORT, "socket type not supported")                                                \
    X(ESRMNT, "remote mount error")                                                                \
    X(ESTRPIPE, "stream pipe error")                                                               \
    X(ETIME, "timer expired")                                                                      \
    X(EUCLEAN, "file system needs repair")                                                         \
    X(EUNATCH, "protocol driver not attached")                                                     \
    X(EUSERS, "too many users")                                                                    \
    X(EXFULL, "exchange full")
#else
#define XEV_ERRNO_LINUX_MAP(X)
#endif

#if defined(ENOTCAPABLE)
#define XEV_ERRNO_WASI_MAP(X)                                                                      \
    X(EMULTIHOP, "more than one hop attempted")                                                    \
    X(ENOLINK, "link has been cut")                                                                \
    X(ENOTCAPABLE, "the host gives no right to do this")
#else
#define XEV_ERRNO_WASI_MAP(X)
#endif

#define XEV_ERRNO_MAP(X)                                                                           \
    XEV_ERRNO_COMMON_MAP(X)                                                                        \
    XEV_ERRNO_LINUX_MAP(X)                                                                         \
    XEV_ERRNO_WASI_MAP(X)

/* X(name, value, text): codes of the Linux kernel that no program should see, and that some drivers
 * return nevertheless; <errno.h> does not have them. */
#define XEV_KERNEL_MAP(X)                                                                          \
    X(ERESTARTSYS, -512, "interrupted, to be started again")                                       \
    X(ERESTARTNOINTR, -513, "interrupted, to be started again")                                    \
    X(ERESTARTNOHAND, -514, "interrupted, to be started again")                                    \
    X(ENOIOCTLCMD, -515, "no such ioctl")                                                          \
    X(ERESTART_RESTARTBLOCK, -516, "interrupted, to be started again")                             \
    X(EPROBE_DEFER, -517, "driver wants to be tried later")                                        \
    X(EOPENSTALE, -518, "stale handle on open")                                                    \
    X(ENOPARAM, -519, "parameter not supported")                                                   \
    X(EBADHANDLE, -521, "bad file handle")                                                         \
    X(ENOTSYNC, -522, "out of step")                                                               \
    X(EBADCOOKIE, -523, "bad directory cookie")                                                    \
    X(ENOTSUPP, -524, "not supported by the driver")                                               \
    X(ETOOSMALL, -525, "buffer or request too small")                                              \
    X(ESERVERFAULT, -526, "untranslatable error of a server")                                      \
    X(EBADTYPE, -527, "type not supported by the server")                                          \
    X(EJUKEBOX, -528, "server wants to be tried later")                                            \
    X(EIOCBQUEUED, -529, "queued, result comes later")                                             \
    X(ERECALLCONFLICT, -530, "conflict with a recalled state")                                     \
    X(ENOGRACE, -531, "no grace period for recovery")

/* X(name, value, text): results that have no errno. */
#define XEV_EXTRA_MAP(X)                                                                           \
    X(EOF, -4095, "end of stream")                                                                 \
    X(ENOPOOL, -4094, "no thread pool attached to this loop")                                      \
    X(ENONAME, -4092, "no such host name, or none for this address")                               \
    X(EDNS_AGAIN, -4091, "name server did not answer, try again")                                  \
    X(EDNS_FAIL, -4090, "name resolution failed")                                                  \
    X(ENOSERVICE, -4089, "no such service name")                                                   \
    X(EFORKED, -4088, "the loop was made before fork(): the child needs its own")                  \
    X(ENOLOCKMEM, -4087,                                                                           \
      "no locked memory for io_uring: raise ulimit -l (LimitMEMLOCK), or use epoll")               \
    X(EDQUOT, XEV__EDQUOT, "disk quota exceeded")                                                  \
    X(ESTALE, XEV__ESTALE, "stale handle")                                                         \
    X(ETOOMANYREFS, XEV__ETOOMANYREFS, "too many descriptors on their way")                        \
    X(EUNKNOWN, -4093, "unknown error")                                                            \
    XEV_KERNEL_MAP(X)

enum xev_error {
#define XEV__ERRNO(name, text) XEV_##name = -(name),
    XEV_ERRNO_MAP(XEV__ERRNO)
#undef XEV__ERRNO
#define XEV__EXTRA(name, value, text) XEV_##name = (value),
        XEV_EXTRA_MAP(XEV__EXTRA)
#undef XEV__EXTRA
};

XEV_BEGIN_DECLS

/* The name of a code ("XEV_ECONNRESET"); "XEV_OK" for >= 0, "XEV_EUNKNOWN" for a code that is not
 * in the list. Never NULL, static storage. Any thread. */
const char *xev_err_name(int code);

/* One line of English for a code ("connection reset by peer"); "success" for >= 0. Never NULL,
 * static storage. Any thread. */
const char *xev_strerror(int code);

/* Which option is wrong, and why, in words, where one of these calls of this thread has just
 * returned XEV_EINVAL: xev_loop_init_options, xev_conn_service_new, xev_conn_connect,
 * xev_upstreams_new, xev_serve_add, xev_serve_set_limits.
 *
 *     "user_bytes is above 1 MiB"
 *     "operators: no address, network or \"unix\": 10.0.0.0/33"
 *
 * Of xev_runtime_run, xev_runtime_failure_get tells it. Valid until the thread's next such failure;
 * never NULL, "" before the first one. Any thread. */
const char *xev_err_why(void);

XEV_END_DECLS

#endif
