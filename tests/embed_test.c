/* A loop inside the poll loop of a host program; the host's allocator; a walk over what is active.
 */
#include "tests/file_scene.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

/* ---- a host's poll loop ---- */

/* Waits as a host does: with poll(2), for as long as the loop says. True: the descriptor is ready.
 */
static bool host_wait(xev_loop *loop) {
    struct pollfd p = {.fd = xev_loop_backend_fd(loop), .events = POLLIN};
    uint64_t ns = xev_loop_prepare_wait_ns(loop);
    struct timespec limit = {.tv_sec = (time_t)(ns / 1000000000u),
                             .tv_nsec = (long)(ns % 1000000000u)};
    int n = ppoll(&p, 1, ns == UINT64_MAX ? NULL : &limit, NULL);
    CHECK(n >= 0 || errno == EINTR); /* the kernel works for a ring on this thread */
    return n == 1;
}

/* However long it takes. */
static void wait_ready(struct pollfd *p) {
    while (poll(p, 1, -1) != 1) {
        CHECK_EQ(errno, EINTR); /* likewise */
    }
}

static void host_until(xev_loop *loop, const uint32_t *calls, uint32_t n) {
    for (int i = 0; *calls < n; i++) {
        CHECK_LT(i, 100000);
        (void)host_wait(loop);
        run_no_wait(loop);
    }
}

TEST(host_drives_timers) {
    xev_loop loop;
    loop_start(&loop);
    struct op timer = {.rearm = 3};
    uint64_t before = clock_ns();
    xev_timer_run(NULL, &loop, &timer.c, 5, &timer, op_cb);
    host_until(&loop, &timer.calls, 4);
    CHECK_GE(clock_ns() - before, 20 * MS_NS);
    xev_loop_deinit(&loop);
}

TEST(host_is_told_how_long_to_wait) {
    xev_loop loop;
    loop_start(&loop);
    CHECK(xev_loop_prepare_wait_ns(&loop) == UINT64_MAX);
    struct op timer = {0}, none = {0};
    xev_timer_run(NULL, &loop, &timer.c, HOUR_MS, &timer, op_cb);
    uint64_t ns = xev_loop_prepare_wait_ns(&loop);
    CHECK(ns <= HOUR_MS * MS_NS && ns > (HOUR_MS - 60000) * MS_NS);
    xev_cancel(&loop, &timer.c, &none.c, &none, op_cb);
    CHECK_EQ(xev_loop_prepare_wait_ns(&loop), 0); /* callbacks are due */
    host_until(&loop, &none.calls, 1);
    xev_loop_stop(&loop);
    CHECK_EQ(xev_loop_prepare_wait_ns(&loop), 0);
    run_no_wait(&loop);
    CHECK(xev_loop_prepare_wait_ns(&loop) == UINT64_MAX);
    xev_loop_deinit(&loop);
}

static void *put_later(void *tcp) {
    sleep_ms(2);
    put_bytes(*(xev_tcp *)tcp, "x", 1);
    return NULL;
}

TEST(host_drives_sockets) {
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    char data[8];
    struct op recv = {.rearm = 2}, send = {0};
    xev_tcp_recv(pair[0], &loop, &recv.c, data, sizeof data, &recv, op_cb);
    host_until(&loop, &recv.calls, 0);
    /* Nothing is ready, so the host may wait, and what comes wakes it. */
    for (uint32_t i = 1; i <= 3; i++) {
        struct pollfd p = {.fd = xev_loop_backend_fd(&loop), .events = POLLIN};
        while (xev_loop_prepare_wait_ns(&loop) == 0 || poll(&p, 1, 0) == 1) {
            run_no_wait(&loop);
        }
        pthread_t t;
        thread_start(&t, put_later, &pair[1]);
        wait_ready(&p);
        thread_join(t);
        host_until(&loop, &recv.calls, i);
        CHECK_EQ(recv.result, 1);
    }
    /* Submitted between runs, by the host. */
    xev_tcp_send(pair[0], &loop, &send.c, "y", 1, &send, op_cb);
    host_until(&loop, &send.calls, 1);
    CHECK_EQ(read(pair[1].fd, data, 1), 1);
    CHECK_EQ(xev_tcp_close_now(pair[1]), 0);
    close_in(&loop, pair[0]);
    xev_loop_deinit(&loop);
}

static void *notify(void *watcher) {
    sleep_ms(5);
    CHECK_EQ(xev_async_notify(watcher), 0);
    return NULL;
}

/* With a wait in another's epoll instance, level-triggered, as hosts have it. */
TEST(host_is_woken_by_other_threads) {
    xev_loop loop;
    loop_start(&loop);
    xev_watcher async;
    CHECK_EQ(xev_async_init(&async), 0);
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN};
    CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, xev_loop_backend_fd(&loop), &ev), 0);
    struct op wait = {0};
    for (uint32_t i = 1; i <= rounds(100); i++) {
        xev_async_wait(&async, &loop, &wait.c, &wait, op_cb);
        pthread_t t;
        thread_start(&t, notify, &async);
        while (wait.calls < i) {
            if (xev_loop_prepare_wait_ns(&loop) > 0) {
                int n = epoll_wait(ep, &ev, 1, -1);
                CHECK(n == 1 || errno == EINTR);
            }
            run_no_wait(&loop);
        }
        thread_join(t);
    }
    xev_loop_metrics m;
    xev_loop_metrics_get(&loop, &m);
    CHECK_LE(m.wakes, m.sleeps);
    close(ep);
    xev_async_deinit(&async);
    xev_loop_deinit(&loop);
}

static void *write_one(void *fd) {
    sleep_ms(1);
    CHECK_EQ(eventfd_write(*(int *)fd, 1), 0);
    return NULL;
}

/* What wakes the host is itself signalled from within a signal: the kernel may do that later. */
TEST(host_is_woken_by_an_eventfd_of_its_own) {
    xev_loop loop;
    loop_start(&loop);
    int fd = eventfd(0, EFD_CLOEXEC);
    struct op ready = {0};
    for (uint32_t i = 1; i <= rounds(50); i++) {
        xev_fd_poll(fd, &loop, &ready.c, XEV_POLL_IN, &ready, op_cb);
        pthread_t t;
        thread_start(&t, write_one, &fd);
        host_until(&loop, &ready.calls, i);
        thread_join(t);
        eventfd_t value;
        CHECK_EQ(eventfd_read(fd, &value), 0);
    }
    close(fd);
    xev_loop_deinit(&loop);
}

static void *stop_later(void *loop) {
    sleep_ms(5);
    xev_loop_stop(loop);
    return NULL;
}

TEST(stop_ends_a_hosts_wait) {
    xev_loop loop;
    loop_start(&loop);
    pthread_t t;
    struct pollfd p = {.fd = xev_loop_backend_fd(&loop), .events = POLLIN};
    CHECK(xev_loop_prepare_wait_ns(&loop) == UINT64_MAX);
    thread_start(&t, stop_later, &loop);
    wait_ready(&p);
    thread_join(t);
    xev_loop_deinit(&loop); /* while prepared */
}

TEST(host_drives_work_on_the_pool) {
    struct scene s;
    scene_start(&s);
    struct freq f = {0};
    xev_file_stat_path(&s.loop, &f.r, "/", &f, freq_cb);
    host_until(&s.loop, &f.calls, 1);
    CHECK_EQ(f.result, 0);
    scene_end(&s);
}

/* The host may sleep: nothing is due, and the descriptor says so. */
static void check_host_rests(xev_loop *loop) {
    struct pollfd p = {.fd = xev_loop_backend_fd(loop), .events = POLLIN};
    for (int i = 0; i < 100; i++) {
        if (xev_loop_prepare_wait_ns(loop) > 0 && poll(&p, 1, 0) == 0) {
            return;
        }
        run_no_wait(loop);
    }
    CHECK_FAIL("the host is woken for nothing, again and again");
}

TEST(host_rests_when_nobody_waits_for_what_woke_it) {
    xev_loop loop;
    loop_start(&loop);
    xev_watcher async;
    CHECK_EQ(xev_async_init(&async), 0);
    struct op wait = {0};
    check_host_rests(&loop);
    xev_async_wait(&async, &loop, &wait.c, &wait, op_cb);
    check_host_rests(&loop);
    CHECK_EQ(xev_async_notify(&async), 0);
    host_until(&loop, &wait.calls, 1);
    check_host_rests(&loop);
    /* Nothing is active any more. */
    CHECK(xev_loop_prepare_wait_ns(&loop) == UINT64_MAX);
    CHECK_EQ(xev_async_notify(&async), 0);
    check_host_rests(&loop);
    CHECK(xev_loop_prepare_wait_ns(&loop) == UINT64_MAX);
    xev_loop_stop(&loop);
    check_host_rests(&loop);
    /* The notify was remembered. */
    xev_async_wait(&async, &loop, &wait.c, &wait, op_cb);
    host_until(&loop, &wait.calls, 2);
    xev_async_deinit(&async);
    xev_loop_deinit(&loop);
}

/* Wakes of a loop that nobody hosted yet are no news for its host. */
TEST(host_rests_after_wakes_from_before_it_asked_for_the_descriptor) {
    xev_loop loop;
    loop_start(&loop);
    xev_watcher async;
    CHECK_EQ(xev_async_init(&async), 0);
    struct op wait = {0};
    for (uint32_t i = 0; i < 3; i++) {
        xev_async_wait(&async, &loop, &wait.c, &wait, op_cb);
        pthread_t t;
        thread_start(&t, notify, &async);
        CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
        thread_join(t);
    }
    CHECK_EQ(wait.calls, 3);
    check_host_rests(&loop);
    xev_async_wait(&async, &loop, &wait.c, &wait, op_cb);
    check_host_rests(&loop);
    CHECK_EQ(xev_async_notify(&async), 0);
    host_until(&loop, &wait.calls, 4);
    check_host_rests(&loop);
    xev_async_deinit(&async);
    xev_loop_deinit(&loop);
}

/* What is to come, and what came in between, when the host asks late. */
TEST(host_may_ask_for_the_descriptor_between_prepare_and_wait) {
    for (int early = 0; early < 2; early++) {
        xev_loop loop;
        loop_start(&loop);
        xev_tcp pair[2];
        socket_pair(pair);
        char byte;
        struct op recv = {0};
        xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
        while (xev_loop_prepare_wait_ns(&loop) == 0) {
            run_no_wait(&loop);
        }
        if (early) {
            put_bytes(pair[1], "x", 1);
        }
        struct pollfd p = {.fd = xev_loop_backend_fd(&loop), .events = POLLIN};
        if (!early) {
            put_bytes(pair[1], "x", 1);
        }
        wait_ready(&p);
        host_until(&loop, &recv.calls, 1);
        check_host_rests(&loop);
        xev_loop_deinit(&loop);
        close(pair[0].fd);
        close(pair[1].fd);
    }
}

/* More results than the kernel's queue has room for. */
TEST(host_hears_of_results_that_had_no_room) {
    enum { N = 64 };
    static struct op recvs[N];
    static char bytes[N];
    xev_tcp pairs[N][2];
    xev_loop_options options = {.entries = 4, .cq_entries = 4};
    xev_loop loop;
    loop_start_options(&loop, &options);
    uint32_t calls = 0;
    (void)xev_loop_backend_fd(&loop);
    for (int i = 0; i < N; i++) {
        recvs[i] = (struct op){0};
        socket_pair(pairs[i]);
        xev_tcp_recv(pairs[i][0], &loop, &recvs[i].c, &bytes[i], 1, &recvs[i], op_cb);
    }
    check_host_rests(&loop);
    for (int i = 0; i < N; i++) {
        put_bytes(pairs[i][1], "x", 1);
    }
    while (calls < N) {
        struct pollfd p = {.fd = xev_loop_backend_fd(&loop), .events = POLLIN};
        if (xev_loop_prepare_wait_ns(&loop) > 0) {
            wait_ready(&p);
        }
        run_no_wait(&loop);
        calls = 0;
        for (int i = 0; i < N; i++) {
            calls += recvs[i].calls;
        }
    }
    xev_loop_deinit(&loop);
    for (int i = 0; i < N; i++) {
        close(pairs[i][0].fd);
        close(pairs[i][1].fd);
    }
}

/* With none, one, ... descriptors left. */
TEST(host_is_told_that_there_is_no_descriptor_for_it) {
    for (int left = 0; left < 3; left++) {
        xev_loop loop;
        loop_start(&loop);
        uint32_t before = descriptors();
        int hoard[64], n = 0, made = XEV_EMFILE;
        struct rlimit limit;
        CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
        struct rlimit low = {.rlim_cur = 48, .rlim_max = limit.rlim_max};
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
        while ((hoard[n] = dup(0)) >= 0) {
            n++;
        }
        for (int i = 0; i < left; i++) {
            close(hoard[--n]);
        }
        made = xev_loop_backend_fd(&loop);
        CHECK(made >= 0 || (made == XEV_EMFILE && left < 2));
        while (n > 0) {
            close(hoard[--n]);
        }
        CHECK(made >= 0 || descriptors() == before);
        made = xev_loop_backend_fd(&loop);
        CHECK_GE(made, 0);
        CHECK_EQ(xev_loop_backend_fd(&loop), made);
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
        struct op timer = {0};
        xev_timer_run(NULL, &loop, &timer.c, 1, &timer, op_cb);
        host_until(&loop, &timer.calls, 1);
        xev_loop_deinit(&loop);
    }
}

static void prepare_null(void) { (void)xev_loop_prepare_wait_ns(NULL); }
static void descriptor_of_null(void) { (void)xev_loop_backend_fd(NULL); }

static xev_cb_action prepare_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)result;
    (void)userdata;
    (void)xev_loop_prepare_wait_ns(loop);
    return XEV_DISARM;
}

static void prepare_inside(void) {
    xev_loop loop;
    loop_start(&loop);
    xev_completion c;
    xev_timer_run(NULL, &loop, &c, 0, NULL, prepare_cb);
    (void)xev_loop_run(&loop, XEV_RUN_ONCE);
}

TEST(preparing_in_a_callback_is_caught) {
    check_dies(prepare_null, "xev_loop_prepare_wait_ns");
    check_dies(descriptor_of_null, "xev_loop_backend_fd");
    check_dies(prepare_inside, "xev_loop_prepare_wait_ns");
}

/* ---- allocator ---- */

struct arena {
    uint64_t bytes, calls;
    uint64_t limit; /* calls that succeed */
};

static void *arena_allocate(size_t bytes, size_t alignment, void *userdata) {
    struct arena *a = userdata;
    CHECK_GT(bytes, 0);
    CHECK(alignment != 0 && (alignment & (alignment - 1)) == 0 && alignment <= 4096);
    if (a->calls == a->limit) {
        return NULL;
    }
    a->calls++;
    a->bytes += bytes;
    void *p = NULL;
    CHECK_EQ(posix_memalign(&p, alignment < 16 ? 16 : alignment, bytes), 0);
    memset(p, 0xa5, bytes);
    return p;
}

static void arena_release(void *memory, size_t bytes, void *userdata) {
    struct arena *a = userdata;
    CHECK(memory != NULL);
    CHECK_GE(a->bytes, bytes);
    memset(memory, 0x5a, bytes); /* all of them are ours */
    a->bytes -= bytes;
    free(memory);
}

/* Timers, sockets with loaned buffers, more descriptors than a first table holds. */
static void use(xev_loop *loop) {
    enum { PAIRS = 200 };
    static struct op recvs[PAIRS], sends[PAIRS];
    xev_tcp pairs[PAIRS][2];
    memset(recvs, 0, sizeof recvs);
    memset(sends, 0, sizeof sends);
    for (int i = 0; i < PAIRS; i++) {
        socket_pair(pairs[i]);
        xev_tcp_recv_loan(pairs[i][0], loop, &recvs[i].c, &recvs[i], op_cb);
        xev_tcp_send(pairs[i][1], loop, &sends[i].c, "x", 1, &sends[i], op_cb);
    }
    run_done(loop);
    for (int i = 0; i < PAIRS; i++) {
        CHECK(recvs[i].result == 1 || recvs[i].result == XEV_ENOMEM);
        CHECK(sends[i].result == 1 || sends[i].result == XEV_ENOMEM);
        CHECK_EQ(recvs[i].calls + sends[i].calls, 2);
        close(pairs[i][0].fd);
        close(pairs[i][1].fd);
    }
}

TEST(all_memory_is_the_allocators_and_comes_back) {
    struct arena arena = {.limit = UINT64_MAX};
    xev_loop_options options = {.allocator = {arena_allocate, arena_release, &arena}};
    xev_loop loop;
    loop_start_options(&loop, &options);
    uint64_t at_start = arena.bytes;
    CHECK_GT(at_start, 0);
    use(&loop);
    CHECK_GT(arena.bytes, at_start);
    xev_loop_deinit(&loop);
    CHECK_EQ(arena.bytes, 0);
}

/* The n-th allocation fails, and all after it. */
TEST(every_allocation_may_fail) {
    bool made = false;
    for (uint64_t limit = 0; limit < 1000; limit++) {
        struct arena arena = {.limit = limit};
        xev_loop_options options = {.allocator = {arena_allocate, arena_release, &arena}};
        uint32_t fds = descriptors();
        xev_loop loop;
        int rc = xev_loop_init_options(&loop, &options);
        if (rc == 0) {
            made = true;
            struct op none = {0};
            xev_timer_run(NULL, &loop, &none.c, 0, &none, op_cb);
            check_walk(&loop); /* without a word on who started it, if need be */
            run_done(&loop);
            CHECK_EQ(none.calls, 1);
            xev_loop_deinit(&loop);
        } else {
            CHECK_EQ(rc, XEV_ENOMEM);
            CHECK(!made);
        }
        CHECK_EQ(arena.bytes, 0);
        CHECK_EQ(descriptors(), fds);
        if (arena.calls < limit) {
            break; /* it had all it wanted */
        }
    }
    CHECK(made);
}

TEST(half_an_allocator_is_refused) {
    xev_loop loop;
    xev_loop_options options = {.allocator = {.allocate = arena_allocate}};
    CHECK_EQ(xev_loop_init_options(&loop, &options), XEV_EINVAL);
    options.allocator = (xev_allocator){.release = arena_release};
    CHECK_EQ(xev_loop_init_options(&loop, &options), XEV_EINVAL);
}

/* ---- walk ---- */

struct seen {
    const xev_completion *wanted;
    xev_active active;
    uint32_t times;
};

static void see(const xev_active *active, void *userdata) {
    struct seen *seen = userdata;
    if (active->completion == seen->wanted) {
        seen->active = *active;
        seen->times++;
    }
}

static xev_active find(const xev_loop *loop, const xev_completion *c) {
    struct seen seen = {.wanted = c};
    xev_loop_walk(loop, &seen, see);
    CHECK_EQ(seen.times, 1);
    return seen.active;
}

__attribute__((noinline)) static void start_recv(xev_tcp tcp, xev_loop *loop, struct op *op,
                                                 void *byte) {
    xev_tcp_recv(tcp, loop, &op->c, byte, 1, op, op_cb);
    __asm__ volatile(""); /* no tail call */
}

static void check_started_here(const xev_active *active) {
#if defined(NDEBUG)
    CHECK(active->call == NULL && active->from == NULL);
#else
    uintptr_t from = (uintptr_t)active->from, here = (uintptr_t)start_recv;
    CHECK_STR_EQ(active->call, "xev_tcp_recv");
    CHECK(from > here && from < here + 1024);
#endif
}

TEST(walk_tells_op_descriptor_state_and_start) {
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    char byte;
    struct op first = {.rearm = 1}, second = {0}, timer = {0};
    start_recv(pair[0], &loop, &first, &byte);
    start_recv(pair[0], &loop, &second, &byte);
    xev_timer_run(NULL, &loop, &timer.c, HOUR_MS, &timer, op_cb);
    xev_completion_unref(&timer.c);
    run_no_wait(&loop);
    xev_active a = find(&loop, &first.c);
    CHECK_STR_EQ(a.op, "recv");
    CHECK_STR_EQ(a.state, "waits for the kernel");
    CHECK_EQ(a.fd, pair[0].fd);
    CHECK(a.referenced);
    check_started_here(&a);
    CHECK_STR_EQ(find(&loop, &second.c).state, "behind another on its descriptor");
    a = find(&loop, &timer.c);
    CHECK_STR_EQ(a.op, "timer");
    CHECK_EQ(a.fd, XEV_INVALID_FD);
    CHECK(!a.referenced);
    CHECK(a.due_ns <= HOUR_MS * MS_NS && a.due_ns > (HOUR_MS - 60000) * MS_NS);
    CHECK(find(&loop, &second.c).due_ns == UINT64_MAX);
    xev_completion_set_timeout(&loop, &second.c, HOUR_MS);
    CHECK(find(&loop, &second.c).due_ns < 2 * HOUR_MS * MS_NS);
    /* Repeated by the loop: started where it was at first. */
    put_bytes(pair[1], "x", 1);
    run_for(&loop, &first, 1);
    a = find(&loop, &first.c);
    check_started_here(&a);
    xev_loop_deinit(&loop);
    close(pair[0].fd);
    close(pair[1].fd);
}

TEST(walk_works_from_a_callback_and_after_many) {
    enum { N = 1000 };
    static struct op ops[N];
    xev_loop loop;
    loop_start(&loop);
    for (int round = 0; round < 3; round++) {
        memset(ops, 0, sizeof ops);
        for (uint32_t i = 0; i < N; i++) {
            xev_timer_run(NULL, &loop, &ops[i].c, i % 7 == 0 ? HOUR_MS : i % 3, &ops[i], op_cb);
        }
        while (xev_loop_active(&loop) > (N + 6) / 7) {
            run_once(&loop);
        }
        for (uint32_t i = 0; i < N; i += 7) {
#if !defined(NDEBUG)
            CHECK_STR_EQ(find(&loop, &ops[i].c).call, "xev_timer_run");
#endif
            struct op none = {0};
            xev_cancel(&loop, &ops[i].c, &none.c, &none, op_cb);
            run_for(&loop, &none, 1);
        }
    }
    xev_loop_deinit(&loop);
}

TEST(active_operations_are_printed) {
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    char byte, text[2048] = "", wanted[64];
    struct op recv = {0};
    start_recv(pair[0], &loop, &recv, &byte);
    FILE *to = fmemopen(text, sizeof text, "w");
    CHECK(to != NULL);
    xev_loop_print_active(&loop, to);
    fclose(to);
    snprintf(wanted, sizeof wanted, "recv           fd %d", pair[0].fd);
    CHECK(strstr(text, "1 active, 1 of them keep it going\n") != NULL);
    CHECK(strstr(text, wanted) != NULL);
#if !defined(NDEBUG)
    CHECK(strstr(text, ", by xev_tcp_recv from ") != NULL);
    CHECK(strstr(text, "+0x") != NULL || strstr(text, " from 0x") != NULL); /* static */
#endif
    xev_loop_deinit(&loop);
    close(pair[0].fd);
    close(pair[1].fd);
}

static uint64_t bytes_after_repeats(bool without_memory_at_first) {
    enum { N = 1000 };
    static struct op ops[N];
    struct arena arena = {.limit = UINT64_MAX};
    xev_loop_options options = {.allocator = {arena_allocate, arena_release, &arena}};
    xev_loop loop;
    loop_start_options(&loop, &options);
    arena.limit = without_memory_at_first ? arena.calls : UINT64_MAX;
    for (int i = 0; i < N; i++) {
        ops[i] = (struct op){.rearm = 1};
        xev_timer_run(NULL, &loop, &ops[i].c, 0, &ops[i], op_cb);
    }
    arena.limit = UINT64_MAX;
    run_done(&loop);
    uint64_t bytes = arena.bytes;
    xev_loop_deinit(&loop);
    return bytes;
}

TEST(what_had_no_room_in_the_table_of_starts_takes_one_place_when_it_is_repeated) {
    CHECK_EQ(bytes_after_repeats(true), bytes_after_repeats(false));
}

static xev_cb_action ended(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    ((struct freq *)userdata)->calls++;
    CHECK_EQ(result, XEV_EINVAL);
    return XEV_DISARM;
}

/* A request that is refused, in memory that held something else. */
TEST(walk_tells_no_descriptor_of_what_has_none) {
    xev_loop loop;
    loop_start(&loop);
    xev_dns_req req;
    xev_addr addr;
    struct freq f = {0};
    memset(&req, 0x5a, sizeof req);
    xev_dns_resolve(&loop, &req, "", NULL, XEV_AF_UNSPEC, &addr, 1, &f, ended);
    CHECK_EQ(find(&loop, &req.c).fd, XEV_INVALID_FD);
    run_done(&loop);
    CHECK_EQ(f.calls, 1);
    xev_loop_deinit(&loop);
}

TEST(as_many_are_printed_as_are_said_to_be_active) {
    struct scene s;
    scene_start(&s);
    struct hold h;
    hold_lane(&s, &h, XEV_LANE_FS);
    struct freq f = {0};
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char text[4096] = "";
    xev_file_close(fd, &s.loop, &f.r, &f, freq_cb);
    run_no_wait(&s.loop); /* it is on the pool now, by a completion of the loop's own */
    CHECK_EQ(xev_loop_active(&s.loop), 2);
    FILE *to = fmemopen(text, sizeof text, "w");
    CHECK(to != NULL);
    xev_loop_print_active(&s.loop, to);
    fclose(to);
    CHECK(strstr(text, ": 2 active, 2 of them keep it going\n") != NULL);
    let_go(&s, &h);
    CHECK_EQ(wait_for(&s, &f), 0);
    scene_end(&s);
}

static void walk_null(void) { xev_loop_walk(NULL, NULL, see); }
static void print_null(void) { xev_loop_print_active(NULL, stderr); }

TEST(walk_of_nothing_is_caught) {
    check_dies(walk_null, "xev_loop_walk");
    check_dies(print_null, "xev_loop_print_active");
}
