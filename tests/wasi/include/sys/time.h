#ifndef TESTS_WASI_SYS_TIME_H
#define TESTS_WASI_SYS_TIME_H

#pragma GCC system_header

#include_next <sys/time.h>

enum { ITIMER_REAL = 0 };
struct itimerval {
    struct timeval it_interval, it_value;
};

int setitimer(int which, const struct itimerval *value, struct itimerval *old);

#endif
