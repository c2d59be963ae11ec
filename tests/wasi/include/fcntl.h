#ifndef TESTS_WASI_FCNTL_H
#define TESTS_WASI_FCNTL_H

#pragma GCC system_header

#include_next <fcntl.h>

/* F_GETFD fails for what is not open, which wasi-libc's own does not look at. */
int wasi_fcntl(int fd, int command, ...);
#define fcntl(...) wasi_fcntl(__VA_ARGS__)
#define F_SETLEASE 1024 /* EINVAL: there are no leases */
#define F_UNLCK 2
#define F_WRLCK 1
#define F_DUPFD 0
#define F_DUPFD_CLOEXEC 1030
#define F_SETPIPE_SZ 1031
#define F_GETPIPE_SZ 1032
#define O_DIRECT 0
#define O_PATH 0

#endif
