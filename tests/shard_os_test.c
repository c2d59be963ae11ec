/* CPUs by the quota of a cgroup, in /proc and /sys trees that the test makes; what a thread is
 * doing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shard/system.h"
#include "threadpool/cpus.h"
#include "xev/shard.h"
#include "tests/test.h"

static char root[256];

static void make_root(void) {
    const char *tmp = getenv("TEST_TMPDIR");
    snprintf(root, sizeof root, "%s/quota.XXXXXX", tmp != NULL ? tmp : "/tmp");
    CHECK(mkdtemp(root) != NULL);
}

/* A file, with the folders on the way to it. */
static void put(const char *path, const char *text) {
    char full[1024];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        (void)mkdir(full, 0700);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    CHECK(f != NULL);
    CHECK_GE(fputs(text, f), 0);
    CHECK_EQ(fclose(f), 0);
}

static void check_quota(uint32_t cpus) {
    char command[300];
    CHECK_EQ(xev__cpu_quota(root), cpus);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    CHECK_EQ(system(command), 0);
}

TEST(no_cgroup_is_no_quota) {
    make_root();
    check_quota(UINT32_MAX);
}

TEST(v2_max_is_no_quota) {
    make_root();
    put("/proc/self/cgroup", "0::/app\n");
    put("/sys/fs/cgroup/app/cpu.max", "max 100000\n");
    check_quota(UINT32_MAX);
}

TEST(v2_quota_is_rounded_down) {
    make_root();
    put("/proc/self/cgroup", "0::/app\n");
    put("/sys/fs/cgroup/app/cpu.max", "150000 100000\n");
    check_quota(1);
}

TEST(v2_whole_quota) {
    make_root();
    put("/proc/self/cgroup", "0::/app\n");
    put("/sys/fs/cgroup/app/cpu.max", "400000 100000\n");
    check_quota(4);
}

TEST(v2_less_than_one_cpu_is_one) {
    make_root();
    put("/proc/self/cgroup", "0::/app\n");
    put("/sys/fs/cgroup/app/cpu.max", "20000 100000\n");
    check_quota(1);
}

TEST(v2_smaller_limit_of_a_parent_counts) {
    make_root();
    put("/proc/self/cgroup", "0::/slice/app/inner\n");
    put("/sys/fs/cgroup/slice/app/inner/cpu.max", "800000 100000\n");
    put("/sys/fs/cgroup/slice/app/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/slice/cpu.max", "300000 100000\n");
    check_quota(3);
}

TEST(v2_smaller_limit_of_the_inner_counts) {
    make_root();
    put("/proc/self/cgroup", "0::/slice/app\n");
    put("/sys/fs/cgroup/slice/app/cpu.max", "200000 100000\n");
    put("/sys/fs/cgroup/slice/cpu.max", "600000 100000\n");
    check_quota(2);
}

TEST(v2_in_a_namespace_the_root_has_the_limit) {
    make_root();
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/cpu.max", "250000 50000\n");
    check_quota(5);
}

TEST(v1_quota) {
    make_root();
    put("/proc/self/cgroup", "12:memory:/m\n4:cpu,cpuacct:/docker/x\n1:cpuset:/\n");
    put("/sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us", "350000\n");
    put("/sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us", "100000\n");
    check_quota(3);
}

TEST(v1_controller_listed_last) {
    make_root();
    put("/proc/self/cgroup", "4:cpuacct,cpu:/x\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "200000\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
    check_quota(2);
}

TEST(v1_without_limit) {
    make_root();
    put("/proc/self/cgroup", "4:cpu:/x\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
    check_quota(UINT32_MAX);
}

TEST(v1_other_controllers_do_not_count) {
    make_root();
    put("/proc/self/cgroup", "4:cpuacct:/x\n5:cpuset:/x\n6:name=cpu:/x\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "100000\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
    check_quota(UINT32_MAX);
}

TEST(v1_and_v2_side_by_side) {
    make_root();
    put("/proc/self/cgroup", "4:cpu:/x\n0::/y\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "200000\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
    check_quota(2);
}

TEST(nonsense_is_no_quota) {
    static const char *const bad[] = {"",           "\n",         "x y\n",       "100000\n",
                                      "100000 0\n", "0 100000\n", "-5 100000\n", "100000 -1\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        make_root();
        put("/proc/self/cgroup", "nonsense\n::\n0:\n0::/app\n");
        put("/sys/fs/cgroup/app/cpu.max", bad[i]);
        check_quota(UINT32_MAX);
    }
}

TEST(a_large_quota_does_not_wrap) {
    make_root();
    put("/proc/self/cgroup", "0::/app\n");
    put("/sys/fs/cgroup/app/cpu.max", "429496729600000 100000\n"); /* 2^32 CPUs */
    check_quota(UINT32_MAX);
}

TEST(this_process_may_use_a_cpu) {
    uint32_t allowed = xev__cpu_allowed();
    CHECK_GE(allowed, 1);
    CHECK_GE(xev_cpu_count(), 1);
    CHECK_LE(xev_cpu_count(), allowed);
    CHECK_GT(xev_memory_limit(), 1 << 20);
    for (uint32_t i = 0; i < allowed; i++) {
        CHECK_GE(xev__cpu_nth(i), 0);
        CHECK_EQ(xev__cpu_nth(i + allowed), xev__cpu_nth(i)); /* around */
        for (uint32_t j = 0; j < i; j++) {
            CHECK_NE(xev__cpu_nth(i), xev__cpu_nth(j));
        }
    }
}

/* Which is the read(2) by which it learns that. */
TEST(a_thread_that_asks_for_itself_is_in_a_call) {
    char text[96], wanted[40];
    xev__thread_activity(xev__thread_number(), text, sizeof text);
    snprintf(wanted, sizeof wanted, "in system call %ld (0x", (long)SYS_read);
    CHECK(strstr(text, wanted) == text);
}

TEST(a_thread_that_is_none_is_at_nothing) {
    char text[96] = "x";
    xev__thread_activity(UINT64_MAX, text, sizeof text);
    CHECK_STR_EQ(text, "");
}
