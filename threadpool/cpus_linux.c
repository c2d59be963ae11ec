/* Linux: CPUs by affinity and by cgroup quota. */
#include "threadpool/cpus.h"

#include <assert.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Above this the kernel's mask does not fit a fixed cpu_set_t, see sched_setaffinity(2). */
enum { MOST_CPUS = 8192 };

uint32_t xev__cpu_allowed(void) {
    /* The affinity mask and not the online count: cpusets and taskset show in it. */
    cpu_set_t set[MOST_CPUS / CPU_SETSIZE];
    if (sched_getaffinity(0, sizeof set, set) == 0) {
        int n = CPU_COUNT_S(sizeof set, set);
        if (n > 0) {
            return (uint32_t)n;
        }
    }
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

/* ---- cgroup quota ---- */

/* The first line of dir/name. */
static bool read_quota_line(const char *dir, const char *name, char *line, int len) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    bool ok = f != NULL && fgets(line, len, f) != NULL;
    if (f != NULL) {
        (void)fclose(f);
    }
    return ok;
}

/* The CPUs that the quota of one cgroup comes to; dir is its folder. UINT32_MAX: it has none. The
 * quota is so many us of CPU time in each period of so many us: cpu.max has both ("max 100000": no
 * quota), cgroup v1 has a file for each. */
static uint32_t quota_in(const char *dir) {
    char line[128];
    long long quota = -1, period = 0;
    if (read_quota_line(dir, "cpu.max", line, sizeof line)) {
        if (sscanf(line, "%lld %lld", &quota, &period) != 2) {
            return UINT32_MAX;
        }
    } else {
        quota = read_quota_line(dir, "cpu.cfs_quota_us", line, sizeof line) ? atoll(line) : -1;
        period = read_quota_line(dir, "cpu.cfs_period_us", line, sizeof line) ? atoll(line) : 0;
    }
    if (quota <= 0 || period <= 0) {
        return UINT32_MAX;
    }
    long long cpus = quota / period;
    assert(cpus >= 0);
    return cpus < 1 ? 1 : cpus > UINT32_MAX ? UINT32_MAX : (uint32_t)cpus;
}

/* The smallest quota of a cgroup and those above it, up to the root of its hierarchy. group is its
 * path, and is cut to nothing. */
static uint32_t quota_up(const char *mount, char *group) {
    assert(mount != NULL && group != NULL);
    uint32_t least = UINT32_MAX;
    for (;;) {
        char dir[PATH_MAX];
        int n = snprintf(dir, sizeof dir, "%s%s", mount, group);
        uint32_t q = n > 0 && (size_t)n < sizeof dir ? quota_in(dir) : UINT32_MAX;
        least = q < least ? q : least;
        char *slash = strrchr(group, '/');
        if (slash == NULL) {
            return least;
        }
        *slash = '\0';
    }
}

static bool lists_cpu(const char *controllers) {
    for (const char *p = controllers; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        if (strncmp(p, "cpu", 3) == 0 && (p[3] == ',' || p[3] == '\0')) {
            return true;
        }
    }
    return false;
}

uint32_t xev__cpu_quota(const char *root) {
    char path[PATH_MAX], line[PATH_MAX];
    uint32_t least = UINT32_MAX;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        /* hierarchy:controllers:/group; "0::/group" is v2 */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL) {
            continue;
        }
        *group++ = '\0';
        controllers++;
        bool v2 = controllers[0] == '\0';
        if (!v2 && !lists_cpu(controllers)) {
            continue;
        }
        char mount[PATH_MAX];
        snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s", root, v2 ? "" : "/cpu");
        uint32_t q = quota_up(mount, group);
        least = q < least ? q : least;
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return least;
}

const char *xev__cpu_root = "";

uint32_t xev__cpu_count(void) {
    uint32_t allowed = xev__cpu_allowed(), quota = xev__cpu_quota(xev__cpu_root);
    assert(allowed >= 1 && quota >= 1);
    return quota < allowed ? quota : allowed;
}
