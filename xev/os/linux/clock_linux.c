/* Linux: the clock that is cheap to read. */
#include <time.h>

#include "xev/os/clock.h"

uint64_t xev__os_coarse_now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    /* It is the time of the last tick; the longest tick there is, is 10 ms. */
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec + 10000000u;
}
