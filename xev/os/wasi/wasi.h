/* Internal: what the files of this folder share. WASI is its snapshot preview 1. */
#ifndef XEV_OS_WASI_WASI_H
#define XEV_OS_WASI_WASI_H

#include <wasi/api.h>

#include "xev/error.h"
#include "xev/os/posix/sys.h"
#include "xev/platform.h"

/* The code of a call of WASI, which answers with an errno by itself. */
static inline int xev__wasi_code(__wasi_errno_t error) { return -(int)error; }

/* XEV_ENOTSUP where fd is open, else XEV_EBADF. */
static inline int xev__wasi_lacks(xev_fd fd) {
    return xev__os_is_open(fd) ? XEV_ENOTSUP : XEV_EBADF;
}

/* fd was closed: forget how far it was read as a directory. */
void xev__wasi_directory_closed(xev_fd fd);

#endif
