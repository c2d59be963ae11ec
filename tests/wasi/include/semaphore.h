#ifndef TESTS_WASI_SEMAPHORE_H
#define TESTS_WASI_SEMAPHORE_H

#pragma GCC system_header

#include_next <semaphore.h>

#include <time.h>

int sem_clockwait(sem_t *s, clockid_t clock, const struct timespec *until);

#endif
