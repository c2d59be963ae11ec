/* System calls by number: those of Linux that a test makes beneath the C library. */
#ifndef TESTS_WASI_SYS_SYSCALL_H
#define TESTS_WASI_SYS_SYSCALL_H

#pragma GCC system_header

enum { SYS_writev = 1, SYS_pwritev, SYS_capget, SYS_capset, SYS_gettid, SYS_tgkill, SYS_read };

long syscall(long number, ...);

#endif
