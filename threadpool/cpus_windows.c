/* CPU count on Windows: the affinity of the process. */
#include "threadpool/cpus.h"

#include <windows.h>

uint32_t xev__cpu_allowed(void) {
    DWORD_PTR process, system;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &process, &system) || process == 0) {
        return 1; /* 0: the process has threads in several groups of CPUs */
    }
    return (uint32_t)__builtin_popcountll((unsigned long long)process);
}

uint32_t xev__cpu_quota(const char *root) {
    (void)root;
    return UINT32_MAX;
}

const char *xev__cpu_root = "";

uint32_t xev__cpu_count(void) { return xev__cpu_allowed(); }

uint64_t xev__memory_limit(void) {
    MEMORYSTATUSEX status = {.dwLength = sizeof status};
    return GlobalMemoryStatusEx(&status) ? status.ullTotalPhys : UINT64_MAX;
}
