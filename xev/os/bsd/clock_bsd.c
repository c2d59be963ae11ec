/* macOS and the BSDs: the clock that is cheap to read. */
#include <time.h>

#include "xev/os/clock.h"

uint64_t xev__os_coarse_now_ns(void) {
#if defined(CLOCK_MONOTONIC_FAST)
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_FAST, &ts);
    /* The time of the last tick, which lasts 10 ms at most (kern.hz=100). */
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec + 10000000u;
#else
    return xev__os_now_ns();
#endif
}
