/* Cancel and deadline, of every operation in every situation. The target's terminal callback always
 * runs before the cancel's. The cancel reports 0 where it has stopped the target, and XEV_ENOENT
 * where there was nothing to stop. The tests of timers, async watchers and work have more cases.
 * long-file: a line per situation, and there are many. */
#include "tests/loop_scene.h"

static xev_loop loop;
static xev_tcp pair[2];
static char bytes[64];

static void start(void) {
    loop_start(&loop);
    socket_pair(pair);
}

static void end(void) {
    CHECK_EQ(xev_loop_active(&loop), 0);
    xev_loop_deinit(&loop);
    CHECK_EQ(xev_tcp_close_now(pair[0]), 0);
    CHECK_EQ(xev_tcp_close_now(pair[1]), 0);
}

static void recv_into(struct op *o, char *at) {
    xev_tcp_recv(pair[0], &loop, &o->c, at, 1, o, op_cb);
}

static void cancel(struct op *target, struct op *by) {
    xev_cancel(&loop, &target->c, &by->c, by, op_cb);
}

static void check_stopped(const struct op *target, const struct op *by) {
    CHECK_EQ(target->terminal, 1);
    CHECK_EQ(target->result, XEV_ECANCELED);
    CHECK_EQ(by->calls, 1);
    CHECK_EQ(by->result, 0);
    CHECK_LT(target->order, by->order);
}

static void turns(int n) {
    for (int i = 0; i < n; i++) {
        run_no_wait(&loop);
    }
}

/* What the other end still holds for pair[0]. */
static int unread(void) { return xev_tcp_unread_bytes(pair[0]); }

/* --- where the target is --- */

/* n turns after submission: not yet handed to the kernel, or waiting there. */
TEST(cancel_of_an_operation_in_flight) {
    for (int n = 0; n < 3; n++) {
        start();
        struct op target = {.rearm = 1}, by = {0};
        recv_into(&target, bytes);
        turns(n);
        cancel(&target, &by);
        CHECK_EQ(target.calls, 0);
        run_done(&loop);
        check_stopped(&target, &by);
        CHECK_EQ(target.calls, 1); /* REARM did not repeat it */
        put_bytes(pair[1], "k", 1);
        turns(2);
        CHECK_EQ(unread(), 1); /* nobody reads any more */
        end();
    }
}

TEST(cancel_of_a_queued_operation) {
    for (int victim = 0; victim < 4; victim++) {
        start();
        struct op recvs[4] = {0}, by = {0};
        for (int i = 0; i < 4; i++) {
            recv_into(&recvs[i], &bytes[i]);
        }
        turns(victim % 2);
        cancel(&recvs[victim], &by);
        run_for(&loop, &by, 1);
        check_stopped(&recvs[victim], &by);
        put_bytes(pair[1], "abc", 3);
        run_done(&loop);
        /* The others are in order, unharmed. */
        for (int i = 0, got = 0; i < 4; i++) {
            if (i != victim) {
                CHECK_EQ(recvs[i].calls, 1);
                CHECK_EQ(recvs[i].result, 1);
                CHECK_EQ(bytes[i], "abc"[got++]);
            }
        }
        end();
    }
}

TEST(cancel_of_all_of_a_queue) {
    for (int backwards = 0; backwards < 2; backwards++) {
        start();
        struct op recvs[5] = {0}, by[5] = {0};
        for (int i = 0; i < 5; i++) {
            recv_into(&recvs[i], &bytes[i]);
        }
        turns(1);
        for (int i = 0; i < 5; i++) {
            int k = backwards ? 4 - i : i;
            cancel(&recvs[k], &by[k]);
        }
        run_done(&loop);
        for (int i = 0; i < 5; i++) {
            check_stopped(&recvs[i], &by[i]);
        }
        end();
    }
}

/* The data is there, and maybe the kernel's event: either it is told, or it stays unread. */
TEST(cancel_of_an_operation_that_can_finish_loses_no_data) {
    for (int n = 0; n < 3; n++) {
        start();
        struct op target = {0}, by = {0};
        if (n > 0) {
            recv_into(&target, bytes);
            turns(1);
        }
        put_bytes(pair[1], "d", 1);
        if (n == 0) {
            recv_into(&target, bytes);
        }
        if (n == 2) {
            sleep_ms(1);
        }
        cancel(&target, &by);
        run_done(&loop);
        CHECK_EQ(target.calls, 1);
        CHECK_LT(target.order, by.order);
        if (target.result == XEV_ECANCELED) {
            CHECK_EQ(by.result, 0);
            CHECK_EQ(unread(), 1);
        } else {
            CHECK_EQ(target.result, 1);
            CHECK_EQ(bytes[0], 'd');
            CHECK_EQ(by.result, XEV_ENOENT);
            CHECK_EQ(unread(), 0);
        }
        end();
    }
}

struct canceller {
    struct op timer, *target, by;
};

static xev_cb_action cancel_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct canceller *k = userdata;
    (void)op_cb(l, c, result, &k->timer);
    xev_cancel(l, &k->target->c, &k->by.c, &k->by, op_cb);
    return XEV_DISARM;
}

/* Its result is known and its callback about to run: from a callback of the same turn. */
TEST(cancel_of_an_operation_whose_result_is_pending) {
    start();
    struct op target = {0}, bad = {0};
    struct canceller k = {.target = &bad};
    /* Two that are pending at once: the first's callback cancels the second. */
    xev_cancel(&loop, &target.c, &k.timer.c, &k, cancel_cb);
    xev_tcp_recv(xev_tcp_from_fd(XEV_INVALID_FD), &loop, &bad.c, bytes, 1, &bad, op_cb);
    run_done(&loop);
    CHECK_EQ(bad.calls, 1);
    CHECK_EQ(bad.result, XEV_EBADF);
    CHECK_EQ(k.by.result, XEV_ENOENT);
    CHECK_LT(bad.order, k.by.order);
    end();
}

TEST(cancel_of_one_never_started) {
    start();
    struct op zeroed = {0}, garbage = {0}, by[2] = {0};
    memset(&garbage.c, 0x5a, sizeof garbage.c);
    cancel(&zeroed, &by[0]);
    cancel(&garbage, &by[1]);
    CHECK_EQ(by[0].calls, 0);
    run_done(&loop);
    CHECK_EQ(by[0].result, XEV_ENOENT);
    CHECK_EQ(by[1].result, XEV_ENOENT);
    CHECK_EQ(zeroed.calls, 0);
    end();
}

TEST(cancel_of_one_that_finished) {
    start();
    struct op target = {0}, by = {0};
    put_bytes(pair[1], "f", 1);
    recv_into(&target, bytes);
    run_done(&loop);
    cancel(&target, &by);
    run_done(&loop);
    CHECK_EQ(target.calls, 1);
    CHECK_EQ(target.result, 1);
    CHECK_EQ(by.result, XEV_ENOENT);
    end();
}

TEST(cancel_twice_and_thrice) {
    for (int n = 0; n < 2; n++) {
        start();
        struct op target = {0}, by[3] = {0};
        recv_into(&target, bytes);
        turns(n);
        for (int i = 0; i < 3; i++) {
            cancel(&target, &by[i]);
        }
        run_done(&loop);
        check_stopped(&target, &by[0]);
        for (int i = 1; i < 3; i++) {
            CHECK_EQ(by[i].result, XEV_ENOENT);
            CHECK_LT(by[i - 1].order, by[i].order);
        }
        end();
    }
}

/* With a walk over those before it for each this would not end in the time that a test has. */
TEST(cancel_by_many_is_not_quadratic_and_reports_in_order) {
    uint32_t n = rounds(200000);
    struct op target = {0}, *by = calloc(n, sizeof *by);
    CHECK(by != NULL);
    start();
    recv_into(&target, bytes);
    turns(1);
    for (uint32_t i = 0; i < n; i++) {
        cancel(&target, &by[i]);
    }
    run_done(&loop);
    check_stopped(&target, &by[0]);
    for (uint32_t i = 1; i < n; i++) {
        CHECK_EQ(by[i].result, XEV_ENOENT);
        CHECK_LT(by[i - 1].order, by[i].order);
    }
    end();
    free(by);
}

TEST(cancel_of_a_cancel) {
    start();
    struct op target = {0}, by = {0}, by_by = {0}, by_by_by = {0};
    recv_into(&target, bytes);
    turns(1);
    cancel(&target, &by);
    cancel(&by, &by_by);
    cancel(&by_by, &by_by_by);
    run_done(&loop);
    check_stopped(&target, &by);
    CHECK_EQ(by_by.result, XEV_ENOENT);
    CHECK_EQ(by_by_by.result, XEV_ENOENT);
    CHECK_LT(by.order, by_by.order);
    CHECK_LT(by_by.order, by_by_by.order);
    end();
}

TEST(cancel_of_a_close) {
    start();
    struct op recv = {0}, closing = {0}, by = {0};
    recv_into(&recv, bytes);
    turns(1);
    xev_tcp_close(pair[0], &loop, &closing.c, &closing, op_cb);
    cancel(&closing, &by);
    run_done(&loop);
    CHECK_EQ(recv.result, XEV_ECANCELED);
    CHECK_EQ(closing.result, 0);
    CHECK_EQ(by.result, XEV_ENOENT);
    CHECK_LT(recv.order, closing.order);
    CHECK_LT(closing.order, by.order);
    CHECK_EQ(dup2(pair[1].fd, pair[0].fd), pair[0].fd);
    end();
}

TEST(cancel_of_what_a_close_is_stopping) {
    start();
    struct op recv[2] = {0}, closing = {0}, by[2] = {0};
    recv_into(&recv[0], bytes);
    recv_into(&recv[1], bytes);
    turns(1);
    xev_tcp_close(pair[0], &loop, &closing.c, &closing, op_cb);
    cancel(&recv[0], &by[0]);
    cancel(&recv[1], &by[1]);
    run_done(&loop);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(recv[i].result, XEV_ECANCELED);
        CHECK_EQ(by[i].result, XEV_ENOENT);
        CHECK_LT(recv[i].order, by[i].order);
        CHECK_LT(recv[i].order, closing.order);
    }
    CHECK_EQ(closing.result, 0);
    CHECK_EQ(dup2(pair[1].fd, pair[0].fd), pair[0].fd);
    end();
}

/* "Whatever operation target is at this moment." */
TEST(cancel_of_a_completion_that_was_used_again) {
    start();
    struct op target = {0}, by = {0};
    put_bytes(pair[1], "1", 1);
    recv_into(&target, bytes);
    run_done(&loop);
    CHECK_EQ(target.result, 1);
    xev_timer_run(NULL, &loop, &target.c, HOUR_MS, &target, op_cb);
    cancel(&target, &by);
    run_done(&loop);
    CHECK_EQ(target.calls, 2);
    CHECK_EQ(target.result, XEV_ECANCELED);
    CHECK_EQ(by.result, 0);
    CHECK_LT(target.order, by.order);
    end();
}

struct again {
    struct op target, by;
};

static xev_cb_action again_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct again *a = userdata;
    (void)op_cb(l, c, result, &a->target);
    if (a->target.calls == 1) {
        xev_tcp_recv(pair[0], l, c, bytes, 1, a, again_cb);
    }
    return XEV_DISARM;
}

/* The cancelled one's callback submits it anew: that is another operation, which the cancel does
 * not touch, though the kernel's answer to it may come later. */
TEST(cancel_does_not_touch_what_its_targets_callback_submits) {
    for (int n = 0; n < 3; n++) {
        start();
        struct again a = {0};
        xev_tcp_recv(pair[0], &loop, &a.target.c, bytes, 1, &a, again_cb);
        turns(n);
        xev_cancel(&loop, &a.target.c, &a.by.c, &a.by, op_cb);
        run_for(&loop, &a.by, 1);
        CHECK_EQ(a.target.calls, 1);
        CHECK_EQ(a.target.result, XEV_ECANCELED);
        CHECK_EQ(a.by.result, 0);
        turns(3);
        CHECK_EQ(a.target.calls, 1);
        CHECK(is_active(&a.target));
        put_bytes(pair[1], "n", 1);
        run_done(&loop);
        CHECK_EQ(a.target.calls, 2);
        CHECK_EQ(a.target.result, 1);
        end();
    }
}

static xev_cb_action free_target_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    (void)l;
    CHECK_EQ(result, XEV_ECANCELED);
    ++*(uint32_t *)userdata;
    memset(c, 0xa5, sizeof *c);
    free(c);
    return XEV_DISARM;
}

TEST(cancelled_target_may_be_freed_before_the_cancel_reports) {
    for (int n = 0; n < 2; n++) {
        start();
        uint32_t freed = 0;
        xev_completion *target = malloc(sizeof *target);
        xev_completion *queued = malloc(sizeof *queued);
        struct op by[2] = {0};
        xev_tcp_recv(pair[0], &loop, target, bytes, 1, &freed, free_target_cb);
        xev_tcp_recv(pair[0], &loop, queued, bytes, 1, &freed, free_target_cb);
        turns(n);
        xev_cancel(&loop, target, &by[0].c, &by[0], op_cb);
        xev_cancel(&loop, queued, &by[1].c, &by[1], op_cb);
        run_done(&loop);
        CHECK_EQ(freed, 2);
        CHECK_EQ(by[0].result, 0);
        CHECK_EQ(by[1].result, 0);
        end();
    }
}

static xev_cb_action chain_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct canceller *k = userdata;
    (void)op_cb(l, c, result, &k->timer);
    /* The cancel itself is dead: used for another cancel. */
    if (k->target != NULL) {
        struct op *target = k->target;
        k->target = NULL;
        xev_cancel(l, &target->c, c, k, chain_cb);
    }
    return XEV_DISARM;
}

TEST(cancel_may_be_used_again_in_its_own_callback) {
    start();
    struct op a = {0}, b = {0};
    struct canceller k = {.target = &b};
    recv_into(&a, bytes);
    recv_into(&b, bytes);
    xev_cancel(&loop, &a.c, &k.timer.c, &k, chain_cb);
    run_done(&loop);
    CHECK_EQ(a.result, XEV_ECANCELED);
    CHECK_EQ(b.result, XEV_ECANCELED);
    CHECK_EQ(k.timer.calls, 2);
    CHECK_EQ(k.timer.result, 0);
    end();
}

/* --- what the target is --- */

static void stuff(xev_tcp tcp) {
    static const char block[4096];
    while (send(tcp.fd, block, sizeof block, MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
    }
    while (send(tcp.fd, block, 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
    }
}

static xev_tcp listening, connecting, fill[8];
static xev_addr address;

static void full_listener(void) {
    listening = listener(&address, 1);
    for (size_t i = 0; i < sizeof fill / sizeof fill[0]; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        CHECK_GE(fd, 0);
        fill[i] = xev_tcp_from_fd(fd);
        (void)connect(fd, (const struct sockaddr *)(const void *)address.storage,
                      address.len_bytes);
    }
    wait_connections(listening, 2);
    CHECK_EQ(xev_tcp_init(&connecting, XEV_AF_INET), 0);
}

enum kind { RECV, LOAN, MULTI, SEND, ACCEPT, ACCEPTS, CONNECT, WAIT, WRITE_SHUTDOWN, KINDS };

static xev_watcher watcher;

/* An operation of each kind that cannot finish. */
static void submit(enum kind kind, struct op *o) {
    switch (kind) {
    case RECV:
        recv_into(o, bytes);
        break;
    case LOAN:
        xev_tcp_recv_loan(pair[0], &loop, &o->c, o, op_cb);
        break;
    case MULTI:
        xev_tcp_recv_multi(pair[0], &loop, &o->c, o, op_cb);
        break;
    case SEND:
        stuff(pair[0]);
        xev_tcp_send(pair[0], &loop, &o->c, "s", 1, o, op_cb);
        break;
    case ACCEPT:
        listening = listener(&address, 8);
        xev_tcp_accept(listening, &loop, &o->c, o, op_cb);
        break;
    case ACCEPTS:
        listening = listener(&address, 8);
        xev_tcp_accept_multi(listening, &loop, &o->c, o, op_cb);
        break;
    case CONNECT:
        full_listener();
        xev_tcp_connect(connecting, &loop, &o->c, &address, o, op_cb);
        break;
    case WAIT:
        CHECK_EQ(xev_async_init(&watcher), 0);
        xev_async_wait(&watcher, &loop, &o->c, o, op_cb);
        break;
    default:
        CHECK(kind == WRITE_SHUTDOWN);
        stuff(pair[0]);
        static struct op head;
        head = (struct op){0};
        xev_tcp_send(pair[0], &loop, &head.c, "s", 1, &head, op_cb);
        xev_completion_unref(&head.c);
        xev_tcp_shutdown(pair[0], &loop, &o->c, o, op_cb);
    }
}

TEST(cancel_of_each_kind_of_operation) {
    for (int kind = 0; kind < KINDS; kind++) {
        for (int n = 0; n < 3; n++) {
            start();
            struct op target = {0}, by = {0};
            submit((enum kind)kind, &target);
            turns(n);
            CHECK_EQ(target.calls, 0);
            cancel(&target, &by);
            run_done(&loop);
            check_stopped(&target, &by);
            xev_loop_deinit(&loop);
        }
    }
}

TEST(deadline_of_each_kind_of_operation) {
    for (int kind = 0; kind < KINDS; kind++) {
        start();
        struct op target = {0};
        submit((enum kind)kind, &target);
        uint64_t begin = clock_ns();
        xev_completion_set_timeout(&loop, &target.c, 3);
        CHECK_EQ(target.calls, 0);
        run_done(&loop);
        CHECK_GE(clock_ns() - begin, 3 * MS_NS);
        CHECK_EQ(target.calls, 1);
        CHECK_EQ(target.result, XEV_ETIMEDOUT);
        turns(5);
        CHECK_EQ(target.calls, 1);
        xev_loop_deinit(&loop);
    }
}

/* --- deadlines --- */

TEST(deadline_that_does_not_pass_changes_nothing) {
    start();
    struct op target = {0};
    recv_into(&target, bytes);
    xev_completion_set_timeout(&loop, &target.c, 3600 * 1000);
    turns(2);
    put_bytes(pair[1], "r", 1);
    run_done(&loop); /* does not wait for the deadline */
    CHECK_EQ(target.calls, 1);
    CHECK_EQ(target.result, 1);
    end();
}

struct late {
    struct op op;
    uint64_t begin;
};

static xev_cb_action late_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct late *late = userdata;
    CHECK_EQ(result, XEV_ETIMEDOUT);
    CHECK_GE(clock_ns() - late->begin, 1000 * MS_NS);
    return op_cb(l, c, result, &late->op);
}

/* Armed at all moments of a clock tick. */
TEST(deadline_of_a_second_is_not_early) {
    enum { N = 40 };
    static struct late late[N];
    start();
    for (int i = 0; i < N; i++) {
        xev_tcp_recv(pair[0], &loop, &late[i].op.c, &bytes[i], 1, &late[i], late_cb);
        late[i].begin = clock_ns();
        xev_completion_set_timeout(&loop, &late[i].op.c, 1000);
        while (clock_ns() - late[i].begin < 300 * 1000) {
        }
    }
    run_done(&loop);
    end();
}

TEST(deadline_is_replaced_by_a_later_call) {
    start();
    struct op longer = {0}, shorter = {0}, timer = {0};
    recv_into(&longer, bytes);
    recv_into(&shorter, bytes);
    uint64_t begin = clock_ns();
    xev_completion_set_timeout(&loop, &longer.c, 1);
    xev_completion_set_timeout(&loop, &longer.c, 30);
    xev_completion_set_timeout(&loop, &shorter.c, 3600 * 1000);
    xev_completion_set_timeout(&loop, &shorter.c, 1);
    xev_timer_run(NULL, &loop, &timer.c, 5, &timer, op_cb);
    run_for(&loop, &shorter, 1);
    CHECK_EQ(shorter.result, XEV_ETIMEDOUT);
    run_done(&loop);
    CHECK_EQ(timer.calls, 1);
    CHECK_EQ(longer.result, XEV_ETIMEDOUT);
    CHECK_GE(clock_ns() - begin, 30 * MS_NS);
    CHECK_LT(shorter.order, longer.order);
    end();
}

TEST(deadline_is_taken_away_by_0) {
    start();
    struct op target = {0}, timer = {0};
    recv_into(&target, bytes);
    xev_completion_set_timeout(&loop, &target.c, 0); /* there is none: nothing to take */
    xev_completion_set_timeout(&loop, &target.c, 1);
    xev_completion_set_timeout(&loop, &target.c, 0);
    xev_timer_run(NULL, &loop, &timer.c, 10, &timer, op_cb);
    run_for(&loop, &timer, 1);
    CHECK_EQ(target.calls, 0);
    put_bytes(pair[1], "r", 1);
    run_done(&loop);
    CHECK_EQ(target.result, 1);
    end();
}

TEST(deadline_of_a_far_future_does_not_pass) {
    start();
    struct op target[3] = {0}, timer = {0};
    static const uint64_t far[] = {UINT64_MAX, (uint64_t)1 << 63, UINT64_MAX / 2 - 1};
    for (int i = 0; i < 3; i++) {
        recv_into(&target[i], &bytes[i]);
        xev_completion_set_timeout_ns(&loop, &target[i].c, far[i]);
    }
    xev_timer_run(NULL, &loop, &timer.c, 5, &timer, op_cb);
    run_for(&loop, &timer, 1);
    put_bytes(pair[1], "rrr", 3);
    run_done(&loop);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(target[i].result, 1);
    }
    end();
}

/* The loop comes too late for the deadline, but the data was there in time. */
TEST(result_that_had_arrived_beats_the_deadline) {
    for (int n = 0; n < 2; n++) {
        start();
        struct op target = {0};
        recv_into(&target, bytes);
        turns(n);
        put_bytes(pair[1], "w", 1);
        xev_completion_set_timeout(&loop, &target.c, 1);
        sleep_ms(5);
        run_done(&loop);
        CHECK_EQ(target.calls, 1);
        CHECK_EQ(target.result, 1);
        CHECK_EQ(bytes[0], 'w');
        end();
    }
}

/* The two race: one or the other, never both, and no byte is lost. */
TEST(result_and_deadline_at_the_same_moment_give_one_callback) {
    start();
    uint32_t received = 0, timed_out = 0;
    for (uint32_t i = 0; i < rounds(2000); i++) {
        struct op target = {0};
        char byte = 0;
        xev_tcp_recv(pair[0], &loop, &target.c, &byte, 1, &target, op_cb);
        xev_completion_set_timeout_ns(&loop, &target.c, (i % 50) * 2000 + 1);
        if (i % 3 == 0) {
            run_no_wait(&loop);
        }
        put_bytes(pair[1], "m", 1);
        run_done(&loop);
        CHECK_EQ(target.calls, 1);
        if (target.result == 1) {
            received++;
            CHECK_EQ(byte, 'm');
            CHECK_EQ(unread(), 0);
        } else {
            timed_out++;
            CHECK_EQ(target.result, XEV_ETIMEDOUT);
            CHECK_EQ(unread(), 1);
            CHECK_EQ(recv(pair[0].fd, &byte, 1, 0), 1);
        }
    }
    CHECK_EQ(received + timed_out, rounds(2000));
    end();
}

TEST(deadline_of_a_queued_operation) {
    start();
    struct op first = {0}, second = {0}, third = {0};
    recv_into(&first, &bytes[0]);
    recv_into(&second, &bytes[1]);
    recv_into(&third, &bytes[2]);
    xev_completion_set_timeout(&loop, &second.c, 1);
    run_for(&loop, &second, 1);
    CHECK_EQ(second.result, XEV_ETIMEDOUT);
    CHECK_EQ(first.calls + third.calls, 0);
    put_bytes(pair[1], "13", 2);
    run_done(&loop);
    CHECK_EQ(bytes[0], '1');
    CHECK_EQ(bytes[2], '3');
    end();
}

TEST(deadline_of_the_head_of_a_queue_lets_the_next_go_on) {
    start();
    struct op first = {0}, second = {0};
    recv_into(&first, &bytes[0]);
    recv_into(&second, &bytes[1]);
    xev_completion_set_timeout(&loop, &first.c, 1);
    run_for(&loop, &first, 1);
    CHECK_EQ(first.result, XEV_ETIMEDOUT);
    put_bytes(pair[1], "2", 1);
    run_done(&loop);
    CHECK_EQ(second.result, 1);
    CHECK_EQ(bytes[1], '2');
    end();
}

TEST(multishot_keeps_its_deadline_until_it_ends) {
    start();
    struct op target = {0};
    uint64_t begin = clock_ns();
    xev_tcp_recv_multi(pair[0], &loop, &target.c, &target, op_cb);
    xev_completion_set_timeout(&loop, &target.c, 30);
    put_bytes(pair[1], "1", 1);
    run_once(&loop); /* may take long, then the deadline passes in it, but not before the data */
    if (is_active(&target)) {
        CHECK_EQ(target.calls, 1);
        CHECK_EQ(target.result, 1);
        put_bytes(pair[1], "2", 1);
        run_once(&loop);
    }
    run_done(&loop);
    CHECK_GE(target.calls, 2);
    CHECK_EQ(target.terminal, 1);
    CHECK_EQ(target.result, XEV_ETIMEDOUT);
    CHECK_GE(clock_ns() - begin, 30 * MS_NS);
    end();
}

TEST(rearm_starts_without_a_deadline) {
    start();
    struct op target = {.rearm = 1}, timer = {0};
    recv_into(&target, bytes);
    xev_completion_set_timeout(&loop, &target.c, 20);
    put_bytes(pair[1], "1", 1);
    run_for(&loop, &target, 1);
    CHECK_EQ(target.result, 1);
    xev_timer_run(NULL, &loop, &timer.c, 40, &timer, op_cb);
    run_for(&loop, &timer, 1);
    CHECK_EQ(target.calls, 1);
    CHECK(is_active(&target));
    put_bytes(pair[1], "2", 1);
    run_done(&loop);
    CHECK_EQ(target.calls, 2);
    CHECK_EQ(target.result, 1);
    end();
}

TEST(cancel_and_deadline_give_one_terminal_callback) {
    /* The cancel comes first, or the deadline has passed unnoticed. */
    for (int late = 0; late < 2; late++) {
        start();
        struct op target = {0}, by = {0};
        recv_into(&target, bytes);
        turns(1);
        xev_completion_set_timeout(&loop, &target.c, 1);
        if (late) {
            sleep_ms(3);
        }
        cancel(&target, &by);
        sleep_ms(3);
        run_done(&loop);
        check_stopped(&target, &by);
        CHECK_EQ(target.calls, 1);
        end();
    }
}

TEST(cancel_after_the_deadline_has_stopped_it_finds_nothing) {
    start();
    struct op target = {0}, by = {0};
    struct canceller k = {.target = &target};
    recv_into(&target, bytes);
    xev_completion_set_timeout(&loop, &target.c, 1);
    xev_timer_run(NULL, &loop, &k.timer.c, 1, &k, cancel_cb); /* due just after it */
    sleep_ms(5);
    run_done(&loop);
    CHECK_EQ(target.calls, 1);
    CHECK_EQ(target.result, XEV_ETIMEDOUT);
    CHECK_EQ(k.by.result, XEV_ENOENT);
    CHECK_LT(target.order, k.by.order);
    (void)by;
    end();
}

TEST(deadline_does_not_keep_an_unreferenced_operation_going) {
    start();
    struct op target = {0};
    recv_into(&target, bytes);
    xev_completion_set_timeout(&loop, &target.c, 3600 * 1000);
    xev_completion_unref(&target.c);
    run_done(&loop);
    CHECK_EQ(target.calls, 0);
    xev_loop_deinit(&loop);
    CHECK_EQ(target.result, XEV_ECANCELED);
}

/* --- everything at random --- */

TEST_TIMEOUT(random_cancels_and_deadlines_keep_the_contract, 60) {
    enum { N = 24 };
    static struct op o[N], by[N];
    static char in[N];
    uint64_t seed = clock_ns() | 1;
    printf("seed %llu\n", (unsigned long long)seed);
    start();
    uint64_t sent = 0, received = 0, submitted = 0, ended = 0;
    uint32_t n = rounds(100000);
    for (uint32_t i = 0; i < n; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        uint32_t k = (uint32_t)(seed >> 40) % N;
        switch ((seed >> 16) % 8) {
        case 0:
        case 1:
        case 2:
            if (!is_active(&o[k]) && !is_active(&by[k])) {
                o[k] = (struct op){0};
                xev_tcp_recv(pair[0], &loop, &o[k].c, &in[k], 1, &o[k], op_cb);
                submitted++;
            }
            break;
        case 3:
            if (!is_active(&by[k])) {
                by[k] = (struct op){0};
                cancel(&o[k], &by[k]);
            }
            break;
        case 4:
            if (is_active(&o[k])) {
                xev_completion_set_timeout_ns(&loop, &o[k].c, (seed >> 24) % 100000);
            }
            break;
        case 5:
            if (sent - received < 100) {
                put_bytes(pair[1], "r", 1);
                sent++;
            }
            break;
        default:
            run_no_wait(&loop);
        }
        for (int j = 0; j < N; j++) {
            if (o[j].calls == 1) {
                ended++;
                received += o[j].result == 1;
                CHECK(o[j].result == 1 || o[j].result == XEV_ECANCELED ||
                      o[j].result == XEV_ETIMEDOUT);
                o[j].calls = 0;
            }
            CHECK_EQ(o[j].calls, 0);
        }
    }
    while (xev_loop_active(&loop) > 0) {
        for (int j = 0; j < N; j++) {
            if (is_active(&o[j]) && !is_active(&by[j])) {
                cancel(&o[j], &by[j]);
            }
        }
        run_once(&loop);
        for (int j = 0; j < N; j++) {
            ended += o[j].calls;
            received += o[j].calls == 1 && o[j].result == 1;
            o[j].calls = 0;
        }
    }
    CHECK_EQ(ended, submitted);
    CHECK_EQ(unread(), sent - received);
    end();
}
