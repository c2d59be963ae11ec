/* Linux: CPUs by affinity and by cgroup quota; memory by limit and by cgroup. */
#include "threadpool/cpus.h"

#include <assert.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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

/* ---- cgroups ---- */

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

/* What a cgroup allows; dir is its folder. UINT64_MAX: it has no limit. */
typedef uint64_t (*cgroup_limit)(const char *dir);

/* The CPUs that the quota of one cgroup comes to, at least 1. The
 * quota is so many us of CPU time in each period of so many us: cpu.max has both ("max 100000": no
 * quota), cgroup v1 has a file for each. */
static uint64_t quota_in(const char *dir) {
    char line[128];
    long long quota = -1, period = 0;
    if (read_quota_line(dir, "cpu.max", line, sizeof line)) {
        if (sscanf(line, "%lld %lld", &quota, &period) != 2) {
            return UINT64_MAX;
        }
    } else {
        quota = read_quota_line(dir, "cpu.cfs_quota_us", line, sizeof line) ? atoll(line) : -1;
        period = read_quota_line(dir, "cpu.cfs_period_us", line, sizeof line) ? atoll(line) : 0;
    }
    if (quota <= 0 || period <= 0) {
        return UINT64_MAX;
    }
    long long cpus = quota / period;
    assert(cpus >= 0);
    return cpus < 1 ? 1 : (uint64_t)cpus;
}

/* Above this cgroup v1 means that there is no limit. */
#define MOST_BYTES (UINT64_C(1) << 60)

static uint64_t memory_in(const char *dir) {
    char line[128];
    if (!read_quota_line(dir, "memory.max", line, sizeof line) && /* "max": no limit */
        !read_quota_line(dir, "memory.limit_in_bytes", line, sizeof line)) {
        return UINT64_MAX;
    }
    unsigned long long bytes = strtoull(line, NULL, 10);
    return line[0] < '0' || line[0] > '9' || bytes >= MOST_BYTES ? UINT64_MAX : bytes;
}

/* The smallest limit of a cgroup and those above it, up to the root of its hierarchy. group is its
 * path, and is cut to nothing. */
static uint64_t least_up(const char *mount, char *group, cgroup_limit limit) {
    assert(mount != NULL && group != NULL);
    uint64_t least = UINT64_MAX;
    for (;;) {
        char dir[PATH_MAX];
        int n = snprintf(dir, sizeof dir, "%s%s", mount, group);
        uint64_t q = n > 0 && (size_t)n < sizeof dir ? limit(dir) : UINT64_MAX;
        least = q < least ? q : least;
        char *slash = strrchr(group, '/');
        if (slash == NULL) {
            return least;
        }
        *slash = '\0';
    }
}

static bool lists(const char *controllers, const char *name) {
    size_t len = strlen(name);
    for (const char *p = controllers; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        if (strncmp(p, name, len) == 0 && (p[len] == ',' || p[len] == '\0')) {
            return true;
        }
    }
    return false;
}

/* The smallest limit of all cgroups of the process that the controller has. */
static uint64_t least_of_cgroups(const char *root, const char *controller, cgroup_limit limit) {
    char path[PATH_MAX], line[PATH_MAX];
    uint64_t least = UINT64_MAX;
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
        if (!v2 && !lists(controllers, controller)) {
            continue;
        }
        char mount[PATH_MAX];
        snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s%s", root, v2 ? "" : "/",
                 v2 ? "" : controller);
        uint64_t q = least_up(mount, group, limit);
        least = q < least ? q : least;
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return least;
}

uint32_t xev__cpu_quota(const char *root) {
    uint64_t quota = least_of_cgroups(root, "cpu", quota_in);
    return quota < UINT32_MAX ? (uint32_t)quota : UINT32_MAX;
}

const char *xev__cpu_root = "";

uint32_t xev__cpu_count(void) {
    uint32_t allowed = xev__cpu_allowed(), quota = xev__cpu_quota(xev__cpu_root);
    assert(allowed >= 1 && quota >= 1);
    return quota < allowed ? quota : allowed;
}

uint64_t xev__memory_limit(void) {
    uint64_t least = least_of_cgroups(xev__cpu_root, "memory", memory_in);
    struct rlimit limit[2];
    int rc[] = {getrlimit(RLIMIT_AS, &limit[0]), getrlimit(RLIMIT_DATA, &limit[1])};
    for (int i = 0; i < 2; i++) {
        if (rc[i] == 0 && limit[i].rlim_cur != RLIM_INFINITY && limit[i].rlim_cur < least) {
            least = limit[i].rlim_cur;
        }
    }
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    uint64_t machine = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : least;
    return machine < least ? machine : least;
}
