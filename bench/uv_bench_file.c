/* The micro-benchmarks for libuv: files. Their twins stand in the same order in xev_bench_file.c.
 */
#include <stdlib.h>
#include <unistd.h>

#include "bench/uv_bench.h"

struct reads {
    struct loop_bench_file file;
    int64_t next, done, count;
    bool stop; /* those that have no end */
    bool writes;
};

struct read_slot {
    uv_fs_t req;
    struct reads *reads;
    uint64_t page;
    char *buf;
};

static void on_page(uv_fs_t *req);

static void read_page(uv_loop_t *loop, struct read_slot *slot) {
    struct reads *reads = slot->reads;
    slot->page = loop_bench_page(&reads->file, reads->next++);
    slot->req.data = slot;
    uv_buf_t buf = uv_buf_init(slot->buf, LOOP_BENCH_PAGE_BYTES);
    int64_t offset = (int64_t)slot->page * LOOP_BENCH_PAGE_BYTES;
    if (reads->writes) {
        loop_bench_fill_page(slot->page, slot->buf);
    }
    uv_bench_ok("start", (reads->writes ? uv_fs_write : uv_fs_read)(
                             loop, &slot->req, reads->file.fd, &buf, 1, offset, on_page));
}

static void on_page(uv_fs_t *req) {
    struct read_slot *slot = req->data;
    uv_bench_ok("read", (int)req->result);
    loop_bench_check_page(slot->page, slot->buf, req->result);
    uv_fs_req_cleanup(req);
    slot->reads->done++;
    if (slot->reads->next < slot->reads->count && !slot->reads->stop) {
        read_page(req->loop, slot);
    }
}

static struct read_slot *start_reads(uv_loop_t *loop, struct reads *reads, int window) {
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
    uv_loop_t loop;
    struct reads reads = {
        .file = loop_bench_file_make(run, cached), .count = run->count, .writes = writes};
    uv_bench_pool_init(run->threads);
    uv_bench_loop_init(&loop, run);
    loop_bench_begin(run);
    struct read_slot *slots = start_reads(&loop, &reads, window);
    uv_bench_loop_run(&loop);
    loop_bench_end(run);
    loop_bench_expect("reads", reads.done, run->count);
    loop_bench_figure(run, "loop_cpu_ns", (double)run->used.thread_cpu_ns / (double)run->count);
    end_reads(&reads, slots, window);
    uv_bench_loop_close(&loop);
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
    uv_tcp_t tcp;
    char bytes[LOOP_BENCH_ECHO_BYTES];
};

static void on_echo_closed(uv_handle_t *handle) {
    struct echo *echo = handle->data;
    echo->reads->stop = true;
}

static void on_echo_sent(uv_write_t *req, int status) {
    uv_bench_ok("write", status);
    free(req);
}

static void on_echo_alloc(uv_handle_t *handle, size_t suggested_len, uv_buf_t *buf) {
    struct echo *echo = handle->data;
    (void)suggested_len;
    *buf = uv_buf_init(echo->bytes, sizeof echo->bytes);
}

static void on_echo_received(uv_stream_t *stream, ssize_t result, const uv_buf_t *buf) {
    struct echo *echo = stream->data;
    (void)buf;
    if (result == 0) {
        return; /* as much as EAGAIN */
    }
    if (result == UV_EOF) {
        uv_close((uv_handle_t *)stream, on_echo_closed);
        return;
    }
    loop_bench_expect("bytes received", result, LOOP_BENCH_ECHO_BYTES);
    uv_buf_t back = uv_buf_init(echo->bytes, sizeof echo->bytes);
    /* One each: the next message may be here before the callback of this write. */
    uv_write_t *write = loop_bench_memory(1, sizeof *write);
    uv_bench_ok("write", uv_write(write, stream, &back, 1, on_echo_sent));
}

void bench_file_reads_beside(struct loop_bench_run *run) {
    uv_loop_t loop;
    struct echo echo;
    struct reads reads = {.file = loop_bench_file_make(run, true), .count = INT64_MAX};
    uv_bench_pool_init(run->threads);
    uv_bench_loop_init(&loop, run);
    loop_bench_begin(run);
    echo.reads = &reads;
    uv_bench_ok("socket", uv_tcp_init(&loop, &echo.tcp));
    echo.tcp.data = &echo;
    uv_bench_ok("socket", uv_tcp_open(&echo.tcp, loop_bench_echoes_start(run)));
    uv_bench_ok("receive",
                uv_read_start((uv_stream_t *)&echo.tcp, on_echo_alloc, on_echo_received));
    struct read_slot *slots = start_reads(&loop, &reads, run->window);
    uv_bench_loop_run(&loop);
    loop_bench_end(run);
    loop_bench_echoes_join(run);
    loop_bench_figure(run, "reads_per_s", (double)reads.done * 1e9 / (double)run->used.wall_ns);
    end_reads(&reads, slots, run->window);
    uv_bench_loop_close(&loop);
}
