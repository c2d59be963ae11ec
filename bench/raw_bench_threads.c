/*
 * The bare forms of what shards send each other: two threads and the least that can carry a request
 * to the other one and its reply back. Awake: a ring of numbers each way, which the threads look
 * at all the time. Asleep: an eventfd each way, and a blocking read of it.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench/loop_bench.h"

enum { RING = LOOP_BENCH_WINDOW_MAX, LOOKS_PER_YIELD = 1000 };

/* From one thread to one other. */
struct ring {
    _Alignas(128) atomic_ullong written;
    _Alignas(128) atomic_ullong read;
    _Alignas(128) uint64_t items[RING];
};

static struct ring there, back;

/* Waits until there is an item behind the seen ones; returns how many were written. */
static uint64_t wait_for(struct ring *ring, uint64_t seen) {
    for (int looks = 0;; looks++) {
        uint64_t written = atomic_load_explicit(&ring->written, memory_order_acquire);
        if (written != seen) {
            return written;
        }
        if (looks == LOOKS_PER_YIELD) {
            (void)sched_yield(); /* both may have one CPU */
            looks = 0;
        }
    }
}

static void *reply_awake(void *arg) {
    uint64_t count = *(const uint64_t *)arg;
    for (uint64_t seen = 0; seen < count;) {
        uint64_t written = wait_for(&there, seen);
        for (; seen < written; seen++) {
            back.items[seen % RING] = there.items[seen % RING] + 1;
        }
        atomic_store_explicit(&back.written, seen, memory_order_release);
    }
    return NULL;
}

void bench_shard_request(struct loop_bench_run *run) {
    uint64_t count = (uint64_t)run->count, sent = 0, done = 0;
    run->backend = "threads";
    loop_bench_begin(run);
    struct loop_bench_thread thread = loop_bench_thread_start(reply_awake, &count);
    while (done < count) {
        for (; sent < count && sent - done < (uint64_t)run->window; sent++) {
            there.items[sent % RING] = sent;
        }
        atomic_store_explicit(&there.written, sent, memory_order_release);
        uint64_t written = wait_for(&back, done);
        for (; done < written; done++) {
            loop_bench_expect("reply", (int64_t)back.items[done % RING], (int64_t)done + 1);
        }
    }
    loop_bench_thread_join(thread);
    loop_bench_end(run);
}

struct sleepers {
    int there, back;
    int64_t count;
};

static void wake(int fd) {
    uint64_t one = 1;
    loop_bench_expect("eventfd: write", write(fd, &one, sizeof one), sizeof one);
}

static void sleep_for(int fd) {
    uint64_t got;
    loop_bench_expect("eventfd: read", read(fd, &got, sizeof got), sizeof got);
    loop_bench_expect("eventfd: wakes", (int64_t)got, 1);
}

static void *reply_asleep(void *arg) {
    const struct sleepers *s = arg;
    for (int64_t i = 0; i < s->count; i++) {
        sleep_for(s->there);
        wake(s->back);
    }
    return NULL;
}

void bench_shard_ask_one(struct loop_bench_run *run) {
    struct sleepers s = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC), run->count};
    if (s.there < 0 || s.back < 0) {
        loop_bench_fail("no eventfd");
    }
    run->backend = "threads";
    loop_bench_begin(run);
    struct loop_bench_thread thread = loop_bench_thread_start(reply_asleep, &s);
    for (int64_t i = 0; i < run->count; i++) {
        wake(s.there);
        sleep_for(s.back);
    }
    loop_bench_thread_join(thread);
    loop_bench_end(run);
    (void)close(s.there);
    (void)close(s.back);
}
