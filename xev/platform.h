/* What differs between platforms and compilers in the public headers; nothing else may. */
#ifndef XEV_PLATFORM_H
#define XEV_PLATFORM_H

#include <stdint.h>

#ifdef __cplusplus
#define XEV_BEGIN_DECLS extern "C" {
#define XEV_END_DECLS }
#else
#define XEV_BEGIN_DECLS
#define XEV_END_DECLS
#endif

#if defined(__GNUC__)
#define XEV_NODISCARD __attribute__((warn_unused_result))
#define XEV_PRINTF(fmt_index, first) __attribute__((format(printf, fmt_index, first)))
#define XEV__NOINLINE __attribute__((noinline))
#else
#define XEV_NODISCARD
#define XEV_PRINTF(fmt_index, first)
#define XEV__NOINLINE
#endif

/* A descriptor: a small number on POSIX. On Windows it names a socket or handle, of which 64-bit
 * Windows uses 32 bits only, so that it fits an int there as well (Microsoft, "Interprocess
 * Communication Between 32-bit and 64-bit Applications"). No call of xev makes 0, 1 or 2, which a
 * program may have closed: to make a file its standard output, use dup2. */
typedef int xev_fd;
#define XEV_INVALID_FD ((xev_fd)-1)

/* Signals, by the numbers that all systems give them, since not every <signal.h> has all of them
 * (that of Windows, for instance): for process.h and signal.h. */
enum xev_signal_number {
    XEV_SIGHUP = 1,
    XEV_SIGINT = 2,
    XEV_SIGQUIT = 3,
    XEV_SIGKILL = 9,
    XEV_SIGPIPE = 13,
    XEV_SIGTERM = 15,
};

#endif
