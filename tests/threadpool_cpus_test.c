/* A pool's default size on a machine of 64 CPUs, where the quota of a cgroup allows fewer; and what
 * limits a process's memory. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"
#include "threadpool/cpus.h"
#include "xev/shard.h"

int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set) {
    (void)pid;
    memset(set, 0, size);
    memset(set, 0xff, 64 / 8);
    return 0;
}

static char root[256];

static void put(const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    FILE *f = fopen(full, "w");
    CHECK(f != NULL);
    CHECK_GE(fputs(text, f), 0);
    CHECK_EQ(fclose(f), 0);
}

/* Files of a machine, with the process's cgroups. */
static void make_root(const char *cgroups) {
    static const char *const folders[] = {"proc",
                                          "proc/self",
                                          "sys",
                                          "sys/fs",
                                          "sys/fs/cgroup",
                                          "sys/fs/cgroup/a",
                                          "sys/fs/cgroup/a/b",
                                          "sys/fs/cgroup/memory",
                                          "sys/fs/cgroup/memory/m"};
    const char *tmp = getenv("TEST_TMPDIR");
    char full[512];
    snprintf(root, sizeof root, "%s/cpus.XXXXXX", tmp != NULL ? tmp : "/tmp");
    CHECK(mkdtemp(root) != NULL);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        snprintf(full, sizeof full, "%s/%s", root, folders[i]);
        CHECK_EQ(mkdir(full, 0700), 0);
    }
    put("proc/self/cgroup", cgroups);
    xev__cpu_root = root;
}

static void set_quota(const char *cpu_max) {
    make_root("0::/\n");
    put("sys/fs/cgroup/cpu.max", cpu_max);
}

static uint32_t default_threads(void) {
    xev_threadpool pool;
    xev_threadpool_counters counters;
    CHECK_EQ(xev_threadpool_init(&pool, NULL), 0);
    xev_threadpool_stats(&pool, &counters);
    xev_threadpool_deinit(&pool);
    return counters.max_threads;
}

TEST(without_a_quota_there_is_a_thread_per_cpu_and_one) {
    set_quota("max 100000\n");
    CHECK_EQ(xev_cpu_count(), 64);
    CHECK_EQ(default_threads(), 65);
}

TEST(a_quota_of_8_cpus_is_8_threads_and_one) {
    set_quota("800000 100000\n");
    CHECK_EQ(xev_cpu_count(), 8);
    CHECK_EQ(default_threads(), 9);
}

TEST(a_quota_of_1_cpu_is_the_least_there_are) {
    set_quota("100000 100000\n");
    CHECK_EQ(xev_cpu_count(), 1);
    CHECK_EQ(default_threads(), 5);
}

/* ---- memory ---- */

static uint64_t machine_bytes(void) {
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

TEST(without_limits_memory_is_the_machines) {
    make_root("5:cpu:/\n4:memory:/m\n0::/a/b\n");
    put("sys/fs/cgroup/a/b/memory.max", "max\n");
    put("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "9223372036854771712\n");
    CHECK_EQ(xev_memory_limit(), machine_bytes());
}

TEST(the_least_limit_of_the_cgroups_is_the_limit) {
    make_root("0::/a/b\n");
    put("sys/fs/cgroup/a/b/memory.max", "max\n");
    put("sys/fs/cgroup/a/memory.max", "67108864\n");
    CHECK_EQ(xev_memory_limit(), 64 << 20);
    put("sys/fs/cgroup/a/b/memory.max", "1048576\n");
    CHECK_EQ(xev_memory_limit(), 1 << 20);
}

TEST(cgroups_of_version_1_limit_memory) {
    make_root("4:cpu,memory:/m\n0::/\n");
    put("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "33554432\n");
    CHECK_EQ(xev_memory_limit(), 32 << 20);
}

TEST(limits_of_the_process_count) {
    if (test_slowdown() > 1) {
        return; /* a sanitizer needs memory of its own meanwhile */
    }
    const struct rlimit data = {UINT64_C(1) << 40, RLIM_INFINITY};
    make_root("0::/\n");
    CHECK_EQ(setrlimit(RLIMIT_DATA, &data), 0);
    CHECK_EQ(xev_memory_limit(), machine_bytes()); /* the machine has less */
    const struct rlimit less = {UINT64_C(1) << 28, RLIM_INFINITY};
    CHECK_EQ(setrlimit(RLIMIT_DATA, &less), 0);
    CHECK_EQ(xev_memory_limit(), 1 << 28);
    CHECK_EQ(setrlimit(RLIMIT_DATA, &data), 0); /* sanitizers need more at the end */
}
