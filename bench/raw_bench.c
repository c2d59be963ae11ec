/*
 * The micro-benchmarks that have a bare form: system calls and nothing else. --backend io_uring: a
 * ring as liburing makes it, with W requests under way. pread: a loop of pread(2); nowait: one of
 * preadv2(2) with RWF_NOWAIT; both know no W. threads: what stands in raw_bench_threads.c, which
 * knows no other way. Usage: raw_bench --list
 */
#include <liburing.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench/loop_bench.h"
#include "bench/ring.h"

static ssize_t transfer_without_waiting(int fd, char *buf, off_t offset, bool writes) {
    /* Not every C library has preadv2. On machines of 64 bits the first part of the offset is it.
     */
    struct iovec vec = {buf, LOOP_BENCH_PAGE_BYTES};
    return syscall(writes ? SYS_pwritev2 : SYS_preadv2, fd, &vec, 1L, (long)offset, 0L, RWF_NOWAIT);
}

static ssize_t transfer(int fd, char *buf, off_t offset, bool writes) {
    return writes ? pwrite(fd, buf, LOOP_BENCH_PAGE_BYTES, offset)
                  : pread(fd, buf, LOOP_BENCH_PAGE_BYTES, offset);
}

static void transfer_by_calls(struct loop_bench_run *run, const struct loop_bench_file *file,
                              bool writes) {
    bool nowait = strcmp(run->backend, "nowait") == 0;
    char *buf = loop_bench_page_memory();
    loop_bench_begin(run);
    for (int64_t i = 0; i < run->count; i++) {
        uint64_t page = loop_bench_page(file, i);
        off_t offset = (off_t)(page * LOOP_BENCH_PAGE_BYTES);
        if (writes) {
            loop_bench_fill_page(page, buf);
        }
        ssize_t n = nowait ? transfer_without_waiting(file->fd, buf, offset, writes) : -1;
        if (n < 0) { /* what has to be waited for after all */
            n = transfer(file->fd, buf, offset, writes);
        }
        loop_bench_check_page(page, buf, n);
    }
    loop_bench_end(run);
    free(buf);
}

struct slot {
    uint64_t page;
    char *buf;
};

static void ask(struct io_uring *ring, const struct loop_bench_file *file, struct slot *slot,
                int64_t i, bool writes) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (sqe == NULL) {
        loop_bench_fail("no room in the ring");
    }
    slot->page = loop_bench_page(file, i);
    uint64_t offset = slot->page * LOOP_BENCH_PAGE_BYTES;
    if (writes) {
        loop_bench_fill_page(slot->page, slot->buf);
        io_uring_prep_write(sqe, file->fd, slot->buf, LOOP_BENCH_PAGE_BYTES, offset);
    } else {
        io_uring_prep_read(sqe, file->fd, slot->buf, LOOP_BENCH_PAGE_BYTES, offset);
    }
    io_uring_sqe_set_data(sqe, slot);
}

static void transfer_by_ring(struct loop_bench_run *run, const struct loop_bench_file *file,
                             int window, bool writes) {
    struct io_uring ring;
    const struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL};
    unsigned entries = 1;
    while (entries < (unsigned)window && entries < 4096) {
        entries *= 2;
    }
    bench_ring_init(entries, &ring, &params);
    (void)io_uring_register_ring_fd(&ring);
    window = window < (int)entries ? window : (int)entries;
    struct slot *slots = loop_bench_memory((size_t)window, sizeof *slots);
    for (int i = 0; i < window; i++) {
        slots[i].buf = loop_bench_page_memory();
    }
    int64_t next = 0, done = 0;
    loop_bench_begin(run);
    while (next < window && next < run->count) {
        ask(&ring, file, &slots[next], next, writes);
        next++;
    }
    while (done < run->count) {
        int rc = io_uring_submit_and_wait(&ring, 1);
        if (rc < 0 && rc != -EINTR) {
            loop_bench_fail("io_uring_enter: %s", strerror(-rc));
        }
        struct io_uring_cqe *cqes[64];
        unsigned n = io_uring_peek_batch_cqe(&ring, cqes, 64);
        for (unsigned i = 0; i < n; i++, done++) {
            struct slot *slot = io_uring_cqe_get_data(cqes[i]);
            loop_bench_check_page(slot->page, slot->buf, cqes[i]->res);
            if (next < run->count) {
                ask(&ring, file, slot, next++, writes);
            }
        }
        io_uring_cq_advance(&ring, n);
    }
    loop_bench_end(run);
    io_uring_queue_exit(&ring);
    for (int i = 0; i < window; i++) {
        free(slots[i].buf);
    }
    free(slots);
}

static void run_transfers(struct loop_bench_run *run, int window, bool cached, bool writes) {
    struct loop_bench_file file = loop_bench_file_make(run, cached);
    bool by_threads = run->backend != NULL && strcmp(run->backend, "threads") == 0;
    run->backend = run->backend != NULL && !by_threads ? run->backend : "io_uring";
    if (strcmp(run->backend, "io_uring") == 0) {
        transfer_by_ring(run, &file, window, writes);
    } else {
        transfer_by_calls(run, &file, writes);
    }
    loop_bench_figure(run, "loop_cpu_ns", (double)run->used.thread_cpu_ns / (double)run->count);
    (void)close(file.fd);
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

int main(int argc, char **argv) {
    static const char *const backends[] = {"io_uring", "pread", "nowait", "threads", NULL};
    static const struct loop_bench benches[] = {LOOP_BENCHES_RAW(LOOP_BENCH_ROW)
                                                    LOOP_BENCHES_THREADS(LOOP_BENCH_ROW){0}};
    return loop_bench_main(argc, argv, "raw", backends, benches);
}
