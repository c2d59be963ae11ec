/*
 * Micro-benchmarks of event loops by the names people compare them by. Each is written twice in the
 * same way, for xev (xev_bench) and for libuv (uv_bench); what stands here is shared: the list,
 * the flags, the clocks, the checks, the line of JSON, and the clients and data both sides meet.
 */
#ifndef BENCH_LOOP_BENCH_H
#define BENCH_LOOP_BENCH_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * X(name, count, threads, window, what): the defaults of --count, --threads and --window; a 0 means
 * that the benchmark does not take the flag.
 */
#define LOOP_BENCHES(X)                                                                            \
    X(million_timers, 1000000, 0, 0, "arm N timers, 1000 per ms; run until all have fired")        \
    X(timers_cancelled, 2000000, 0, 256, "arm and cancel N timers, 10000 others being armed")      \
    X(deadlines, 2000000, 0, 256, "give N operations a deadline and take it away again")           \
    X(ping_pongs, 200000, 0, 0, "N round trips of 5 bytes over TCP, both ends on one loop")        \
    X(tcp_write_batch, 1000000, 0, 0, "N writes of 13 bytes, all queued at once, and their read")  \
    X(tcp_pump, 100000, 0, 0, "N writes of 64 KiB, one after the other, and their read")           \
    X(async_pummel, 1000000, 1, 0, "T threads notify a loop as fast as they can; N callbacks")     \
    X(async_ping, 50000, 0, 0, "two loops on two threads notify each other; N round trips")        \
    X(udp_pummel, 500000, 0, 0, "N datagrams from one socket to another, both on one loop")        \
    X(queue_work, 500000, 4, 1024, "N pieces of no work on a pool of T threads, W at a time")      \
    X(fs_stat, 200000, 4, 32, "N stat calls on a pool of T threads, W at a time")                  \
    LOOP_BENCHES_RAW(X)                                                                            \
    X(file_reads_beside, 20000, 4, 32, "N round trips of 64 bytes beside W endless cached reads")  \
    X(spawn, 1000, 0, 0, "start /bin/true and wait for its end, N times")                          \
    X(accepts, 50000, 0, 16, "N connections, W at a time: accept, echo 64 bytes, close")

/* Those that are written on the bare system too. */
#define LOOP_BENCHES_RAW(X)                                                                        \
    X(file_reads, 1000000, 4, 32, "N cached reads of 4 KiB, W at a time, on a pool of T threads")  \
    X(file_reads_one, 500000, 4, 0, "the same, one at a time")                                     \
    X(file_writes, 500000, 4, 32, "N writes of 4 KiB over cached ones, W at a time")               \
    X(file_writes_one, 200000, 4, 0, "the same, one at a time")                                    \
    X(file_reads_uncached, 16384, 4, 32, "reads of what is not cached, W at a time")

/* What libuv has nothing to put beside, but two bare threads have. */
#define LOOP_BENCHES_THREADS(X)                                                                    \
    X(shard_request, 2000000, 0, 64, "N requests of one shard to another, W at a time")            \
    X(shard_ask_one, 100000, 0, 0, "N asks, one at a time: both shards sleep in between")

/* What nobody else has anything to put beside. */
#define LOOP_BENCHES_XEV_ONLY(X)                                                                   \
    X(shard_ask, 2000000, 0, 64, "N asks of one shard to another, 16 bytes each way, W at a time") \
    X(shard_send, 5000000, 0, 8192, "N messages of one shard to another, W at most on their way")

/* Bounds of what is handed over by the flags. */
enum { LOOP_BENCH_THREADS_MAX = 64, LOOP_BENCH_WINDOW_MAX = 1 << 16, LOOP_BENCH_FIGURES_MAX = 8 };

/* Other timers that are armed in timers_cancelled and deadlines. */
enum { LOOP_BENCH_LIVE_TIMERS = 10000 };

struct loop_bench_clock {
    int64_t wall_ns;
    int64_t cpu_ns;          /* of the process */
    int64_t thread_cpu_ns;   /* of the calling thread */
    int64_t children_cpu_ns; /* of children that were waited for */
};

/* One run of one benchmark. */
struct loop_bench_run {
    const char *name;
    int64_t count; /* N */
    int threads;   /* T */
    int window;    /* W */
    /* In: as asked for, NULL if it was not. Out: the loop's own word for it. */
    const char *backend;
    struct loop_bench_clock used; /* between begin and end */
    bool thread_cpu_only;         /* cpu_ns_per_op is of the thread that called begin and end */
    struct {
        const char *name;
        double value;
    } figures[LOOP_BENCH_FIGURES_MAX];
    int figures_len;
};

/* What a program offers; the table ends with a NULL name. */
struct loop_bench {
    const char *name;
    int64_t count;
    int threads;
    int window;
    const char *what;
    void (*run)(struct loop_bench_run *run);
};

#define LOOP_BENCH_DECLARE(name, count, threads, window, what)                                     \
    void bench_##name(struct loop_bench_run *run);
#define LOOP_BENCH_ROW(name, count, threads, window, what)                                         \
    {#name, count, threads, window, what, bench_##name},

LOOP_BENCHES(LOOP_BENCH_DECLARE)
LOOP_BENCHES_THREADS(LOOP_BENCH_DECLARE)
LOOP_BENCHES_XEV_ONLY(LOOP_BENCH_DECLARE)

/* The whole of a program's main. backends ends with NULL, and has the names --backend takes. */
int loop_bench_main(int argc, char **argv, const char *who, const char *const *backends,
                    const struct loop_bench *benches);

/* What is measured begins, and ends, here. By the same thread, if that thread's CPU is to count. */
void loop_bench_begin(struct loop_bench_run *run);
void loop_bench_end(struct loop_bench_run *run);

/* One more figure of the line. */
void loop_bench_figure(struct loop_bench_run *run, const char *name, double value);

/* Two more, per operation: wall time and CPU of the process from start until now. */
struct loop_bench_clock loop_bench_now(void);
void loop_bench_part(struct loop_bench_run *run, const char *wall, const char *cpu,
                     const struct loop_bench_clock *start);

/* For async_pummel: CPU of the loop's thread per callback, and what the threads got done. */
void loop_bench_pummel_figures(struct loop_bench_run *run, int64_t notifies);

/* The benchmark has gone wrong: one line, exit status 1. */
_Noreturn void loop_bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void loop_bench_expect(const char *what, int64_t got, int64_t want);

/* Memory whose pages are there: that they have to be made is not measured. */
void *loop_bench_memory(size_t count, size_t bytes);

/* Delay of the i-th of the timers that come and go, or stay, in timers_cancelled and deadlines. */
uint64_t loop_bench_delay_ms(int64_t i);

/*
 * The bytes of a stream, which repeat after LOOP_BENCH_PATTERN_BYTES; at most 64 KiB from offset
 * on. check compares the first `most` of len received bytes, of which the first is the offset-th.
 */
enum { LOOP_BENCH_PATTERN_BYTES = 13, LOOP_BENCH_PUMP_BYTES = 64 * 1024 };
const char *loop_bench_pattern(int64_t offset);
void loop_bench_check_pattern(int64_t offset, const void *data, size_t len, size_t most);

/*
 * A thread of clients on blocking sockets, for `accepts`: opens run->window connections, sends
 * LOOP_BENCH_ECHO_BYTES on each, reads them back and then the end of the stream from each; and so
 * on until run->count. join ends the program where a byte was wrong.
 */
enum { LOOP_BENCH_ECHO_BYTES = 64 };
void loop_bench_clients_start(const struct loop_bench_run *run, int port);
void loop_bench_clients_join(void);

/*
 * The file of the file_reads: pages of 4 KiB, each beginning with its number, and named no longer.
 * cached: in memory; else none of it is, and no page is read twice. The i-th read is of
 * loop_bench_page(file, i).
 */
enum { LOOP_BENCH_PAGE_BYTES = 4096 };
struct loop_bench_file {
    int fd;
    uint64_t pages; /* a power of two */
};
/* Where to read a page to: aligned, since how memory lies may decide how long a copy takes. */
char *loop_bench_page_memory(void);
struct loop_bench_file loop_bench_file_make(const struct loop_bench_run *run, bool cached);
uint64_t loop_bench_page(const struct loop_bench_file *file, int64_t i);
/* The page as read; len_bytes: what the read gave. */
/* What is written to a page. */
void loop_bench_fill_page(uint64_t page, void *data);
void loop_bench_check_page(uint64_t page, const void *data, int64_t len_bytes);

/*
 * A thread of one client on a blocking socket, for file_reads_beside: sends LOOP_BENCH_ECHO_BYTES
 * and reads them back, run->count times, and closes. start returns the other end, a TCP connection.
 * join adds the figures p50_us and p99_us of the round trips.
 */
int loop_bench_echoes_start(const struct loop_bench_run *run);
void loop_bench_echoes_join(struct loop_bench_run *run);

/* As pthread_create and pthread_join, or the end of the program. */
struct loop_bench_thread {
    pthread_t id;
};
struct loop_bench_thread loop_bench_thread_start(void *(*entry)(void *), void *arg);
void loop_bench_thread_join(struct loop_bench_thread thread);

#endif
