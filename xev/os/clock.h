/* Internal: the system's calls for the clock. Codes are XEV_E*. */
#ifndef XEV_OS_CLOCK_H
#define XEV_OS_CLOCK_H

#include <stdint.h>

/* Monotonic, ns, above 0. */
uint64_t xev__os_now_ns(void);
/* The same, cheaper, and up to some ms later than the real time; never earlier. */
uint64_t xev__os_coarse_now_ns(void);
void xev__os_sleep_ms(uint32_t ms);

#endif
