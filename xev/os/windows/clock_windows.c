/* Windows: the clock. */
#include "xev/os/clock.h"

#include "xev/os/windows/windows_base.h"

uint64_t xev__os_now_ns(void) {
    static LARGE_INTEGER frequency; /* the same whoever asks first */
    LARGE_INTEGER now;
    if (frequency.QuadPart == 0) {
        QueryPerformanceFrequency(&frequency);
    }
    QueryPerformanceCounter(&now);
    uint64_t ticks = (uint64_t)now.QuadPart, hz = (uint64_t)frequency.QuadPart;
    /* In two parts: the product of the whole would overflow after some hours. */
    return ticks / hz * 1000000000u + ticks % hz * 1000000000u / hz + 1;
}

uint64_t xev__os_coarse_now_ns(void) { return xev__os_now_ns(); }

void xev__os_sleep_ms(uint32_t ms) { Sleep(ms); }
