/* One connection that moves to another shard: what goes along, what has to wait, what is refused,
 * and what becomes of it where the other shard cannot take it or the runtime ends.
 *
 * long-file: all cases share the handlers and the calls on shards. */
#include "tests/memory_scene.h"
#include "tests/serve_scene.h"

enum { SHARDS = 3, BIG = 3 << 20, FILE_BYTES = 200000 };

static xev_service *service;

/* Of the connection that is moved. */
static xev_conn *_Atomic conn;
static atomic_uint where; /* its shard */
static _Atomic xev_conn_handle handle;
static atomic_int leavings, moveds, closeds;
static atomic_uint closed_reason;
static atomic_uint closed_on;
static sem_t told; /* by opened, moved and closed; each "?" or ";" that is handled */
static char got[64];
static atomic_int move_result;

struct user {
    char text[8];
    uint64_t number;
};

static uint32_t self_id(void) { return xev_shard_id(xev_shard_current()); }

static void here(xev_conn *c) {
    conn = c;
    handle = xev_conn_handle_of(c);
    where = self_id();
}

static void one_opened(xev_conn *c) {
    struct user *u = xev_conn_user(c);
    memcpy(u->text, "of user", 8);
    u->number = 77;
    here(c);
    sem_give(&told);
}

/* "?" is answered with the shard; what comes before it, in one piece, is noted. */
static ptrdiff_t one_data(xev_conn *c, const void *data, size_t len) {
    const char *end = memchr(data, '?', len);
    if (end == NULL) {
        sem_give(&told);
        return 0;
    }
    size_t n = (size_t)(end - (const char *)data);
    CHECK_LT(n, sizeof got);
    memcpy(got, data, n);
    got[n] = '\0';
    char text[2] = {(char)self_id(), 'm'};
    CHECK_EQ(xev_conn_write(c, text, 2), 0);
    return (ptrdiff_t)n + 1;
}

static void one_closed(xev_conn *c, xev_conn_reason reason, int code) {
    (void)c;
    (void)code;
    closed_reason = reason;
    closed_on = self_id();
    closeds++;
    sem_give(&told);
}

static void one_leaving(xev_conn *c) {
    CHECK(c == conn);
    CHECK_EQ(where, self_id());
    leavings++;
}

static void one_moved(xev_conn *c) {
    const struct user *u = xev_conn_user(c);
    xev_conn *found;
    CHECK_STR_EQ(u->text, "of user");
    CHECK_EQ(u->number, 77);
    CHECK_NE(handle, xev_conn_handle_of(c));
    CHECK_EQ(xev_conn_find(xev_conn_service_of(c), handle, &found), XEV_ESTALE);
    here(c);
    CHECK_EQ(xev_conn_find(xev_conn_service_of(c), handle, &found), 0);
    CHECK(found == c);
    moveds++;
    sem_give(&told);
}

static const xev_conn_handlers one = {.opened = one_opened,
                                      .data = one_data,
                                      .closed = one_closed,
                                      .leaving = one_leaving,
                                      .moved = one_moved};

static uint32_t move_to;
static void do_move(void) { move_result = xev_serve_move(conn, move_to); }

/* Ask for a move; what it returns. */
static int begin_move(uint32_t shard) {
    move_to = shard;
    call_on(where, do_move);
    return move_result;
}

static void do_nothing(void) {}

/* What the answered "?" came behind. */
static void check_got(const char *text) {
    call_on(where, do_nothing); /* the handler has returned */
    CHECK_STR_EQ(got, text);
}

static void move_conn(uint32_t shard) {
    int before = moveds;
    CHECK_EQ(begin_move(shard), 0);
    sem_take(&told);
    CHECK_EQ(moveds, before + 1);
    CHECK_EQ(where, shard);
}

static void check_answers(int fd) {
    ask_shard(fd);
    CHECK_EQ(take_answer(fd, "m"), where);
}

static uint32_t connections_on(uint32_t shard) {
    xev_service_counters c;
    xev_service_count(service, shard, &c);
    return c.connections;
}

/* That of the old shard follows by a message. */
static void wait_until_only_on(uint32_t shard) {
    for (uint32_t i = 0; i < SHARDS; i++) {
        while (connections_on(i) != (i == shard)) {
            sched_yield();
        }
        CHECK_EQ(xev_serve_live(serve, i), i == shard);
    }
}

static int connect_one(void) {
    int fd = connect_to(service);
    sem_take(&told);
    return fd;
}

static void run_one(xev_service_options o, void (*clients)(void)) {
    sem_new(&told);
    o.policy = XEV_SERVE_SINGLE;
    o.conns.handlers = &one;
    o.conns.user_bytes = sizeof(struct user);
    service = add_service(&o);
    run_with_clients(SHARDS, clients);
    xev_service_counters c = count_of(service);
    CHECK_EQ(c.connections, 0);
    CHECK_EQ(c.moved_in, c.moved_out);
    for (uint32_t i = 0; i < SHARDS; i++) {
        CHECK_EQ(xev_serve_live(serve, i), 0);
    }
    xev_serve_free(serve);
}

static void run_plain(void (*clients)(void)) {
    run_one(service_options("m", "127.0.0.1:0"), clients);
}

static void end_one(int fd) {
    close_in_order(fd);
    while (closeds == 0) {
        sem_take(&told);
    }
    CHECK_EQ(closed_reason, XEV_CONN_ENDED);
    CHECK_EQ(closed_on, where);
}

/* ---- what goes along ---- */

static void do_pause(void) { xev_conn_pause(conn); }
static void do_resume(void) { xev_conn_resume(conn); }

static void move_input(void) {
    int fd = connect_one();
    CHECK_EQ(send(fd, "half ", 5, 0), 5);
    sem_take(&told); /* it is kept */
    move_conn(1);
    sem_take(&told); /* and presented again */
    CHECK_EQ(leavings, 1);
    wait_until_only_on(1);
    CHECK_EQ(send(fd, "and half", 8, 0), 8);
    sem_take(&told);
    ask_shard(fd);
    CHECK_EQ(take_answer(fd, "m"), 1);
    check_got("half and half");
    call_on(1, do_pause);
    move_conn(2);
    CHECK_EQ(send(fd, "later", 5, 0), 5);
    ask_shard(fd);
    move_conn(0);
    call_on(0, do_resume);
    CHECK_EQ(take_answer(fd, "m"), 0);
    check_got("later");
    wait_until_only_on(0);
    end_one(fd);
}

TEST(input_that_is_kept_and_a_pause_go_along) { run_plain(move_input); }

static const uint8_t *big;
static atomic_int released, released_on[SHARDS];
static int file;

static void on_released(void *userdata) {
    CHECK(userdata == &released);
    released_on[self_id()]++;
    released++;
}

static void do_write_much(void) {
    CHECK_EQ(xev_conn_write(conn, big, BIG), 0);
    CHECK_EQ(xev_conn_write_lent(conn, big, BIG, &released, on_released), 0);
    CHECK_EQ(xev_conn_write_file(conn, file, 0, FILE_BYTES, &released, on_released), 0);
    CHECK_EQ(xev_conn_write_lent(conn, big, BIG, &released, on_released), 0);
    CHECK_EQ(xev_conn_write(conn, big, BIG), 0);
}

static void expect_bytes(int fd, size_t len) {
    uint8_t *data = malloc(len);
    CHECK(data != NULL);
    CHECK_EQ(recv(fd, data, len, MSG_WAITALL), len);
    CHECK_MEM_EQ(data, big, len);
    free(data);
}

static void make_big(void) {
    uint8_t *data = malloc(BIG);
    CHECK(data != NULL);
    for (size_t i = 0; i < BIG; i++) {
        data[i] = (uint8_t)((i * 2654435761u) >> 13);
    }
    big = data;
    char path[] = "/tmp/xev-move-XXXXXX";
    file = mkstemp(path);
    CHECK_GE(file, 0);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(write(file, big, FILE_BYTES), FILE_BYTES);
}

static void expect_much(int fd) {
    expect_bytes(fd, BIG);
    expect_bytes(fd, BIG);
    expect_bytes(fd, FILE_BYTES);
    expect_bytes(fd, BIG);
    expect_bytes(fd, BIG);
}

static void move_output(void) {
    int fd = connect_one();
    call_on(0, do_write_much);
    move_conn(2);
    CHECK_EQ(released, 0);
    CHECK_EQ(begin_move(1), XEV_EBUSY); /* what was lent on shard 0 is not sent yet */
    expect_much(fd);
    while (released < 3) {
        sched_yield();
    }
    CHECK_EQ(released_on[0], 3);
    wait_until_only_on(2);
    check_answers(fd);
    move_conn(1);
    check_answers(fd);
    end_one(fd);
}

TEST(output_of_all_kinds_goes_along_and_is_released_where_it_was_lent) {
    make_big();
    run_plain(move_output);
    CHECK_EQ(released, 3);
}

static void keep_open(xev_conn *c) { (void)c; }
static const xev_conn_handlers half = {.opened = one_opened,
                                       .data = one_data,
                                       .ended = keep_open,
                                       .closed = one_closed,
                                       .moved = one_moved};
static void do_half(void) { xev_conn_set_handlers(conn, &half); }
static void do_end_output(void) { xev_conn_end_output(conn); }
static void do_finish(void) {
    CHECK_EQ(xev_conn_write(conn, "end", 3), 0);
    xev_conn_finish(conn);
    CHECK_EQ(xev_serve_move(conn, (self_id() + 1) % SHARDS), XEV_EPIPE);
}

static void move_half_closed(void) {
    char text[4];
    int fd = connect_one();
    call_on(0, do_half); /* the handlers go along */
    check_answers(fd);
    CHECK_EQ(shutdown(fd, SHUT_WR), 0);
    move_conn(1);
    move_conn(2);
    call_on(2, do_finish);
    CHECK_EQ(recv(fd, text, 4, MSG_WAITALL), 3); /* and the end */
    sem_take(&told);
    CHECK_EQ(closed_reason, XEV_CONN_ENDED);
    CHECK_EQ(closed_on, 2);
    CHECK_EQ(close(fd), 0);

    fd = connect_one();
    call_on(0, do_end_output);
    CHECK_EQ(recv(fd, text, 1, 0), 0);
    move_conn(1);
    CHECK_EQ(send(fd, "some", 4, 0), 4);
    sem_take(&told);
    CHECK_EQ(shutdown(fd, SHUT_WR), 0);
    sem_take(&told);
    CHECK_EQ(closed_reason, XEV_CONN_ENDED);
    CHECK_EQ(closed_on, 1);
    CHECK_EQ(close(fd), 0);
}

TEST(both_half_closed_states_go_along) { run_plain(move_half_closed); }

static void do_set_life(void) {
    const xev_conn_deadlines d = {.life_ms = 400, .idle_ms = UINT32_MAX};
    CHECK_EQ(xev_conn_set_deadlines(conn, &d), 0);
}

static void move_with_deadline(void) {
    char c;
    int fd = connect_one();
    call_on(0, do_set_life);
    CHECK_EQ(begin_move(1), 0);
    while (closeds == 0) { /* on a slow machine it may end before it has moved */
        sem_take(&told);
    }
    CHECK_EQ(closed_reason, XEV_CONN_LIFE_LATE);
    CHECK_EQ(recv(fd, &c, 1, 0), 0);
    CHECK_EQ(close(fd), 0);
}

static void run_deadline(void) {
    xev_service_options o = service_options("m", "127.0.0.1:0");
    o.conns.deadlines.linger_ms = 1;
    run_one(o, move_with_deadline);
}

TEST(deadlines_go_along) { run_deadline(); }

/* ---- what has to wait ---- */

static xev_conn_slot *slot;
static void do_reserve(void) {
    slot = xev_conn_reserve(conn);
    CHECK(slot != NULL);
}
static void do_fill(void) { xev_conn_fill(slot, "filled", 6); }

static void move_with_slot(void) {
    char text[6];
    int fd = connect_one();
    call_on(0, do_reserve);
    CHECK_EQ(begin_move(1), 0);
    CHECK_EQ(begin_move(1), XEV_EBUSY);
    for (int i = 0; i < 20; i++) {
        call_on(0, do_nothing); /* turns of the loop */
    }
    CHECK_EQ(leavings, 0);
    call_on(0, do_fill);
    sem_take(&told);
    CHECK_EQ(moveds, 1);
    CHECK_EQ(where, 1);
    CHECK_EQ(recv(fd, text, 6, MSG_WAITALL), 6);
    CHECK_MEM_EQ(text, "filled", 6);
    check_answers(fd);
    end_one(fd);
}

TEST(a_move_waits_for_reserved_slots) { run_plain(move_with_slot); }

static sem_t blocked, unblock;
static atomic_int handled;

static void on_block(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    sem_give(&blocked);
    sem_take(&unblock);
}

static void on_filler(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    handled++;
}

static void move_through_full_mailbox(void) {
    static xev_message block, filler[64];
    xev_shard *to = xev_runtime_shard(&runtime, 1);
    int sent = 0;
    int fd = connect_one();
    CHECK_EQ(xev_shard_send(to, &block, on_block, NULL), 0);
    sem_take(&blocked);
    while (xev_shard_send(to, &filler[sent], on_filler, NULL) == 0) {
        sent++;
    }
    CHECK_EQ(begin_move(1), 0);
    while (leavings == 0) {
        sched_yield();
    }
    ask_shard(fd);
    sem_give(&unblock);
    sem_take(&told);
    CHECK_EQ(where, 1);
    CHECK_EQ(take_answer(fd, "m"), 1);
    CHECK_EQ(handled, sent);
    CHECK_GT(counters_of(xev_runtime_shard(&runtime, 0)).messages_refused, 0);
    end_one(fd);
}

TEST(a_move_waits_for_room_in_a_full_mailbox) {
    sem_new(&blocked);
    sem_new(&unblock);
    options.mailbox = 4;
    run_plain(move_through_full_mailbox);
}

/* ---- what is refused ---- */

static void do_refused(void) {
    CHECK_EQ(xev_serve_move(conn, self_id()), XEV_EINVAL);
    CHECK_EQ(xev_serve_move(conn, SHARDS), XEV_EINVAL);
    int ends[2];
    xev_conn *pipes, *other;
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    xev_conn_service *s = xev_conn_service_of(conn);
    CHECK_EQ(xev_conn_adopt_pipes(s, ends[0], ends[1], &pipes), 0);
    CHECK_EQ(xev_serve_move(pipes, 1), XEV_ENOTSUP);
    xev_conn_abort(pipes);
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    CHECK_EQ(xev_conn_adopt(s, pair[0], &pipes), 0);
    CHECK_EQ(xev_conn_adopt(s, pair[1], &other), 0);
    CHECK_EQ(xev_conn_pipe(pipes, other), 0);
    CHECK_EQ(xev_serve_move(pipes, 1), XEV_EBUSY);
    xev_conn_abort(pipes);
    CHECK_EQ(xev_serve_move(pipes, 1), XEV_EPIPE);
}

static void refuse_moves(void) {
    int fd = connect_one();
    call_on(0, do_refused);
    for (int i = 0; i < 3; i++) {
        sem_take(&told); /* those that it made are closed */
    }
    check_answers(fd);
    CHECK_EQ(close(fd), 0);
    sem_take(&told);
    CHECK_EQ(closeds, 4);
    CHECK_EQ(count_of(service).moved_in, 0);
}

TEST(moves_that_cannot_be_are_refused) { run_plain(refuse_moves); }

static xev_conn *opened_conns[4];
static int opened_len;

static void note_opened(xev_conn *c) {
    opened_conns[opened_len++] = c;
    sem_give(&told);
}

static void note_moved(xev_conn *c) {
    (void)c;
    moveds++;
    sem_give(&told);
}

static void do_move_all(void) {
    CHECK_EQ(xev_serve_move(opened_conns[0], 1), 0);
    CHECK_EQ(xev_serve_move(opened_conns[1], 1), 0);
    CHECK_EQ(xev_conn_pipe(opened_conns[0], opened_conns[1]), XEV_EBUSY);
    CHECK_EQ(xev_conn_detach(opened_conns[0], NULL, (xev_conn_detach_fn)(void (*)(void))abort),
             XEV_EBUSY);
}

static void do_move_third(void) { move_result = xev_serve_move(opened_conns[2], 1); }

static void fill_a_shard(void) {
    int fds[3];
    for (int i = 0; i < 3; i++) {
        if (i == 2) {
            call_on(0, do_move_all);
            sem_take(&told);
            sem_take(&told);
        }
        fds[i] = connect_one();
    }
    call_on(0, do_move_third); /* refused at once: it has not left */
    CHECK_EQ(move_result, XEV_ENOBUFS);
    CHECK_EQ(xev_serve_live(serve, 1), 2);
    CHECK_EQ(close(fds[0]), 0);
    sem_take(&told);
    while (xev_serve_live(serve, 1) == 2) {
        sched_yield();
    }
    call_on(0, do_move_third);
    CHECK_EQ(move_result, 0);
    sem_take(&told);
    CHECK_EQ(moveds, 3);
    CHECK_EQ(close(fds[1]), 0);
    CHECK_EQ(close(fds[2]), 0);
    sem_take(&told);
    sem_take(&told);
}

static const xev_conn_handlers noted = {
    .opened = note_opened, .data = one_data, .closed = one_closed, .moved = note_moved};

static void run_noted(const xev_serve_limits *limits, uint32_t connections_max,
                      void (*clients)(void)) {
    sem_new(&told);
    xev_service_options o = service_options("m", "127.0.0.1:0");
    o.policy = XEV_SERVE_SINGLE;
    o.conns.handlers = &noted;
    o.conns.connections_max = connections_max;
    service = add_service(&o);
    CHECK_EQ(xev_serve_set_limits(serve, limits), 0);
    run_with_clients(SHARDS, clients);
    for (uint32_t i = 0; i < SHARDS; i++) {
        CHECK_EQ(xev_serve_live(serve, i), 0);
    }
    xev_serve_free(serve);
}

TEST(a_full_shard_refuses_a_move) {
    const xev_serve_limits limits = {.shard_max = 2, .reserve = UINT32_MAX};
    run_noted(&limits, 0, fill_a_shard);
}

/* ---- what cannot be taken comes back ---- */

static xev_conn_handle third_handle;

static void do_move_one(void) { CHECK_EQ(xev_serve_move(opened_conns[0], 1), 0); }

static void do_move_two(void) {
    third_handle = xev_conn_handle_of(opened_conns[1]);
    CHECK_EQ(xev_serve_move(opened_conns[1], 1), 0);
}

static void do_check_back(void) {
    xev_conn *found;
    xev_conn_service *s = xev_service_conns(service, xev_shard_current());
    CHECK_EQ(xev_conn_find(s, third_handle, &found), XEV_ESTALE);
    third_handle = xev_conn_handle_of(opened_conns[1]);
    CHECK_EQ(xev_conn_find(s, third_handle, &found), 0);
    CHECK(found == opened_conns[1]);
}

static void fill_a_service(void) {
    int a = connect_one();
    call_on(0, do_move_one);
    sem_take(&told);
    wait_until_only_on(1);
    int b = connect_one();
    CHECK_EQ(send(b, "kept ", 5, 0), 5);
    sem_take(&told);
    call_on(0, do_move_two);
    sem_take(&told); /* it is back */
    sem_take(&told); /* what it has kept is presented */
    CHECK_EQ(moveds, 2);
    call_on(0, do_check_back);
    CHECK_EQ(xev_serve_live(serve, 1), 1);
    CHECK_EQ(xev_serve_live(serve, 0), 1);
    ask_shard(b);
    CHECK_EQ(take_answer(b, "m"), 0);
    check_got("kept ");
    CHECK_EQ(close(a), 0);
    CHECK_EQ(close(b), 0);
    sem_take(&told);
    sem_take(&told);
    xev_service_counters c = count_of(service);
    CHECK_EQ(c.moved_in, 1);
    CHECK_EQ(c.moved_out, 1);
}

TEST(from_a_service_that_is_full_a_connection_comes_back) {
    const xev_serve_limits none = {.reserve = UINT32_MAX};
    run_noted(&none, 1, fill_a_service);
}

static int without_memory, came_back, lost;

static void do_write_some(void) {
    CHECK_EQ(xev_conn_write(conn, big, BIG), 0);
    CHECK_EQ(xev_conn_write_lent(conn, big, BIG, &released, on_released), 0);
}

/* The n-th allocation from the move on fails. Either the connection has moved, or it is where it
 * was, or the loop had no memory to read on, which closed tells; never is anything amiss in it. */
static bool move_without_memory(int n) {
    int fd = connect_one();
    uint32_t before = where;
    int closed_before = closeds;
    CHECK_EQ(send(fd, "kept ", 5, 0), 5);
    sem_take(&told);
    call_on(0, do_write_some);
    inject_plan(n, INJECT_ONCE);
    int rc = begin_move(1);
    CHECK(rc == 0 || rc == XEV_ENOMEM);
    if (rc == 0) {
        sem_take(&told);
    }
    came_back += rc == 0 && where == before;
    for (int i = 0; i < 20; i++) {
        call_on(where, do_nothing);
    }
    inject_arm(false);
    if (closeds == closed_before) {
        expect_bytes(fd, BIG);
        expect_bytes(fd, BIG);
        ask_shard(fd);
        uint8_t text[2];
        if (recv(fd, text, 2, MSG_WAITALL) == 2) {
            CHECK_EQ(text[0], where);
            CHECK_EQ(text[1], 'm');
            check_got("kept ");
        }
    }
    CHECK_EQ(close(fd), 0);
    while (closeds == closed_before || released <= without_memory) {
        sched_yield();
    }
    lost += closed_reason == XEV_CONN_NO_MEMORY;
    while (sem_trywait(&told) == 0) {
    }
    without_memory++;
    return inject.hits > 0;
}

static void move_without_any_memory(void) {
    int n = 1;
    while (move_without_memory(n)) {
        n++;
    }
    printf("%d allocations failed: %d came back, %d lost\n", n - 1, came_back, lost);
    CHECK_GT(came_back, 0);
}

TEST_TIMEOUT(lack_of_memory_over_there_brings_it_back, 60) {
    make_big();
    options.loop.allocator = counted_allocator;
    run_plain(move_without_any_memory);
}

/* ---- the end meanwhile ---- */

static void do_move_and_abort(void) {
    CHECK_EQ(xev_serve_move(conn, 1), 0);
    xev_conn_abort(conn);
}

static void do_move_and_finish(void) {
    CHECK_EQ(xev_serve_move(conn, 1), 0);
    CHECK_EQ(xev_conn_write(conn, "end", 3), 0);
    xev_conn_finish(conn);
}

static void end_while_it_moves(void) {
    char text[4];
    int fd = connect_one();
    call_on(0, do_move_and_abort);
    sem_take(&told);
    CHECK_EQ(closed_reason, XEV_CONN_ABORTED);
    CHECK_EQ(recv(fd, text, 1, 0), -1);
    CHECK_EQ(errno, ECONNRESET);
    CHECK_EQ(close(fd), 0);
    fd = connect_one();
    call_on(0, do_move_and_finish);
    CHECK_EQ(recv(fd, text, 4, MSG_WAITALL), 3); /* and the end */
    CHECK_EQ(close(fd), 0);
    sem_take(&told);
    CHECK_EQ(closed_reason, XEV_CONN_ENDED);
    CHECK_EQ(moveds + leavings, 0);
}

TEST(what_ends_a_connection_ends_its_move) { run_plain(end_while_it_moves); }

static const struct linger reset = {.l_onoff = 1};

static void reset_while_it_moves(void) {
    for (int i = 0; i < 200; i++) {
        int fd = connect_one();
        CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
        CHECK_EQ(send(fd, "some", 4, 0), 4);
        int rc = begin_move(1 + (uint32_t)i % 2);
        CHECK_EQ(rc, 0);
        CHECK_EQ(close(fd), 0);
        while (closeds <= i) {
            sem_take(&told);
        }
        CHECK_EQ(closed_reason, XEV_CONN_FAILED);
        while (sem_trywait(&told) == 0) {
        }
    }
}

TEST(resets_meanwhile_are_told_once) { run_plain(reset_while_it_moves); }

static int drained_fd;

static void do_move_and_stop(void) {
    CHECK_EQ(xev_serve_move(conn, 1), 0);
    CHECK_EQ(xev_conn_write(conn, big, BIG), 0);
    xev_runtime_stop(&runtime);
}

static void stop_while_it_moves(void) {
    char c;
    drained_fd = connect_one();
    ask_shard(drained_fd);
    (void)take_answer(drained_fd, "m"); /* it is no fresh one */
    call_on(0, do_move_and_stop);
    expect_bytes(drained_fd, BIG);
    CHECK_EQ(recv(drained_fd, &c, 1, 0), 0);
    CHECK_EQ(close(drained_fd), 0);
    while (closeds == 0) {
        sem_take(&told);
    }
    CHECK_EQ(closed_reason, XEV_CONN_ENDED);
}

static void run_until_stopped(xev_service_options o, void (*clients)(void), int result) {
    sem_new(&told);
    o.policy = XEV_SERVE_SINGLE;
    o.conns.handlers = &one;
    o.conns.user_bytes = sizeof(struct user);
    service = add_service(&o);
    clients_run = clients;
    options.init = clients_begin;
    int rc = run_services(SHARDS);
    /* The clients' thread stops it, too, when the connection has ended. */
    CHECK(rc == result || (result == 0 && rc == XEV_EINTR));
    thread_join(clients_thread);
    CHECK_EQ(closeds, 1);
    for (uint32_t i = 0; i < SHARDS; i++) {
        CHECK_EQ(xev_serve_live(serve, i), 0);
    }
    xev_serve_free(serve);
}

TEST(a_drain_ends_it_in_order_wherever_it_is) {
    make_big();
    run_until_stopped(service_options("m", "127.0.0.1:0"), stop_while_it_moves, 0);
}

/* One that waits for a slot keeps its shard going in a drain. */
static void stop_while_it_waits(void) {
    char text[7];
    drained_fd = connect_one();
    call_on(0, do_reserve);
    CHECK_EQ(begin_move(1), 0);
    xev_runtime_stop(&runtime);
    for (int i = 0; i < 20; i++) {
        call_on(0, do_nothing);
    }
    call_on(0, do_fill);
    CHECK_EQ(recv(drained_fd, text, 6, MSG_WAITALL), 6);
    CHECK_MEM_EQ(text, "filled", 6);
    ask_shard(drained_fd); /* its first input */
    CHECK_EQ(take_answer(drained_fd, "m"), 1);
    CHECK_EQ(recv(drained_fd, text, 1, 0), 0);
    CHECK_EQ(close(drained_fd), 0);
    while (closeds == 0) {
        sem_take(&told);
    }
    CHECK_EQ(closed_reason, XEV_CONN_ENDED);
    CHECK_EQ(closed_on, 1);
}

TEST(a_drain_waits_for_one_that_waits) {
    xev_service_options o = service_options("m", "127.0.0.1:0");
    o.conns.first_ms = HOUR_MS / 8;
    run_until_stopped(o, stop_while_it_waits, 0);
}

/* The runtime is stopped twice while what was lent has not come back. */
static void stop_at_once(void) {
    drained_fd = connect_one();
    call_on(0, do_write_much);
    move_conn(2);
    xev_runtime_stop(&runtime);
}

TEST(a_drain_that_is_cut_short_releases_what_was_lent) {
    make_big();
    run_until_stopped(service_options("m", "127.0.0.1:0"), stop_at_once, XEV_EINTR);
    CHECK_EQ(closed_reason, XEV_CONN_LOOP_ENDED);
    CHECK_EQ(released, 3);
    CHECK_EQ(close(drained_fd), 0);
}

/* The same towards a shard with a lower number, which ends later. */
static void stop_at_once_below(void) {
    drained_fd = connect_one();
    move_conn(2);
    call_on(2, do_write_much);
    move_conn(1);
    xev_runtime_stop(&runtime);
}

TEST(a_drain_that_is_cut_short_releases_what_was_lent_by_a_higher_shard) {
    make_big();
    run_until_stopped(service_options("m", "127.0.0.1:0"), stop_at_once_below, XEV_EINTR);
    CHECK_EQ(released, 3);
    CHECK_EQ(close(drained_fd), 0);
}

/* It waits for a slot that is filled only when its loop has ended. */
static void stop_before_it_moves(void) {
    drained_fd = connect_one();
    call_on(0, do_reserve);
    CHECK_EQ(begin_move(1), 0);
    for (int i = 0; i < 20; i++) {
        call_on(0, do_nothing);
    }
    xev_runtime_stop(&runtime);
}

TEST(a_drain_that_is_cut_short_ends_one_that_waits) {
    run_until_stopped(service_options("m", "127.0.0.1:0"), stop_before_it_moves, XEV_EINTR);
    CHECK_EQ(leavings + moveds, 0);
    CHECK_EQ(closed_on, 0);
    CHECK_EQ(close(drained_fd), 0);
}
