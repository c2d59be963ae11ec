/* No operation allocates memory. After a warm-up, 100 000 echoes and 100 000 timers, waits and
 * cancels make no call of the allocator, and map no memory. The test counts the calls by functions
 * of the same names in front of glibc's. A sanitizer has an allocator of its own, so the counts are
 * not checked there. */
#include "tests/loop_scene.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTED 0
#endif
#endif
#ifndef COUNTED
#define COUNTED 1
#endif

static atomic_uint allocations;

#if COUNTED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(p, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **p, size_t alignment, size_t size) {
    atomic_fetch_add(&allocations, 1);
    *p = __libc_memalign(alignment, size);
    return *p != NULL ? 0 : ENOMEM;
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    atomic_fetch_add(&allocations, 1);
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}
#endif

static void check_none(void) { CHECK(!COUNTED || atomic_load(&allocations) == 0); }

TEST(allocations_are_counted) {
    atomic_store(&allocations, 0);
    void *volatile p = malloc(1);
    p = realloc(p, 100);
    free(p);
    p = calloc(1, 1);
    free(p);
    p = aligned_alloc(64, 64);
    free(p);
    p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_EQ(munmap(p, 4096), 0);
    CHECK_EQ(atomic_load(&allocations), COUNTED ? 5 : 0);
}

/* --- echo: both ends on one loop --- */

struct end {
    xev_stream stream;
    xev_write_req req;
    xev_completion recv;
    uint64_t rounds, limit;
    char data[64];
};

static void written(xev_loop *loop, xev_stream *s, xev_write_req *req, int result, void *userdata) {
    (void)loop;
    (void)s;
    (void)req;
    (void)userdata;
    CHECK_EQ(result, 64);
}

static xev_cb_action received(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct end *e = userdata;
    if (!xev_completion_more(c)) {
        CHECK_EQ(result, XEV_ECANCELED);
        return XEV_DISARM;
    }
    CHECK_EQ(result, 64);
    memcpy(e->data, xev_buf_data(loop), 64);
    if (++e->rounds == e->limit) {
        xev_loop_stop(loop);
    } else {
        xev_stream_write(&e->stream, &e->req, e->data, 64, e, written);
    }
    return XEV_REARM;
}

TEST_TIMEOUT(a_hundred_thousand_echoes_allocate_nothing, 60) {
    static struct end ends[2];
    uint32_t n = rounds(100000);
    xev_loop loop;
    loop_start(&loop);
    xev_addr at;
    xev_tcp listening = listener(&at, 8), client;
    struct op connecting = {0}, accepting = {0};
    CHECK_EQ(xev_tcp_init(&client, XEV_AF_INET), 0);
    xev_tcp_accept(listening, &loop, &accepting.c, &accepting, op_cb);
    xev_tcp_connect(client, &loop, &connecting.c, &at, &connecting, op_cb);
    run_done(&loop);
    CHECK_EQ(connecting.result, 0);
    CHECK_GE(accepting.result, 0);
    xev_tcp tcp[2] = {client, xev_tcp_from_fd(accepting.result)};
    for (int i = 0; i < 2; i++) {
        xev_stream_init(&ends[i].stream, &loop, tcp[i].fd);
        xev_tcp_recv_multi(tcp[i], &loop, &ends[i].recv, &ends[i], received);
    }
    /* Warm-up, then the rest. */
    for (int phase = 0; phase < 2; phase++) {
        ends[0].limit = phase == 0 ? 100 : n;
        ends[1].limit = UINT64_MAX;
        xev_stream_write(&ends[0].stream, &ends[0].req, ends[0].data, 64, &ends[0], written);
        run_done(&loop);
        if (phase == 0) {
            atomic_store(&allocations, 0);
        }
    }
    CHECK_EQ(ends[0].rounds, n);
    check_none();
    xev_loop_deinit(&loop);
}

TEST_TIMEOUT(a_hundred_thousand_receives_with_deadlines_allocate_nothing, 60) {
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    char byte;
    for (uint32_t i = 0; i < rounds(100000) + 100; i++) {
        if (i == 100) {
            atomic_store(&allocations, 0);
        }
        struct op recv = {0}, send = {0}, cancel = {0};
        xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
        xev_completion_set_timeout(&loop, &recv.c, HOUR_MS);
        if (i % 4 == 0) {
            xev_cancel(&loop, &recv.c, &cancel.c, &cancel, op_cb);
        } else {
            xev_tcp_send(pair[1], &loop, &send.c, "x", 1, &send, op_cb);
        }
        run_done(&loop);
        CHECK_EQ(recv.calls, 1);
        CHECK(recv.result == (i % 4 == 0 ? XEV_ECANCELED : 1));
    }
    check_none();
    xev_loop_deinit(&loop);
}

/* --- timers and waits --- */

TEST_TIMEOUT(a_hundred_thousand_timers_allocate_nothing, 60) {
    enum { BATCH = 1000 };
    static struct op o[BATCH], cancel[BATCH];
    xev_loop loop;
    loop_start(&loop);
    for (uint32_t i = 0; i < rounds(100) + 1; i++) {
        if (i == 1) {
            atomic_store(&allocations, 0);
        }
        for (int k = 0; k < BATCH; k++) {
            uint64_t timeout = (uint64_t)(k * 7919 % BATCH) * 1000;
            xev_timer_run_ns(NULL, &loop, &o[k].c, timeout, &o[k], op_cb);
        }
        for (int k = 0; k < BATCH; k += 2) {
            xev_cancel(&loop, &o[k].c, &cancel[k].c, &cancel[k], op_cb);
        }
        run_done(&loop);
    }
    check_none();
    xev_loop_deinit(&loop);
}

TEST_TIMEOUT(a_hundred_thousand_notifications_allocate_nothing, 60) {
    xev_loop loop;
    loop_start(&loop);
    xev_watcher w;
    CHECK_EQ(xev_async_init(&w), 0);
    struct op o = {.rearm = UINT32_MAX};
    xev_async_wait(&w, &loop, &o.c, &o, op_cb);
    for (uint32_t i = 1; i <= rounds(100000); i++) {
        xev_async_notify(&w);
        run_once(&loop);
        CHECK_EQ(o.calls, i);
        if (i == 10) {
            atomic_store(&allocations, 0);
        }
    }
    check_none();
    xev_loop_deinit(&loop);
}

/* The first ones of a loop allocate nothing either: all they need was there at its start. */
static _Alignas(4096) char arena[16 << 20];
static size_t arena_used;

static void *arena_allocate(size_t bytes, size_t alignment, void *userdata) {
    (void)userdata;
    size_t at = (arena_used + alignment - 1) / alignment * alignment;
    CHECK_LE(at + bytes, sizeof arena);
    arena_used = at + bytes;
    return arena + at;
}

static void arena_release(void *memory, size_t bytes, void *userdata) {
    (void)userdata;
    (void)memory;
    (void)bytes;
}

TEST(loop_with_an_allocator_uses_no_other) {
    xev_loop_options options = {.allocator = {arena_allocate, arena_release, NULL}};
    xev_loop loop;
    xev_tcp pair[2];
    struct op timer = {0}, recv = {0}, send = {0};
    socket_pair(pair);
    atomic_store(&allocations, 0);
    loop_start_options(&loop, &options);
    xev_timer_run(NULL, &loop, &timer.c, 1, &timer, op_cb);
    xev_tcp_recv_loan(pair[0], &loop, &recv.c, &recv, op_cb);
    xev_tcp_send(pair[1], &loop, &send.c, "x", 1, &send, op_cb);
    run_done(&loop);
    CHECK_EQ(recv.result, 1);
    xev_loop_deinit(&loop);
    check_none();
    CHECK_EQ(close(pair[0].fd) + close(pair[1].fd), 0);
}

TEST(first_timers_and_waits_of_a_loop_allocate_nothing) {
    xev_loop loop;
    loop_start(&loop);
    xev_watcher w;
    atomic_store(&allocations, 0);
    CHECK_EQ(xev_async_init(&w), 0);
    struct op timer = {0}, wait = {0}, cancel = {0}, waits = {0};
    xev_timer_run(NULL, &loop, &timer.c, 0, &timer, op_cb);
    xev_async_wait(&w, &loop, &wait.c, &wait, op_cb);
    xev_async_notify(&w);
    run_done(&loop);
    xev_async_wait(&w, &loop, &waits.c, &waits, op_cb);
    xev_cancel(&loop, &waits.c, &cancel.c, &cancel, op_cb);
    run_done(&loop);
    check_none();
    xev_loop_deinit(&loop);
}
