/* What the load generators measure; see result.h. */
#include "bench/result.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/common.h"

static unsigned bucket_of(uint64_t value_ns) {
    if (value_ns < BENCH_SUB_BUCKETS) {
        return (unsigned)value_ns;
    }
    unsigned shift = 63U - (unsigned)__builtin_clzll(value_ns) - BENCH_SUB_BUCKET_BITS;
    return (shift + 1) * BENCH_SUB_BUCKETS + (unsigned)((value_ns >> shift) - BENCH_SUB_BUCKETS);
}

/* The middle of a bucket's range. */
static double bucket_value_ns(unsigned bucket) {
    if (bucket < BENCH_SUB_BUCKETS) {
        return bucket;
    }
    unsigned shift = bucket / BENCH_SUB_BUCKETS - 1;
    uint64_t low = (uint64_t)(bucket % BENCH_SUB_BUCKETS + BENCH_SUB_BUCKETS) << shift;
    return (double)low + (double)((uint64_t)1 << shift) / 2.0;
}

static double percentile_us(const struct bench_counts *counts, double fraction) {
    uint64_t rank = (uint64_t)((double)counts->requests * fraction);
    uint64_t seen = 0;
    for (unsigned i = 0; i < BENCH_BUCKETS; ++i) {
        seen += counts->histogram[i];
        if (seen > rank) {
            return bucket_value_ns(i) / 1e3;
        }
    }
    return 0.0;
}

static double own_cpu_seconds(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* utime and stime of /proc/PID/stat; false when the process cannot be read. */
static bool process_ticks(pid_t pid, double *user, double *system) {
    char path[64];
    char text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *after_name = strrchr(text, ')');
    unsigned long utime = 0;
    unsigned long stime = 0;
    if (after_name == NULL ||
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &utime,
               &stime) != 2) {
        return false;
    }
    *user = (double)utime;
    *system = (double)stime;
    return true;
}

/*
 * CPU seconds of all threads of a process. Its CPU clock counts the same as utime + stime, in
 * nanoseconds instead of ticks of 10 ms; the latter serve where the clock is refused.
 */
static double process_cpu_seconds(pid_t pid) {
    clockid_t clock = 0;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &used) == 0) {
        return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
    }
    double user = -1.0;
    double system = 0.0;
    bool known = process_ticks(pid, &user, &system);
    return known ? (user + system) / (double)sysconf(_SC_CLK_TCK) : -1.0;
}

/*
 * Seconds in which threads of a process were ready to run and something else had their CPU: what
 * neighbours took. Negative when the kernel does not tell.
 */
static double process_wait_seconds(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/task", (long)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL) {
        return -1.0;
    }
    double total = 0.0;
    for (struct dirent *task = readdir(tasks); task != NULL; task = readdir(tasks)) {
        char stat_path[sizeof path + sizeof task->d_name + 16];
        snprintf(stat_path, sizeof stat_path, "%s/%s/schedstat", path, task->d_name);
        FILE *file = task->d_name[0] != '.' ? fopen(stat_path, "re") : NULL;
        if (file == NULL) {
            continue;
        }
        unsigned long long waited_ns = 0;
        if (fscanf(file, "%*u %llu", &waited_ns) == 1) {
            total += (double)waited_ns / 1e9;
        }
        fclose(file);
    }
    closedir(tasks);
    return total;
}

void bench_count(struct bench_counts *counts, int64_t latency_ns) {
    ++counts->histogram[bucket_of((uint64_t)latency_ns)];
    ++counts->requests;
}

struct bench_usage bench_cpu_now(pid_t server) {
    return (struct bench_usage){
        .server_cpu_s = process_cpu_seconds(server),
        .at_ns = bench_now_ns(),
    };
}

struct bench_usage bench_usage_now(pid_t server) {
    struct bench_usage usage = {.server_cpu_s = -1.0, .server_wait_s = -1.0};
    if (server > 0) {
        usage.server_cpu_s = process_cpu_seconds(server);
        usage.server_wait_s = process_wait_seconds(server);
        (void)process_ticks(server, &usage.server_user_ticks, &usage.server_system_ticks);
    }
    usage.client_cpu_s = own_cpu_seconds();
    usage.client_wait_s = process_wait_seconds(getpid());
    usage.at_ns = bench_now_ns();
    return usage;
}

/* CPU per request, and how much of it in the program and in the kernel. */
static void print_server(const struct bench_counts *counts, const struct bench_usage *start,
                         const struct bench_usage *end, double cpu_s) {
    double user = end->server_user_ticks - start->server_user_ticks;
    double system = end->server_system_ticks - start->server_system_ticks;
    double part = user + system > 0.0 ? user / (user + system) : 0.0;
    cpu_s = cpu_s > 0.0 ? cpu_s : 1e-9; /* so short a run that no clock has moved */
    double us = cpu_s * 1e6 / (double)counts->requests;
    printf(",\"server_cpu_s\":%.3f,\"server_wait_s\":%.3f,\"requests_per_server_cpu_s\":%.0f,"
           "\"user_us\":%.3f,\"system_us\":%.3f",
           cpu_s, end->server_wait_s - start->server_wait_s, (double)counts->requests / cpu_s,
           us * part, us - us * part);
}

bool bench_print_result(const struct bench_shape *shape, const struct bench_counts *counts,
                        const struct bench_usage *start, const struct bench_usage *end) {
    double elapsed = (double)(end->at_ns - start->at_ns) / 1e9;
    double server_cpu_s = end->server_cpu_s - start->server_cpu_s;
    printf("{\"connections\":%u,\"size\":%u,\"pipeline\":%u,\"seconds\":%.3f,"
           "\"requests\":%" PRIu64 ",\"requests_per_s\":%.0f,\"mb_per_s\":%.2f,"
           "\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"errors\":%" PRIu64
           ",\"client_cpu_s\":%.3f,\"client_wait_s\":%.3f",
           shape->connections, shape->size_bytes, shape->pipeline, elapsed, counts->requests,
           (double)counts->requests / elapsed, (double)counts->bytes / elapsed / 1e6,
           percentile_us(counts, 0.5), percentile_us(counts, 0.99), percentile_us(counts, 0.999),
           counts->errors, end->client_cpu_s - start->client_cpu_s,
           end->client_wait_s - start->client_wait_s);
    if (start->server_cpu_s >= 0.0 && counts->requests > 0) {
        print_server(counts, start, end, server_cpu_s);
    }
    printf("}\n");
    return fflush(stdout) == 0 && counts->errors == 0 && counts->requests > 0;
}
