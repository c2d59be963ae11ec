/* Limits: a test that sets one is left out. */
#ifndef TESTS_WASI_SYS_RESOURCE_H
#define TESTS_WASI_SYS_RESOURCE_H

#pragma GCC system_header

#include <sys/time.h>
#include <sys/types.h>

typedef unsigned long long rlim_t;
struct rlimit {
    rlim_t rlim_cur, rlim_max;
};
struct rusage {
    struct timeval ru_utime, ru_stime;
};
enum { RLIMIT_NOFILE = 7, RLIMIT_AS = 9, RLIMIT_FSIZE = 1, RLIMIT_STACK = 3, RLIMIT_NPROC = 6 };
enum { RUSAGE_SELF = 0, RUSAGE_THREAD = 1 };
#define RLIM_INFINITY (~0ull)

int getrlimit(int which, struct rlimit *limit);
int setrlimit(int which, const struct rlimit *limit);
int getrusage(int who, struct rusage *usage);

#endif
