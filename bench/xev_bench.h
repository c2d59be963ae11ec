/* What the files of xev_bench share. */
#ifndef BENCH_XEV_BENCH_H
#define BENCH_XEV_BENCH_H

#include "bench/loop_bench.h"
#include "xev/xev.h"

/* The benchmark has gone wrong if rc is an error. */
void xev_bench_ok(const char *what, int rc);

/* The options of a loop on the backend that was asked for; pool may be NULL. */
xev_loop_options xev_bench_options(const struct loop_bench_run *run, xev_threadpool *pool);

/* A loop of these options; run->backend is its backend from now on. */
void xev_bench_loop_init(xev_loop *loop, struct loop_bench_run *run, xev_threadpool *pool);

/* As many threads for one kind of work as libuv's pool has. */
void xev_bench_pool_init(xev_threadpool *pool, int threads);

/* Until nothing is active. */
void xev_bench_loop_run(xev_loop *loop);

#endif
