/* The micro-benchmarks for xev: files. Their twins stand in the same order in uv_bench_file.c. */
#include <stdlib.h>
#include <unistd.h>

#include "bench/xev_bench.h"

struct reads {
    struct loop_bench_file file;
    int64_t next, done, count;
    bool stop; /* those that have no end */
    bool writes;
};

struct read_slot {
    xev_file_req req;
    struct reads *reads;
    uint64_t page;
    char *buf;
};

static xev_cb_action on_page(xev_loop *loop, xev_completion *c, int result, void *userdata);

static void read_page(xev_loop *loop, struct read_slot *slot) {
    struct reads *reads = slot->reads;
    slot->page = loop_bench_page(&reads->file, reads->next++);
    uint64_t offset = slot->page * LOOP_BENCH_PAGE_BYTES;
    if (reads->writes) {
        loop_bench_fill_page(slot->page, slot->buf);
        xev_file_pwrite(reads->file.fd, loop, &slot->req, slot->buf, LOOP_BENCH_PAGE_BYTES, offset,
                        slot, on_page);
        return;
    }
    xev_file_pread(reads->file.fd, loop, &slot->req, slot->buf, LOOP_BENCH_PAGE_BYTES, offset, slot,
                   on_page);
}

static xev_cb_action on_page(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct read_slot *slot = userdata;
    (void)c;
    xev_bench_ok("read", result);
    loop_bench_check_page(slot->page, slot->buf, result);
    slot->reads->done++;
    if (slot->reads->next < slot->reads->count && !slot->reads->stop) {
        read_page(loop, slot);
    }
    return XEV_DISARM;
}

static struct read_slot *start_reads(xev_loop *loop, struct reads *reads, int window) {
    struct read_slot *slots = loop_bench_memory((size_t)window, sizeof *slots);
    for (int i = 0; i < window; i++) {
        slots[i].reads = reads;
        slots[i].buf = loop_bench_page_memory();
    }
    for (int i = 0; i < window && reads->next < reads->count; i++) {
        read_page(loop, &slots[i]);
    }
    return slots;
}

static void end_reads(struct reads *reads, struct read_slot *slots, int window) {
    for (int i = 0; i < window; i++) {
        free(slots[i].buf);
    }
    free(slots);
    (void)close(reads->file.fd);
}

static void run_transfers(struct loop_bench_run *run, int window, bool cached, bool writes) {
    xev_threadpool pool;
    xev_loop loop;
    xev_loop_metrics before, after;
    struct reads reads = {
        .file = loop_bench_file_make(run, cached), .count = run->count, .writes = writes};
    xev_bench_pool_init(&pool, run->threads);
    xev_bench_loop_init(&loop, run, &pool);
    xev_loop_metrics_get(&loop, &before);
    loop_bench_begin(run);
    struct read_slot *slots = start_reads(&loop, &reads, window);
    xev_bench_loop_run(&loop);
    loop_bench_end(run);
    xev_loop_metrics_get(&loop, &after);
    loop_bench_expect("reads", reads.done, run->count);
    xev_threadpool_counters counters;
    xev_threadpool_stats(&pool, &counters);
    double n = (double)run->count;
    loop_bench_figure(run, "loop_cpu_ns", (double)run->used.thread_cpu_ns / n);
    loop_bench_figure(run, "loop_syscalls", (double)(after.syscalls - before.syscalls) / n);
    loop_bench_figure(run, "pool_tasks", (double)counters.finished / n);
    end_reads(&reads, slots, window);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

void bench_file_reads(struct loop_bench_run *run) { run_transfers(run, run->window, true, false); }

void bench_file_reads_one(struct loop_bench_run *run) {
    run->window = 1; /* for the line */
    run_transfers(run, 1, true, false);
}

void bench_file_writes(struct loop_bench_run *run) { run_transfers(run, run->window, true, true); }

void bench_file_writes_one(struct loop_bench_run *run) {
    run->window = 1; /* for the line */
    run_transfers(run, 1, true, true);
}

void bench_file_reads_uncached(struct loop_bench_run *run) {
    run_transfers(run, run->window, false, false);
}

/* ---- an echo beside them ---- */

struct echo {
    struct reads *reads;
    xev_tcp tcp;
    xev_completion c; /* one operation at a time */
    char bytes[LOOP_BENCH_ECHO_BYTES];
};

static xev_cb_action on_echo_closed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct echo *echo = userdata;
    (void)loop;
    (void)c;
    xev_bench_ok("close", result);
    echo->reads->stop = true;
    return XEV_DISARM;
}

static xev_cb_action on_echo_sent(xev_loop *loop, xev_completion *c, int result, void *userdata);

static xev_cb_action on_echo_received(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    struct echo *echo = userdata;
    if (result == XEV_EOF) {
        xev_tcp_close(echo->tcp, loop, c, echo, on_echo_closed);
        return XEV_DISARM;
    }
    loop_bench_expect("bytes received", result, LOOP_BENCH_ECHO_BYTES);
    xev_tcp_send(echo->tcp, loop, c, echo->bytes, sizeof echo->bytes, echo, on_echo_sent);
    return XEV_DISARM;
}

static xev_cb_action on_echo_sent(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct echo *echo = userdata;
    loop_bench_expect("bytes sent", result, LOOP_BENCH_ECHO_BYTES);
    xev_tcp_recv(echo->tcp, loop, c, echo->bytes, sizeof echo->bytes, echo, on_echo_received);
    return XEV_DISARM;
}

void bench_file_reads_beside(struct loop_bench_run *run) {
    xev_threadpool pool;
    xev_loop loop;
    struct echo echo;
    struct reads reads = {.file = loop_bench_file_make(run, true), .count = INT64_MAX};
    xev_bench_pool_init(&pool, run->threads);
    xev_bench_loop_init(&loop, run, &pool);
    loop_bench_begin(run);
    echo.reads = &reads;
    echo.tcp = xev_tcp_from_fd(loop_bench_echoes_start(run));
    xev_tcp_recv(echo.tcp, &loop, &echo.c, echo.bytes, sizeof echo.bytes, &echo, on_echo_received);
    struct read_slot *slots = start_reads(&loop, &reads, run->window);
    xev_bench_loop_run(&loop);
    loop_bench_end(run);
    loop_bench_echoes_join(run);
    loop_bench_figure(run, "reads_per_s", (double)reads.done * 1e9 / (double)run->used.wall_ns);
    end_reads(&reads, slots, run->window);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}
