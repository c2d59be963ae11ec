/* What the files of uv_bench share. */
#ifndef BENCH_UV_BENCH_H
#define BENCH_UV_BENCH_H

#include <uv.h>

#include "bench/loop_bench.h"

/* The benchmark has gone wrong if rc is an error. */
void uv_bench_ok(const char *what, int rc);

/* run->backend is "epoll" from now on. */
void uv_bench_loop_init(uv_loop_t *loop, struct loop_bench_run *run);

/* Before the process's first piece of work. */
void uv_bench_pool_init(int threads);

/* Until nothing is active. */
void uv_bench_loop_run(uv_loop_t *loop);

/* Nothing is open any more. */
void uv_bench_loop_close(uv_loop_t *loop);

#endif
