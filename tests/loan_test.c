/* Loaned receive buffers and multishot receive. */
#include "tests/net_scene.h"

static const xev_loop_options tiny_pool = {.buffers = 4, .buffers_max = 4, .buffer_bytes = 1024};
static const xev_loop_options one_buffer = {.buffers = 1, .buffers_max = 1, .buffer_bytes = 1024};

static void recv_multi(struct op *op, struct net *n, int fd) {
    op_new(op, n);
    xev_tcp_recv_multi(xev_tcp_from_fd(fd), &n->loop, &op->c, op, op_called);
}

static void recv_loan(struct op *op, struct net *n, int fd) {
    op_new(op, n);
    xev_tcp_recv_loan(xev_tcp_from_fd(fd), &n->loop, &op->c, op, op_called);
}

/* What one receiver got, in user. */
struct sink {
    char data[1 << 16];
    xev_buf taken[64];
    int taken_count;
    bool take;
};

static xev_cb_action collect(struct op *op, int result) {
    struct sink *sink = op->user;
    if (result > 0) {
        const char *data = xev_buf_data(&op->net->loop);
        memcpy(sink->data + op->sum, data, (size_t)result);
        op->sum += result;
        if (sink->take) {
            xev_buf buf = xev_buf_take(&op->net->loop);
            CHECK(buf.data == data);
            CHECK_EQ(buf.len_bytes, result);
            sink->taken[sink->taken_count++] = buf;
        }
    }
    return xev_completion_more(&op->c) ? XEV_REARM : XEV_DISARM;
}

static struct sink *sink_new(struct op *op, bool take) {
    struct sink *sink = calloc(1, sizeof *sink);
    CHECK(sink != NULL);
    sink->take = take;
    op->user = sink;
    op->then = collect;
    return sink;
}

static void run_until_sum(struct op *op, int64_t sum) {
    while (op->sum < sum) {
        CHECK_EQ(op->ends, 0);
        CHECK_EQ(xev_loop_run(&op->net->loop, XEV_RUN_ONCE), 0);
    }
}

TEST(recv_loan_lends_the_data_once) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    recv_loan(&op, &n, fd[0]);
    struct sink *sink = sink_new(&op, false);
    settle(&n);
    plain_send(fd[1], "loan", 4);
    run_op(&op);
    CHECK_EQ(op.result, 4);
    CHECK_EQ(op.calls, 1);
    CHECK_MEM_EQ(sink->data, "loan", 4);
    free(sink);
    CHECK_EQ(close(fd[1]), 0);
    recv_loan(&op, &n, fd[0]);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EOF);
    close_fd(&n, fd[0]);
    net_close(&n);
}

TEST(recv_multi_goes_on_until_the_end_of_the_stream) {
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        struct net n;
        struct op op;
        int fd[2];
        net_open(&n, &tiny_pool);
        tcp_pair(fd);
        if (nonblocking) {
            CHECK_EQ(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
        }
        recv_multi(&op, &n, fd[0]);
        struct sink *sink = sink_new(&op, false);
        settle(&n);
        CHECK_EQ(op.calls, 0);
        for (int i = 0; i < 20; i++) {
            char text[16];
            snprintf(text, sizeof text, "msg%03d.", i);
            plain_send(fd[1], text, 7);
            run_until_sum(&op, 7 * (i + 1));
            CHECK_MEM_EQ(sink->data + 7 * i, text, 7);
        }
        /* More at once than there are buffers for. */
        static char big[32768];
        memset(big, 'b', sizeof big);
        plain_send(fd[1], big, sizeof big);
        run_until_sum(&op, 140 + (int64_t)sizeof big);
        CHECK_MEM_EQ(sink->data + 140, big, sizeof big);
        CHECK_EQ(shutdown(fd[1], SHUT_WR), 0);
        run_op(&op);
        CHECK_EQ(op.result, XEV_EOF);
        free(sink);
        close_fd(&n, fd[0]);
        CHECK_EQ(close(fd[1]), 0);
        net_close(&n);
    }
}

/* All that there is comes with one edge, and a receive ends within it. */
static void check_all_arrives(int fd[2], void (*special)(int fd), int64_t bytes) {
    struct net n;
    struct op op;
    net_open(&n, NULL);
    recv_multi(&op, &n, fd[0]);
    struct sink *sink = sink_new(&op, false);
    settle(&n);
    plain_send(fd[1], "abc", 3);
    special(fd[1]);
    plain_send(fd[1], "efg", 3);
    run_until_sum(&op, bytes);
    CHECK_EQ(op.sum, bytes);
    CHECK_MEM_EQ(sink->data, "abc", 3);
    CHECK_MEM_EQ(sink->data + bytes - 3, "efg", 3);
    free(sink);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    n.fds_before -= 2; /* the pair */
    net_close(&n);
}

static void send_urgent(int fd) { CHECK_EQ(send(fd, "d", 1, MSG_OOB), 1); }

static void send_with_descriptor(int fd) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec byte = {(void *)(uintptr_t) "d", 1};
    struct msghdr msg = {.msg_iov = &byte,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(h), &fd, sizeof fd);
    CHECK_EQ(sendmsg(fd, &msg, MSG_NOSIGNAL), 1);
}

TEST(data_behind_an_urgent_byte_is_received) {
    int fd[2];
    tcp_pair(fd);
    check_all_arrives(fd, send_urgent, 6);
}

TEST(data_behind_a_descriptor_nobody_asked_for_is_received) {
    int fd[2];
    local_pair(fd);
    check_all_arrives(fd, send_with_descriptor, 7);
}

/* However many receives come before it: one of them is the last that a turn tries in a row. */
TEST(the_end_of_one_stream_leaves_others_alone) {
    static const xev_loop_options small = {.buffer_bytes = 64};
    static const char data[33 * 64];
    for (size_t full = 1; full <= 33; full++) {
        struct net n;
        struct op ended, received[2];
        int fd[2], others[2][2];
        char text[2][8];
        net_open(&n, &small);
        local_pair(fd);
        plain_send(fd[1], data, full * 64);
        CHECK_EQ(close(fd[1]), 0);
        recv_multi(&ended, &n, fd[0]);
        run_op(&ended);
        CHECK_EQ(ended.result, XEV_EOF);
        settle(&n);
        for (int i = 0; i < 2; i++) {
            local_pair(others[i]);
            xev_tcp_recv(xev_tcp_from_fd(others[i][0]), &n.loop, &op_new(&received[i], &n)->c,
                         text[i], sizeof text[i], &received[i], op_called);
        }
        settle(&n);
        plain_send(others[0][1], "one", 3);
        plain_send(others[1][1], "three", 5);
        run_op(&received[0]);
        run_op(&received[1]);
        CHECK_EQ(received[0].result, 3);
        CHECK_EQ(received[1].result, 5);
        CHECK_MEM_EQ(text[0], "one", 3);
        CHECK_MEM_EQ(text[1], "three", 5);
        for (int i = 0; i < 2; i++) {
            close_fd(&n, others[i][0]);
            CHECK_EQ(close(others[i][1]), 0);
        }
        CHECK_EQ(close(fd[0]), 0);
        net_close(&n);
    }
}

TEST(recv_multi_reports_a_reset_after_the_data) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    recv_multi(&op, &n, fd[0]);
    struct sink *sink = sink_new(&op, false);
    plain_send(fd[1], "last", 4);
    run_until_sum(&op, 4);
    reset_close(fd[1]);
    run_op(&op);
    CHECK_EQ(op.result, XEV_ECONNRESET);
    free(sink);
    close_fd(&n, fd[0]);
    net_close(&n);
}

static xev_cb_action stop_after_first(struct op *op, int result) {
    (void)collect(op, result);
    return XEV_DISARM;
}

TEST(disarm_while_there_is_more_ends_recv_multi_with_ecanceled) {
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        struct net n;
        struct op op, rest;
        int fd[2];
        static char big[16384];
        net_open(&n, &tiny_pool);
        tcp_pair(fd);
        if (nonblocking) {
            CHECK_EQ(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
        }
        for (size_t i = 0; i < sizeof big; i++) {
            big[i] = (char)(i * 7 + i / 256);
        }
        plain_send(fd[1], big, sizeof big);
        recv_multi(&op, &n, fd[0]);
        struct sink *sink = sink_new(&op, false);
        op.then = stop_after_first;
        run_op(&op);
        CHECK_EQ(op.result, XEV_ECANCELED);
        CHECK_GT(op.sum, 0);
        /* The callback's own, and what the kernel can have had by then: all the buffers there are,
         * or the one of a receive that was begun before the callback. */
        uint32_t features = xev_loop_features(&n.loop), ahead = 0;
        if ((features & XEV_FEATURE_MULTISHOT_RECV) != 0) {
            ahead = tiny_pool.buffers;
        } else if ((features & XEV_FEATURE_BUFFER_RING) != 0) {
            ahead = 1;
        }
        CHECK_LE(op.sum, (1 + ahead) * tiny_pool.buffer_bytes);
        CHECK_EQ(xev_loop_active(&n.loop), 0);
        /* What it did not deliver is still there. */
        recv_multi(&rest, &n, fd[0]);
        rest.user = sink;
        rest.then = collect;
        rest.sum = op.sum;
        run_until_sum(&rest, (int64_t)sizeof big);
        CHECK_MEM_EQ(sink->data, big, sizeof big);
        cancel_op(&rest, 0);
        CHECK_EQ(rest.result, XEV_ECANCELED);
        free(sink);
        close_fd(&n, fd[0]);
        CHECK_EQ(close(fd[1]), 0);
        net_close(&n);
    }
}

TEST(rearm_of_a_single_loan_receives_again) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    for (int i = 0; i < 3; i++) {
        recv_loan(&op, &n, fd[0]);
        struct sink *sink = sink_new(&op, false);
        plain_send(fd[1], "again", 5);
        run_op(&op);
        CHECK_MEM_EQ(sink->data, "again", 5);
        free(sink);
    }
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(taken_buffers_stay_intact_until_released) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, &tiny_pool);
    tcp_pair(fd);
    recv_multi(&op, &n, fd[0]);
    struct sink *sink = sink_new(&op, true);
    char want[3][1024];
    for (int i = 0; i < 3; i++) {
        memset(want[i], 'a' + i, 1000);
        plain_send(fd[1], want[i], 1000);
        run_until_sum(&op, 1000 * (i + 1));
    }
    CHECK_EQ(sink->taken_count, 3);
    sink->take = false;
    for (int i = 0; i < 10; i++) { /* through the one that is left */
        char noise[1000];
        memset(noise, 'z', sizeof noise);
        plain_send(fd[1], noise, sizeof noise);
        run_until_sum(&op, 3000 + 1000 * (i + 1));
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(sink->taken[i].len_bytes, 1000);
        CHECK_MEM_EQ(sink->taken[i].data, want[i], 1000);
        xev_buf_release(&n.loop, sink->taken[i]);
    }
    cancel_op(&op, 0);
    free(sink);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

static void keep_state(const xev_active *active, void *userdata) {
    if (strcmp(active->op, "recv") == 0) {
        snprintf(userdata, 64, "%s", active->state);
    }
}

TEST(a_receive_that_waits_for_a_buffer_says_so) {
    xev_loop_metrics m;
    struct net n;
    struct op op;
    int fd[2];
    char state[64] = "";
    net_open(&n, &one_buffer);
    tcp_pair(fd);
    recv_multi(&op, &n, fd[0]);
    struct sink *sink = sink_new(&op, true);
    xev_loop_metrics_get(&n.loop, &m);
    CHECK_EQ(m.buffers_taken, 0);
    CHECK_EQ(m.starved, 0);
    plain_send(fd[1], "held", 4);
    run_until_sum(&op, 4);
    plain_send(fd[1], "wait", 4);
    wait_readable(fd[0]);
    settle(&n);
    xev_loop_walk(&n.loop, state, keep_state);
    CHECK_STR_EQ(state, "waits for a loaned buffer");
    xev_loop_metrics_get(&n.loop, &m);
    CHECK_EQ(m.buffers_taken, 1);
    CHECK_GE(m.starved, 1);
    CHECK_EQ(m.paused, 0);
    xev_buf_release(&n.loop, sink->taken[0]);
    xev_loop_metrics_get(&n.loop, &m);
    CHECK_EQ(m.buffers_taken, 0);
    sink->take = false;
    run_until_sum(&op, 8);
    cancel_op(&op, 0);
    free(sink);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(receives_wait_without_spinning_while_all_buffers_are_taken) {
    for (int multi = 0; multi < 2; multi++) {
        struct net n;
        struct op holder, waiter;
        int a[2], b[2];
        net_open(&n, &one_buffer);
        tcp_pair(a);
        tcp_pair(b);
        recv_loan(&holder, &n, a[0]);
        struct sink *held = sink_new(&holder, true);
        plain_send(a[1], "held", 4);
        run_op(&holder);
        if (multi) {
            recv_multi(&waiter, &n, b[0]);
        } else {
            recv_loan(&waiter, &n, b[0]);
        }
        struct sink *sink = sink_new(&waiter, false);
        plain_send(b[1], "wait", 4);
        CHECK_LT(run_for(&n, 50), 20);
        CHECK_EQ(waiter.calls, 0);
        CHECK_MEM_EQ(held->taken[0].data, "held", 4);
        xev_buf_release(&n.loop, held->taken[0]);
        run_until_sum(&waiter, 4);
        CHECK_MEM_EQ(sink->data, "wait", 4);
        if (multi) {
            cancel_op(&waiter, 0);
        }
        free(held);
        free(sink);
        for (int i = 0; i < 2; i++) {
            close_fd(&n, a[i]);
            close_fd(&n, b[i]);
        }
        net_close(&n);
    }
}

/* One buffer comes back: it must reach a receiver that has data, whoever stands before it. */
static void buffer_passes_by(bool idle_is_cancelled, bool nonblocking) {
    struct net n;
    struct op holder, idle, waiter, cancel;
    int a[2], b[2], d[2];
    net_open(&n, &one_buffer);
    tcp_pair(a);
    tcp_pair(b);
    tcp_pair(d);
    if (nonblocking) {
        CHECK_EQ(fcntl(b[0], F_SETFL, O_NONBLOCK), 0);
        CHECK_EQ(fcntl(d[0], F_SETFL, O_NONBLOCK), 0);
    }
    recv_loan(&holder, &n, a[0]);
    struct sink *held = sink_new(&holder, true);
    plain_send(a[1], "held", 4);
    run_op(&holder);
    recv_loan(&idle, &n, b[0]); /* no data for this one */
    recv_loan(&waiter, &n, d[0]);
    struct sink *sink = sink_new(&waiter, false);
    if (idle_is_cancelled) {
        plain_send(b[1], "idle", 4);
    }
    plain_send(d[1], "wait", 4);
    settle(&n);
    CHECK_EQ(waiter.calls, 0);
    xev_buf_release(&n.loop, held->taken[0]);
    if (idle_is_cancelled) {
        xev_cancel(&n.loop, &idle.c, &op_new(&cancel, &n)->c, &cancel, op_called);
    }
    run_op(&waiter);
    CHECK_EQ(waiter.result, 4);
    CHECK_MEM_EQ(sink->data, "wait", 4);
    if (idle_is_cancelled) {
        if (cancel.ends == 0) {
            run_op(&cancel);
        }
        CHECK_EQ(idle.ends, 1);
    } else {
        CHECK_EQ(idle.calls, 0);
        cancel_op(&idle, 0);
    }
    free(held);
    free(sink);
    for (int i = 0; i < 2; i++) {
        close_fd(&n, a[i]);
        close_fd(&n, b[i]);
        close_fd(&n, d[i]);
    }
    net_close(&n);
}

TEST(a_released_buffer_passes_by_a_receiver_without_data) {
    buffer_passes_by(false, false);
    buffer_passes_by(false, true);
}

TEST(a_released_buffer_passes_by_a_receiver_that_is_cancelled) {
    buffer_passes_by(true, false);
    buffer_passes_by(true, true);
}

TEST(a_starved_receive_ends_by_cancel_close_deadline_and_teardown) {
    for (int how = 0; how < 4; how++) {
        struct net n;
        struct op holder, waiter;
        int a[2], b[2];
        net_open(&n, &one_buffer);
        tcp_pair(a);
        tcp_pair(b);
        recv_loan(&holder, &n, a[0]);
        struct sink *held = sink_new(&holder, true);
        plain_send(a[1], "held", 4);
        run_op(&holder);
        recv_multi(&waiter, &n, b[0]);
        plain_send(b[1], "wait", 4);
        settle(&n);
        int expected = XEV_ECANCELED;
        if (how == 0) {
            cancel_op(&waiter, 0);
        } else if (how == 1) {
            close_fd(&n, b[0]);
        } else if (how == 2) {
            xev_completion_set_timeout(&n.loop, &waiter.c, 5);
            run_op(&waiter);
            expected = XEV_ETIMEDOUT;
        }
        /* It comes back to nobody, and the next receive has it. */
        xev_buf_release(&n.loop, held->taken[0]);
        if (how < 3) {
            recv_loan(&holder, &n, a[0]);
            plain_send(a[1], "next", 4);
            run_op(&holder);
            CHECK_EQ(holder.result, 4);
        }
        xev_loop_deinit(&n.loop);
        CHECK_EQ(waiter.ends, 1);
        CHECK_EQ(waiter.result, expected);
        free(held);
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(close(a[i]), 0);
            CHECK_EQ(close(b[i]), i == 0 && how == 1 ? -1 : 0);
        }
        CHECK_EQ(open_fds(), n.fds_before);
    }
}

TEST(a_deadline_ends_recv_multi_with_etimedout_and_rearm_means_disarm) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    recv_multi(&op, &n, fd[0]);
    struct sink *sink = sink_new(&op, false);
    xev_completion_set_timeout(&n.loop, &op.c, 30);
    plain_send(fd[1], "a", 1);
    run_until_sum(&op, 1);
    run_op(&op);
    CHECK_EQ(op.result, XEV_ETIMEDOUT);
    CHECK_EQ(xev_loop_active(&n.loop), 0);
    free(sink);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(recv_multi_and_a_recv_behind_it_keep_their_order) {
    struct net n;
    struct op multi, single;
    int fd[2];
    char buf[4];
    net_open(&n, NULL);
    tcp_pair(fd);
    recv_multi(&multi, &n, fd[0]);
    struct sink *sink = sink_new(&multi, false);
    op_new(&single, &n);
    xev_tcp_recv(xev_tcp_from_fd(fd[0]), &n.loop, &single.c, buf, 4, &single, op_called);
    plain_send(fd[1], "aaaa", 4);
    run_until_sum(&multi, 4);
    CHECK_EQ(single.calls, 0);
    cancel_op(&multi, 0);
    plain_send(fd[1], "bbbb", 4);
    run_op(&single);
    CHECK_EQ(single.result, 4);
    CHECK_MEM_EQ(buf, "bbbb", 4);
    free(sink);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

/* ---- misuse ---- */

static void data_outside_a_callback(void *arg) { (void)xev_buf_data(&((struct net *)arg)->loop); }

static void take_outside_a_callback(void *arg) {
    xev_buf buf = xev_buf_take(&((struct net *)arg)->loop);
    CHECK(buf.data != NULL);
}

static void release_what_was_not_taken(void *arg) {
    xev_buf buf = {0};
    xev_buf_release(&((struct net *)arg)->loop, buf);
}

static xev_cb_action take_twice(struct op *op, int result) {
    CHECK_EQ(result, 1);
    xev_buf first = xev_buf_take(&op->net->loop);
    xev_buf second = xev_buf_take(&op->net->loop);
    CHECK(first.data != second.data);
    return XEV_DISARM;
}

struct misuse {
    struct net *n;
    xev_buf buf;
};

/* With a loop of its own: one on io_uring does not survive a fork. */
static void take_twice_in_a_callback(void *arg) {
    struct net n;
    struct op op;
    int *fd = arg;
    net_open(&n, &tiny_pool);
    recv_loan(&op, &n, fd[0]);
    op.then = take_twice;
    run_op(&op);
}

static void release_twice(void *arg) {
    struct misuse *m = arg;
    xev_buf_release(&m->n->loop, m->buf);
    xev_buf_release(&m->n->loop, m->buf);
}

TEST(misuse_of_loans_is_caught) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, &tiny_pool);
    tcp_pair(fd);
    check_misuse(data_outside_a_callback, &n, "xev_buf_data");
    check_misuse(take_outside_a_callback, &n, "xev_buf_take");
    check_misuse(release_what_was_not_taken, &n, "xev_buf_release");
    /* Of two taken, one released twice. */
    recv_multi(&op, &n, fd[0]);
    struct sink *sink = sink_new(&op, true);
    for (int i = 0; i < 2; i++) {
        plain_send(fd[1], "x", 1);
        run_until_sum(&op, i + 1);
    }
    struct misuse m = {.n = &n, .buf = sink->taken[1]};
    check_misuse(release_twice, &m, "xev_buf_release");
    xev_buf_release(&n.loop, sink->taken[0]);
    xev_buf_release(&n.loop, sink->taken[1]);
    cancel_op(&op, 0);
    free(sink);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(taking_a_loan_twice_is_caught) {
    int fd[2];
    tcp_pair(fd);
    plain_send(fd[1], "x", 1);
    check_misuse(take_twice_in_a_callback, fd, "xev_buf_take");
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(close(fd[1]), 0);
}
