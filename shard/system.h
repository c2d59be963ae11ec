/* Internal: what the runtime needs of the operating system besides POSIX threads. */
#ifndef XEV_SHARD_SYSTEM_H
#define XEV_SHARD_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>

/* CPUs of the process's affinity: their number, and the n-th of them (wrapping around). */
uint32_t xev__cpu_allowed(void);
int xev__cpu_nth(uint32_t n);

/* CPUs that the cgroup quota comes to, rounded down, at least 1; UINT32_MAX: no quota. root is
 * what stands before /proc and /sys: "" or, in tests, a folder. */
uint32_t xev__cpu_quota(const char *root);

/* Bind the calling thread to a CPU. 0 or a code. */
int xev__cpu_pin(int cpu);

/* Block SIGINT and SIGTERM in the calling thread and those it makes, and report them by a
 * descriptor. close takes what is pending and restores what was. */
struct xev__signals {
    int fd; /* -1: none are caught */
    uint64_t old_mask[16];
};
int xev__signals_open(struct xev__signals *s);
void xev__signals_close(struct xev__signals *s);
/* Takes one pending signal. False: none. */
bool xev__signals_take(struct xev__signals *s);

/* A descriptor that threads signal and one waits for. */
int xev__event_open(int *fd);
void xev__event_signal(int fd);
void xev__event_drain(int fd);
void xev__event_close(int fd);

/* Wait until one of two descriptors is readable (either may be -1) or timeout_ms (-1: no limit). */
void xev__wait_readable(int a, int b, int timeout_ms);

#endif
