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
#else
#define XEV_NODISCARD
#define XEV_PRINTF(fmt_index, first)
#endif

/* A descriptor: a small int on POSIX, as wide as a handle on Windows. */
#if defined(_WIN32)
typedef intptr_t xev_fd;
#else
typedef int xev_fd;
#endif
#define XEV_INVALID_FD ((xev_fd)-1)

#endif
