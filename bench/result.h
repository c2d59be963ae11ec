/*
 * What the load generators measure, and the JSON line that they print: echo_ratio reads it.
 */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    BENCH_SUB_BUCKET_BITS = 6,
    BENCH_SUB_BUCKETS = 1 << BENCH_SUB_BUCKET_BITS, /* per power of two: 1.6 % resolution */
    BENCH_BUCKETS = BENCH_SUB_BUCKETS * (64 - BENCH_SUB_BUCKET_BITS),
};

struct bench_counts {
    uint64_t requests;
    uint64_t bytes;
    uint64_t errors;
    uint64_t histogram[BENCH_BUCKETS];
};

/* One more request, which took so long. */
void bench_count(struct bench_counts *counts, int64_t latency_ns);

/* What is read at both ends of the measured window. Negative: the kernel does not tell. */
struct bench_usage {
    int64_t at_ns;
    double client_cpu_s;
    double client_wait_s; /* ready to run, while something else had the CPU */
    double server_cpu_s;
    double server_wait_s;
    double server_user_ticks; /* in units of the kernel's, only good for the parts of the whole */
    double server_system_ticks;
};

/* server: 0: none. */
struct bench_usage bench_usage_now(pid_t server);
/* The time and the server's CPU only, in few system calls. */
struct bench_usage bench_cpu_now(pid_t server);

struct bench_shape {
    uint32_t connections, size_bytes, pipeline;
};

/* False: there were errors or no requests, or stdout does not take the line. */
bool bench_print_result(const struct bench_shape *shape, const struct bench_counts *counts,
                        const struct bench_usage *start, const struct bench_usage *end);

#endif
