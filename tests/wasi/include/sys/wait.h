/* Child processes: a test that makes one is left out. */
#ifndef TESTS_WASI_SYS_WAIT_H
#define TESTS_WASI_SYS_WAIT_H

#pragma GCC system_header

#include <sys/types.h>

#define WNOHANG 1
#define WIFEXITED(status) (((status)&0x7f) == 0)
#define WEXITSTATUS(status) ((status) >> 8)
#define WIFSIGNALED(status) (((status)&0x7f) != 0)
#define WTERMSIG(status) ((status)&0x7f)

pid_t waitpid(pid_t pid, int *status, int flags);

#endif
