/* Polls of descriptors that the program closes itself, as fd.h promises them. */
#include "tests/fd_scene.h"

TEST(poll_reports_what_holds_already) {
    struct net n;
    int fd[2];
    net_open(&n, NULL);
    local_pair(fd);
    CHECK_EQ(poll_now(&n, fd[0], XEV_POLL_OUT), XEV_POLL_OUT);
    CHECK_EQ(poll_now(&n, fd[0], XEV_POLL_IN | XEV_POLL_OUT), XEV_POLL_OUT);
    plain_send(fd[1], "x", 1);
    CHECK_EQ(poll_now(&n, fd[0], XEV_POLL_IN), XEV_POLL_IN);
    CHECK_EQ(poll_now(&n, fd[0], XEV_POLL_IN | XEV_POLL_OUT), XEV_POLL_IN | XEV_POLL_OUT);
    CHECK_EQ(shutdown(fd[1], SHUT_WR), 0);
    CHECK_EQ(poll_now(&n, fd[0], XEV_POLL_HUP), XEV_POLL_HUP);
    CHECK_EQ(poll_now(&n, fd[0], XEV_POLL_IN | XEV_POLL_HUP), XEV_POLL_IN | XEV_POLL_HUP);
    CHECK_EQ(close(fd[1]), 0);
    CHECK_EQ(poll_now(&n, fd[0], XEV_POLL_IN), XEV_POLL_IN | XEV_POLL_HUP);
    CHECK_EQ(poll_now(&n, fd[0], XEV_POLL_OUT), XEV_POLL_OUT | XEV_POLL_HUP);
    CHECK_EQ(close(fd[0]), 0);
    net_close(&n);
}

TEST(poll_waits_for_data_and_leaves_it) {
    struct net n;
    struct op op;
    int fd[2];
    char buf[4];
    net_open(&n, NULL);
    make_pipe(fd);
    do_poll(&op, &n, fd[0], XEV_POLL_IN);
    settle(&n);
    CHECK_EQ(op.calls, 0);
    put(fd[1], "x");
    run_op(&op);
    CHECK_EQ(op.result, XEV_POLL_IN);
    CHECK_EQ(fcntl(fd[0], F_GETFL) & O_NONBLOCK, 0); /* a foreign one stays as it is */
    CHECK_EQ(read(fd[0], buf, 4), 1);
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(poll_waits_for_room) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, NULL);
    make_pipe(fd);
    (void)fill_pipe(fd[1]);
    do_poll(&op, &n, fd[1], XEV_POLL_OUT);
    settle(&n);
    CHECK_EQ(op.calls, 0);
    drain(fd[0]);
    run_op(&op);
    CHECK_EQ(op.result, XEV_POLL_OUT);
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(poll_waits_for_a_hang_up) {
    struct net n;
    struct op op;
    int fd[2];
    for (int mask = XEV_POLL_IN; mask <= XEV_POLL_HUP; mask += XEV_POLL_HUP - XEV_POLL_IN) {
        net_open(&n, NULL);
        make_pipe(fd);
        do_poll(&op, &n, fd[0], (uint32_t)mask);
        settle(&n);
        CHECK_EQ(op.calls, 0);
        CHECK_EQ(close(fd[1]), 0);
        run_op(&op);
        CHECK_EQ(op.result, XEV_POLL_HUP);
        CHECK_EQ(close(fd[0]), 0);
        net_close(&n);
    }
    /* The writer is told that nobody reads. */
    net_open(&n, NULL);
    make_pipe(fd);
    (void)fill_pipe(fd[1]);
    do_poll(&op, &n, fd[1], XEV_POLL_HUP);
    settle(&n);
    CHECK_EQ(op.calls, 0);
    CHECK_EQ(close(fd[0]), 0);
    run_op(&op);
    CHECK_EQ(op.result, XEV_POLL_ERR);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

/* Who only waits for room is not told again and again that the peer has no more to say. */
TEST(poll_for_room_is_not_woken_by_the_end_of_the_peers_stream) {
    struct net n;
    struct op op, multi;
    int fd[2];
    for (int before = 0; before < 2; before++) {
        net_open(&n, NULL);
        local_pair(fd);
        size_t filled = fill(fd[0]);
        if (before) {
            CHECK_EQ(shutdown(fd[1], SHUT_WR), 0);
            wait_readable(fd[0]);
        }
        do_poll(&op, &n, fd[0], XEV_POLL_OUT);
        do_poll_multi(&multi, &n, fd[0], XEV_POLL_OUT);
        settle(&n);
        if (!before) {
            CHECK_EQ(shutdown(fd[1], SHUT_WR), 0);
            wait_readable(fd[0]);
        }
        CHECK_LT(run_for(&n, 20), 10);
        CHECK_EQ(op.calls, 0);
        CHECK_EQ(multi.calls, 0);
        char *sink = malloc(filled);
        plain_recv(fd[1], sink, filled);
        free(sink);
        run_op(&op);
        CHECK_EQ(op.result, XEV_POLL_OUT);
        run_until(&n, &multi.calls, 1);
        CHECK_EQ(multi.result, XEV_POLL_OUT);
        cancel_op(&multi, 0);
        close_fd(&n, fd[0]);
        close_fd(&n, fd[1]);
        net_close(&n);
    }
}

TEST(cancelled_poll_for_room_after_the_peers_end) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, NULL);
    local_pair(fd);
    (void)fill(fd[0]);
    CHECK_EQ(shutdown(fd[1], SHUT_WR), 0);
    wait_readable(fd[0]);
    do_poll(&op, &n, fd[0], XEV_POLL_OUT);
    settle(&n);
    cancel_op(&op, 0);
    CHECK_EQ(op.result, XEV_ECANCELED);
    do_poll(&op, &n, fd[0], XEV_POLL_OUT);
    xev_completion_set_timeout(&n.loop, &op.c, 10);
    run_op(&op);
    CHECK_EQ(op.result, XEV_ETIMEDOUT);
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

TEST(poll_reports_urgent_data) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    do_poll(&op, &n, fd[0], XEV_POLL_PRI);
    bool never =
        strcmp(xev_loop_backend(&n.loop), "kqueue") == 0; /* its kernels do not report it */
    if (!never) {
        settle(&n);
        CHECK_EQ(op.calls, 0);
        CHECK_EQ(send(fd[1], "!", 1, MSG_OOB), 1);
    }
    run_op(&op);
    CHECK_EQ(op.result, never ? XEV_ENOTSUP : XEV_POLL_PRI);
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(several_polls_wait_side_by_side_beside_a_read_and_a_write) {
    struct net n;
    struct op in[3], out, hup, received, sent;
    int fd[2];
    char buf[8];
    net_open(&n, NULL);
    local_pair(fd);
    size_t filled = fill(fd[0]);
    do_read(&received, &n, fd[0], buf, sizeof buf);
    do_write(&sent, &n, fd[0], "x", 1);
    for (int i = 0; i < 3; i++) {
        do_poll(&in[i], &n, fd[0], XEV_POLL_IN);
    }
    do_poll(&out, &n, fd[0], XEV_POLL_OUT);
    do_poll(&hup, &n, fd[0], XEV_POLL_HUP);
    settle(&n);
    CHECK_EQ(n.clock, 0);

    cancel_op(&in[1], 0); /* the others are unharmed */
    plain_send(fd[1], "data", 4);
    run_op(&received);
    CHECK_EQ(received.result, 4);
    settle(&n);
    /* The read may have taken the data before a poll looked; the next data is there to be seen. */
    plain_send(fd[1], "more", 4);
    for (int i = 0; i < 3; i += 2) {
        run_until(&n, &in[i].ends, 1);
        CHECK_EQ(in[i].result, XEV_POLL_IN);
    }
    CHECK_EQ(out.calls, 0);
    CHECK_EQ(hup.calls, 0);

    char *sink = malloc(filled + 1);
    plain_recv(fd[1], sink, filled);
    run_until(&n, &sent.ends, 1);
    CHECK_EQ(sent.result, 1);
    run_until(&n, &out.ends, 1);
    CHECK_EQ(out.result, XEV_POLL_OUT);
    CHECK_EQ(hup.calls, 0);
    plain_recv(fd[1], sink, 1);
    free(sink);
    CHECK_EQ(shutdown(fd[1], SHUT_WR), 0);
    run_until(&n, &hup.ends, 1);
    CHECK_EQ(hup.result, XEV_POLL_HUP);
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

static xev_cb_action cancel_next(struct op *op, int result) {
    struct op *victim = op->user;
    static struct op cancel[2];
    (void)result;
    if (victim->ends == 0) {
        struct op *c = &cancel[victim - op > 0];
        xev_cancel(&op->net->loop, &victim->c, &op_new(c, op->net)->c, c, op_called);
    }
    return XEV_DISARM;
}

/* Both are ready in the same batch, and the first takes the second away. */
TEST(poll_callback_that_cancels_another_poll_of_the_same_descriptor) {
    struct net n;
    struct op polls[3];
    int fd[2];
    net_open(&n, NULL);
    make_pipe(fd);
    for (int i = 0; i < 3; i++) {
        do_poll(&polls[i], &n, fd[0], XEV_POLL_IN);
    }
    polls[0].then = cancel_next;
    polls[0].user = &polls[1];
    settle(&n);
    put(fd[1], "x");
    for (int i = 0; i < 3; i++) {
        run_until(&n, &polls[i].ends, 1);
    }
    CHECK_EQ(polls[0].result, XEV_POLL_IN);
    CHECK(polls[1].result == XEV_ECANCELED || polls[1].result == XEV_POLL_IN);
    CHECK_EQ(polls[2].result, XEV_POLL_IN);
    run_for(&n, 1);
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

static xev_cb_action poll_again(struct op *op, int result) {
    CHECK_EQ(result, XEV_POLL_IN);
    if (*(int *)op->user > 0) {
        return XEV_DISARM;
    }
    op->ends = 0;
    return XEV_REARM;
}

/* Nobody reads: the poll comes back at once, for ever, and others must get their turn. */
TEST(repeated_poll_of_a_ready_descriptor_starves_nobody) {
    struct net n;
    struct op op, other, timer;
    int fd[2];
    net_open(&n, NULL);
    make_pipe(fd);
    put(fd[1], "x");
    do_poll(&other, &n, fd[0], XEV_POLL_HUP);
    settle(&n);
    op_new(&timer, &n);
    do_poll(&op, &n, fd[0], XEV_POLL_IN);
    op.then = poll_again;
    op.user = &timer.ends;
    run_until(&n, &op.calls, 3);
    xev_timer_run(NULL, &n.loop, &timer.c, 5, &timer, op_called);
    run_op(&timer);
    run_op(&op);
    cancel_op(&other, 0);
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(poll_multi_reports_each_arrival_and_not_what_is_left) {
    for (int ready_before = 0; ready_before < 2; ready_before++) {
        struct net n;
        struct op op;
        int fd[2];
        net_open(&n, NULL);
        make_pipe(fd);
        if (ready_before) {
            put(fd[1], "x");
        }
        do_poll_multi(&op, &n, fd[0], XEV_POLL_IN);
        if (!ready_before) {
            settle(&n);
            CHECK_EQ(op.calls, 0);
            put(fd[1], "x");
        }
        run_until(&n, &op.calls, 1);
        CHECK_EQ(op.result, XEV_POLL_IN);
        CHECK_LT(run_for(&n, 20), 10); /* unread, and no news */
        CHECK_EQ(op.calls, 1);
        for (int i = 0; i < 3; i++) {
            drain(fd[0]);
            settle(&n);
            int before = op.calls;
            put(fd[1], "y");
            run_until(&n, &op.calls, before + 1);
            CHECK_EQ(op.result, XEV_POLL_IN);
            CHECK_EQ(op.ends, 0);
        }
        drain(fd[0]);
        settle(&n);
        CHECK_EQ(close(fd[1]), 0);
        int before = op.calls;
        run_until(&n, &op.calls, before + 1);
        CHECK_EQ(op.result, XEV_POLL_HUP);
        CHECK_LT(run_for(&n, 20), 10);
        cancel_op(&op, 0);
        CHECK_EQ(op.result, XEV_ECANCELED);
        CHECK_EQ(close(fd[0]), 0);
        net_close(&n);
    }
}

static xev_cb_action enough(struct op *op, int result) {
    (void)op;
    (void)result;
    return XEV_DISARM;
}

TEST(poll_multi_ends_when_its_callback_disarms) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, NULL);
    make_pipe(fd);
    do_poll_multi(&op, &n, fd[0], XEV_POLL_IN);
    op.then = enough;
    put(fd[1], "x");
    run_op(&op);
    CHECK_EQ(op.calls, 2);
    CHECK_EQ(op.results[0], XEV_POLL_IN);
    CHECK_EQ(op.results[1], XEV_ECANCELED);
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(polls_of_both_kinds_on_one_descriptor_all_hear) {
    enum { COUNT = 5 };
    struct net n;
    struct op multi[COUNT], single[COUNT];
    int fd[2];
    net_open(&n, NULL);
    make_pipe(fd);
    for (int i = 0; i < COUNT; i++) {
        do_poll_multi(&multi[i], &n, fd[0], XEV_POLL_IN);
        do_poll(&single[i], &n, fd[0], XEV_POLL_IN);
    }
    settle(&n);
    put(fd[1], "x");
    for (int i = 0; i < COUNT; i++) {
        run_until(&n, &multi[i].calls, 1);
        run_until(&n, &single[i].ends, 1);
    }
    for (int i = 0; i < COUNT; i++) {
        cancel_op(&multi[i], 0);
    }
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

/* The library that owns the descriptor closes it and opens another, which gets the same number. */
TEST(poll_of_a_number_that_its_owner_has_used_again) {
    struct net n;
    struct op op;
    int fd[2], next[2];
    net_open(&n, NULL);
    for (int multi = 0; multi < 2; multi++) {
        make_pipe(fd);
        do_poll(&op, &n, fd[0], XEV_POLL_IN);
        settle(&n);
        put(fd[1], "x");
        run_op(&op);
        CHECK_EQ(close(fd[0]), 0);
        CHECK_EQ(close(fd[1]), 0);

        make_pipe(next);
        CHECK_EQ(next[0], fd[0]);
        if (multi) {
            do_poll_multi(&op, &n, next[0], XEV_POLL_IN);
        } else {
            do_poll(&op, &n, next[0], XEV_POLL_IN);
        }
        settle(&n);
        CHECK_EQ(op.calls, 0);
        put(next[1], "y");
        run_until(&n, &op.calls, 1);
        CHECK_EQ(op.result, XEV_POLL_IN);
        if (multi) {
            cancel_op(&op, 0);
        }
        CHECK_EQ(close(next[0]), 0);
        CHECK_EQ(close(next[1]), 0);
    }
    net_close(&n);
}

TEST(poll_waits_again_and_again_without_a_look_in_between) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, NULL);
    local_pair(fd);
    for (int i = 0; i < 100; i++) {
        char byte;
        do_poll(&op, &n, fd[0], XEV_POLL_IN);
        settle(&n);
        CHECK_EQ(op.calls, 0);
        plain_send(fd[1], "x", 1);
        run_op(&op);
        plain_recv(fd[0], &byte, 1);
    }
    CHECK_LT(run_for(&n, 10), 10);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}
