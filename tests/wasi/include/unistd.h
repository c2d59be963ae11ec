#ifndef TESTS_WASI_UNISTD_H
#define TESTS_WASI_UNISTD_H

#pragma GCC system_header

#include_next <unistd.h>

#include <sys/types.h>

pid_t fork(void);
pid_t wasi_getpid(void);
#define getpid() wasi_getpid()
pid_t gettid(void);
uid_t getuid(void);
uid_t geteuid(void);
int pipe(int fd[2]);
int pipe2(int fd[2], int flags);
int dup(int fd);
int dup2(int from, int to);
int chmod(const char *path, mode_t mode);
int fchmod(int fd, mode_t mode);
mode_t umask(mode_t mask);
int mkfifo(const char *path, mode_t mode);
int execv(const char *path, char *const argv[]);
int execvp(const char *path, char *const argv[]);
unsigned alarm(unsigned seconds);

ssize_t getrandom(void *buf, size_t len, unsigned flags);
int sched_setaffinity(pid_t pid, size_t len, const void *set);

#endif
