/* Set-up of a ring, for the programs that need one. */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <errno.h>
#include <liburing.h>
#include <time.h>

#include "bench/common.h"

/* A ring that was closed a moment ago may still count as locked memory. So a failure for want of
 * locked memory is tried again. */
static inline void bench_ring_init(unsigned entries, struct io_uring *ring,
                                   const struct io_uring_params *wanted) {
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    struct io_uring_params params;
    int result;
    for (int attempt = 0; attempt < 100; ++attempt) {
        params = *wanted;
        result = io_uring_queue_init_params(entries, ring, &params);
        if (result != -ENOMEM) {
            break;
        }
        (void)nanosleep(&pause, NULL);
    }
    if (result < 0) {
        bench_die_errno(-result, "io_uring_queue_init_params");
    }
}

#endif
