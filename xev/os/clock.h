/* Internal: the system's calls for the clock. Codes are XEV_E*. */
#ifndef XEV_OS_CLOCK_H
#define XEV_OS_CLOCK_H

#include <stdint.h>

/* The monotonic time in ns, above 0. */
uint64_t xev__os_now_ns(void);
/* The same, but cheaper to read. It may be some ms later than the real time, and is never earlier.
 */
uint64_t xev__os_coarse_now_ns(void);
void xev__os_sleep_ms(uint32_t ms);

#endif
