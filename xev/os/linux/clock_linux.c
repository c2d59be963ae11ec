/* Linux: the clock that is cheap to read. */
#include <time.h>

#include "xev/os/clock.h"

uint64_t xev__os_coarse_now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    /* The clock shows the time of the last tick. A tick lasts 10 ms at most (CONFIG_HZ=100), so
     * with 10 ms more the result is never earlier than the time. */
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec + 10000000u;
}
