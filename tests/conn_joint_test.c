/* What handlers write in one turn goes out together on a backend that has joint sends, and each
 * connection by itself elsewhere: nobody but a count of system calls can tell. */
#include "tests/conn_scene.h"

#include <pthread.h>
#include <sys/wait.h>

static int sends; /* of the library */

/* A call of the test's own is not in a handler, and finds no run. */
static bool in_run;
ssize_t __real_send(int fd, const void *buf, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags) {
    sends += in_run;
    return __real_send(fd, buf, len, flags);
}

static bool joins(struct scene *s) {
    const uint32_t needed = XEV_FEATURE_DEFER_TASKRUN | XEV_FEATURE_SUBMIT_ALL;
    return (xev_loop_features(&s->net.loop) & needed) == needed;
}

static void run(struct scene *s) {
    in_run = true;
    turn(s);
    in_run = false;
}

enum { MANY = 300 }; /* more than go out together */

struct crowd {
    struct scene scene;
    struct rec rec[MANY];
    int peer[MANY];
    int count;
};

static void crowd_open(struct crowd *w, const xev_loop_options *options, int count, bool tcp,
                       data_fn data) {
    scene_open_options(&w->scene, options, (xev_conn_options){0});
    w->count = count;
    for (int i = 0; i < count; i++) {
        int fd[2];
        if (tcp) {
            tcp_pair(fd);
        } else {
            local_pair(fd);
        }
        rec_adopt(rec_init(&w->rec[i], &w->scene), fd[0]);
        w->rec[i].data = data;
        w->rec[i].number = (size_t)i;
        w->peer[i] = fd[1];
    }
    settle_conn(&w->scene);
}

static void crowd_close(struct crowd *w) {
    for (int i = 0; i < w->count; i++) {
        CHECK_EQ(close(w->peer[i]), 0);
    }
    scene_close(&w->scene);
    for (int i = 0; i < w->count; i++) {
        CHECK_EQ(w->rec[i].closeds, 1);
        rec_free(&w->rec[i]);
    }
}

static struct crowd crowd; /* too large for a stack */

static ptrdiff_t echo(struct rec *r, const char *data, size_t len) {
    CHECK_EQ(xev_conn_write(r->conn, data, len), 0);
    return (ptrdiff_t)len;
}

static char text[200000];

static ptrdiff_t reply_3000(struct rec *r, const char *data, size_t len) {
    (void)data;
    char own[3000];
    pattern(own, sizeof own, r->number);
    CHECK_EQ(xev_conn_write(r->conn, own, sizeof own), 0);
    memset(own, 0, sizeof own); /* it was copied */
    return (ptrdiff_t)len;
}

TEST(replies_of_one_turn_take_no_calls_of_their_own) {
    crowd_open(&crowd, NULL, MANY, true, echo);
    for (int i = 0; i < MANY; i++) {
        plain_send(crowd.peer[i], (char[]){(char)(i % 100), 'x'}, 2);
    }
    sends = 0;
    for (int i = 0; i < MANY; i++) {
        while (crowd.rec[i].got_len < 2) {
            run(&crowd.scene);
        }
    }
    run(&crowd.scene);
    if (joins(&crowd.scene)) {
        CHECK_LE(sends, MANY / 2); /* 0, but what waits in a turn that takes long may lack room */
    } else {
        CHECK_EQ(sends, MANY);
    }
    for (int i = 0; i < MANY; i++) {
        char back[2];
        plain_recv(crowd.peer[i], back, sizeof back);
        CHECK_EQ(back[0], i % 100);
    }
    CHECK_EQ(counters_of(&crowd.scene).bytes_out, 2 * MANY); /* and no more */
    crowd_close(&crowd);
}

/* The budget of system calls, as the loop counts them. */
TEST(an_echo_costs_two_calls_or_a_sixteenth_beside_the_turns) {
    xev_loop_metrics before, after;
    crowd_open(&crowd, NULL, 64, true, echo);
    xev_loop_metrics_get(&crowd.scene.net.loop, &before);
    for (int round = 1; round <= 20; round++) {
        for (int i = 0; i < crowd.count; i++) {
            plain_send(crowd.peer[i], "x", 1);
        }
        for (int i = 0; i < crowd.count; i++) { /* else there are more turns with output */
            wait_arrived(crowd.peer[i]);
        }
        for (int i = 0; i < crowd.count; i++) {
            while (crowd.rec[i].got_len < (size_t)round) {
                run(&crowd.scene);
            }
        }
        run(&crowd.scene);
        for (int i = 0; i < crowd.count; i++) {
            char back;
            CHECK_EQ(recv(crowd.peer[i], &back, 1, 0), 1);
        }
    }
    xev_loop_metrics_get(&crowd.scene.net.loop, &after);
    uint64_t calls = after.syscalls - before.syscalls, turns = after.turns - before.turns;
    /* Where a turn takes long, sixteen joint sends go out together. */
    CHECK_LE(calls, 20 * (joins(&crowd.scene) ? 64u / 16 : 2u * 64) + turns);
    crowd_close(&crowd);
}

/* Of one turn, for a slow handler. */
static size_t handled, first_handled;
static bool waits_too_long;

static ptrdiff_t echo_slowly(struct rec *r, const char *data, size_t len) {
    first_handled = handled == 0 ? r->number : first_handled;
    if (handled++ >= 20 && (handled == 21 || waits_too_long)) { /* it is on its way for a while */
        char back[2];
        waits_too_long =
            recv(crowd.peer[first_handled], back, sizeof back, MSG_DONTWAIT | MSG_PEEK) != 1;
    }
    const struct timespec a_while = {.tv_nsec = 1000000};
    CHECK_EQ(nanosleep(&a_while, NULL), 0);
    return echo(r, data, len);
}

TEST(a_reply_does_not_wait_for_all_handlers_of_a_turn_where_they_are_slow) {
    crowd_open(&crowd, NULL, 60, true, echo_slowly);
    for (int i = 0; i < crowd.count; i++) {
        plain_send(crowd.peer[i], "x", 1);
    }
    for (int i = 0; i < crowd.count; i++) {
        while (crowd.rec[i].got_len < 1) {
            handled = 0;
            run(&crowd.scene);
            CHECK(!waits_too_long);
        }
    }
    crowd_close(&crowd);
}

TEST(more_is_written_in_a_turn_than_there_is_room_to_copy) {
    crowd_open(&crowd, NULL, MANY, true, reply_3000);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            plain_send(crowd.peer[i], "x", 1);
        }
        for (int i = 0; i < MANY; i++) {
            recv_running(&crowd.scene, crowd.peer[i], text, 3000);
            check_pattern(text, 3000, (size_t)i);
        }
    }
    crowd_close(&crowd);
}

TEST(several_parts_for_one_connection_in_a_turn_stay_in_order) {
    const xev_loop_options options = {.buffer_bytes = 64, .buffers = 16};
    crowd_open(&crowd, &options, 4, true, echo);
    pattern(text, 6000, 0);
    for (int i = 0; i < 4; i++) {
        plain_send(crowd.peer[i], text, 6000);
    }
    for (int i = 0; i < 4; i++) {
        char back[6000];
        recv_running(&crowd.scene, crowd.peer[i], back, sizeof back);
        check_pattern(back, sizeof back, 0);
    }
    crowd_close(&crowd);
}

TEST(few_buffers_and_a_small_completion_queue_suffice) {
    const xev_loop_options options = {
        .buffer_bytes = 256, .buffers = 1, .buffers_max = 2, .entries = 4, .cq_entries = 4};
    crowd_open(&crowd, &options, MANY, true, echo);
    pattern(text, 700, 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            plain_send(crowd.peer[i], text, 700);
        }
        for (int i = 0; i < MANY; i++) {
            char back[700];
            recv_running(&crowd.scene, crowd.peer[i], back, sizeof back);
            check_pattern(back, sizeof back, 0);
        }
    }
    crowd_close(&crowd);
}

static ptrdiff_t reply_60000(struct rec *r, const char *data, size_t len) {
    (void)data;
    pattern(text, 60000, 0);
    CHECK_EQ(xev_conn_write(r->conn, text, 60000), 0);
    return (ptrdiff_t)len;
}

TEST(what_a_socket_does_not_take_follows) {
    for (int tcp = 0; tcp < 2; tcp++) {
        crowd_open(&crowd, NULL, 3, tcp != 0, reply_60000);
        for (int i = 0; i < 3; i++) {
            int bytes = 4096;
            CHECK_EQ(setsockopt(xev_conn_fd(crowd.rec[i].conn), SOL_SOCKET, SO_SNDBUF, &bytes,
                                sizeof bytes),
                     0);
            plain_send(crowd.peer[i], "x", 1);
        }
        for (int i = 0; i < 3; i++) {
            run_to(&crowd.scene, &crowd.rec[i].datas, 1);
        }
        for (int i = 0; i < 3; i++) {
            recv_running(&crowd.scene, crowd.peer[i], text, 60000);
            check_pattern(text, 60000, 0);
        }
        CHECK_EQ(counters_of(&crowd.scene).bytes_out, 180000);
        crowd_close(&crowd);
    }
}

static ptrdiff_t reply_and_finish(struct rec *r, const char *data, size_t len) {
    CHECK_EQ(xev_conn_write(r->conn, data, len), 0);
    xev_conn_finish(r->conn);
    return (ptrdiff_t)len;
}

TEST(an_end_comes_behind_what_was_written) {
    crowd_open(&crowd, NULL, 3, true, reply_and_finish);
    for (int i = 0; i < 3; i++) {
        plain_send(crowd.peer[i], "bye", 3);
    }
    for (int i = 0; i < 3; i++) {
        char back[3];
        recv_running(&crowd.scene, crowd.peer[i], back, 3);
        CHECK_MEM_EQ(back, "bye", 3);
        CHECK_EQ(end_running(&crowd.scene, crowd.peer[i]), 0);
    }
    crowd_close(&crowd);
}

/* The first of two in a turn has the other one closed, or uses it in another way. */
static void (*use)(struct rec *r);

static ptrdiff_t echo_then_use(struct rec *r, const char *data, size_t len) {
    (void)echo(r, data, len);
    if (r->number == 1 && use != NULL) {
        use(&crowd.rec[0]);
    }
    return (ptrdiff_t)len;
}

static void abort_it(struct rec *r) { xev_conn_abort(r->conn); }
static void write_more(struct rec *r) { CHECK_EQ(xev_conn_write(r->conn, "+", 1), 0); }
static void write_vector(struct rec *r) {
    const xev_vec vec[] = {{(void *)(uintptr_t) "+", 1}, {(void *)(uintptr_t) "-", 1}};
    CHECK_EQ(xev_conn_writev(r->conn, vec, 2), 0);
}
static int releases;
static void released(void *userdata) {
    (void)userdata;
    releases++;
}
static void lend(struct rec *r) {
    CHECK_EQ(xev_conn_write_lent(r->conn, "+", 1, NULL, released), 0);
}
static void reserve(struct rec *r) {
    xev_conn_slot *slot = xev_conn_reserve(r->conn);
    CHECK(slot != NULL);
    xev_conn_fill(slot, "+", 1);
}
static void write_by_hand(struct rec *r) { CHECK_EQ(write(xev_conn_fd(r->conn), "+", 1), 1); }
static void end_output(struct rec *r) { xev_conn_end_output(r->conn); }
static void stop_loop(struct rec *r) { xev_loop_stop(&r->scene->net.loop); }
static void fork_child(struct rec *r) {
    pid_t child = fork();
    if (child == 0) {
        (void)xev_conn_fd(r->conn);
        _exit(0);
    }
    CHECK_GT(child, 0);
    CHECK_EQ(waitpid(child, NULL, 0), child);
}

TEST(whatever_is_done_in_the_same_turn_comes_behind_what_was_written) {
    static const struct {
        void (*use)(struct rec *r);
        const char *expected;
    } rows[] = {
        {write_more, "one+"},    {write_vector, "one+-"}, {lend, "one+"},     {reserve, "one+"},
        {write_by_hand, "one+"}, {end_output, "one"},     {stop_loop, "one"}, {fork_child, "one"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char back[8];
        use = rows[i].use;
        crowd_open(&crowd, NULL, 2, true, echo_then_use);
        for (int k = 0; k < 2; k++) { /* in this order, and both before the turn */
            plain_send(crowd.peer[k], k == 0 ? "one" : "two", 3);
            wait_arrived(crowd.peer[k]);
        }
        run_to(&crowd.scene, &crowd.rec[1].datas, 1);
        if (rows[i].use == stop_loop) { /* it has left the loop by now */
            plain_recv(crowd.peer[1], back, 3);
        } else {
            recv_running(&crowd.scene, crowd.peer[1], back, 3);
        }
        recv_running(&crowd.scene, crowd.peer[0], back, strlen(rows[i].expected));
        CHECK_MEM_EQ(back, rows[i].expected, strlen(rows[i].expected));
        settle_conn(&crowd.scene);
        ssize_t n = recv(crowd.peer[0], back, sizeof back, MSG_DONTWAIT);
        CHECK_EQ(n, rows[i].use == end_output ? 0 : -1);
        crowd_close(&crowd);
    }
    CHECK_EQ(releases, 1);
}

TEST(an_abort_in_the_same_turn_closes_once) {
    use = abort_it;
    crowd_open(&crowd, NULL, 2, true, echo_then_use);
    plain_send(crowd.peer[0], "one", 3);
    plain_send(crowd.peer[1], "two", 3);
    run_to(&crowd.scene, &crowd.rec[0].closeds, 1);
    CHECK_EQ(crowd.rec[0].reason, XEV_CONN_ABORTED);
    crowd_close(&crowd);
}

/* The handler has written something, has another connection's output sent, and writes on. */
static ptrdiff_t reply_around_another(struct rec *r, const char *data, size_t len) {
    static const char part[2][101] = {"012345678901234567890123456789012345678901234567890123456789"
                                      "0123456789012345678901234567890123456"
                                      "789",
                                      "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij"
                                      "abcdefghijabcdefghijabcdefghijabcdefg"
                                      "hij"};
    (void)data;
    CHECK_EQ(xev_conn_write(r->conn, part[0], r->number == 0 ? 50 : 100), 0);
    if (r->number == 1) {
        CHECK_EQ(xev_conn_write(crowd.rec[0].conn, "+", 1), 0);
        CHECK_EQ(xev_conn_write(r->conn, part[1], 100), 0);
        memcpy(text, part[0], 100);
        memcpy(text + 100, part[1], 100);
    }
    return (ptrdiff_t)len;
}

TEST(what_a_handler_has_copied_stays_when_another_one_s_output_is_sent) {
    for (int tcp = 0; tcp < 2; tcp++) {
        char back[200];
        crowd_open(&crowd, NULL, 3, tcp != 0, reply_around_another);
        for (int i = 0; i < 3; i++) {
            plain_send(crowd.peer[i], "x", 1);
        }
        recv_running(&crowd.scene, crowd.peer[1], back, 200);
        CHECK_MEM_EQ(back, text, 200);
        recv_running(&crowd.scene, crowd.peer[0], back, 51);
        CHECK_EQ(back[50], '+');
        recv_running(&crowd.scene, crowd.peer[2], back, 100);
        CHECK_MEM_EQ(back, text, 100);
        crowd_close(&crowd);
    }
}

static int detaches;
static void on_detached(xev_fd fd, const void *data, size_t len, void *userdata) {
    (void)data;
    (void)len;
    (void)userdata;
    detaches++;
    CHECK_EQ(close(fd), 0);
}
static int detached;
static void detach_it(struct rec *r) { detached = xev_conn_detach(r->conn, NULL, on_detached); }

static ptrdiff_t reply_60000_then_use(struct rec *r, const char *data, size_t len) {
    (void)(r->number == 0 ? reply_60000(r, data, len) : echo(r, data, len));
    if (r->number == 1) {
        detach_it(&crowd.rec[0]);
    }
    return (ptrdiff_t)len;
}

TEST(what_is_not_sent_yet_keeps_a_connection_from_being_detached) {
    int bytes = 4096;
    crowd_open(&crowd, NULL, 2, false, reply_60000_then_use);
    CHECK_EQ(
        setsockopt(xev_conn_fd(crowd.rec[0].conn), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
    plain_send(crowd.peer[0], "x", 1);
    plain_send(crowd.peer[1], "y", 1);
    run_to(&crowd.scene, &crowd.rec[1].datas, 1);
    CHECK_EQ(detached, XEV_EBUSY);
    recv_running(&crowd.scene, crowd.peer[0], text, 60000);
    check_pattern(text, 60000, 0);
    CHECK_EQ(detaches, 0);
    crowd_close(&crowd);
}

TEST(a_reset_peer_fails_its_connection_alone) {
    crowd_open(&crowd, NULL, 3, true, reply_3000);
    const struct linger reset = {1, 0};
    for (int i = 0; i < 3; i++) {
        plain_send(crowd.peer[i], "x", 1);
    }
    CHECK_EQ(setsockopt(crowd.peer[1], SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    CHECK_EQ(close(crowd.peer[1]), 0);
    run_to(&crowd.scene, &crowd.rec[1].closeds, 1);
    CHECK_EQ(crowd.rec[1].reason, XEV_CONN_FAILED);
    crowd.peer[1] = dup(crowd.peer[0]);
    for (int i = 0; i < 3; i += 2) {
        recv_running(&crowd.scene, crowd.peer[i], text, 3000);
        check_pattern(text, 3000, (size_t)i);
    }
    crowd_close(&crowd);
}

/* ---- memory ---- */

/* The loaned buffers, and what handlers' output is copied to, stand next to each other, as whole
 * pages of the system's often do. */
enum { BUFFERS = 4, BUFFER_BYTES = 320, ROOM_BYTES = 64 * 1024 };
static _Alignas(64) char next_to_each_other[BUFFERS * BUFFER_BYTES + ROOM_BYTES];
static bool buffers_given, room_given;

static void *allocate(size_t bytes, size_t alignment, void *userdata) {
    (void)userdata;
    if (bytes == BUFFERS * BUFFER_BYTES && !buffers_given) {
        buffers_given = true;
        return next_to_each_other;
    }
    if (bytes == ROOM_BYTES && !room_given) {
        room_given = true;
        return next_to_each_other + BUFFERS * BUFFER_BYTES;
    }
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void release(void *memory, size_t bytes, void *userdata) {
    (void)bytes;
    (void)userdata;
    uintptr_t at = (uintptr_t)memory - (uintptr_t)next_to_each_other;
    if (at >= sizeof next_to_each_other) {
        free(memory);
    }
}

/* The first of two echoes a whole buffer, and a copy behind it; the other one writes a copy. */
static ptrdiff_t echo_and_copy(struct rec *r, const char *data, size_t len) {
    char own[100];
    memset(own, r->number == 0 ? 'a' : 'b', sizeof own);
    if (len == BUFFER_BYTES) {
        CHECK_EQ(xev_conn_write(r->conn, data, len), 0);
    }
    CHECK_EQ(xev_conn_write(r->conn, own, sizeof own), 0);
    return (ptrdiff_t)len;
}

TEST(a_loan_and_a_copy_that_stand_side_by_side_are_told_apart) {
    const xev_loop_options options = {.buffer_bytes = BUFFER_BYTES,
                                      .buffers = BUFFERS,
                                      .buffers_max = BUFFERS,
                                      .allocator = {allocate, release, NULL}};
    char back[BUFFER_BYTES + 100], full[BUFFER_BYTES], copy[100];
    pattern(full, sizeof full, 0);
    memset(copy, 'a', sizeof copy);
    crowd_open(&crowd, &options, 2, true, echo_and_copy);
    CHECK(!joins(&crowd.scene) || (buffers_given && room_given));
    for (int round = 0; round < 2 * BUFFERS; round++) { /* each buffer once, at least */
        plain_send(crowd.peer[0], full, sizeof full);
        plain_send(crowd.peer[1], "x", 1);
        recv_running(&crowd.scene, crowd.peer[0], back, sizeof back);
        CHECK_MEM_EQ(back, full, sizeof full);
        CHECK_MEM_EQ(back + sizeof full, copy, sizeof copy);
        recv_running(&crowd.scene, crowd.peer[1], back, 100);
        CHECK_EQ(back[0], 'b');
        plain_send(crowd.peer[1], "y", 1); /* so that the buffers change places */
        recv_running(&crowd.scene, crowd.peer[1], back, 100);
    }
    crowd_close(&crowd);
}

/* ---- the loop ends meanwhile ---- */

static ptrdiff_t echo_and_pause(struct rec *r, const char *data, size_t len) {
    if (r->datas > 1) {
        (void)echo(r, data, len);
    }
    xev_conn_pause(r->conn);
    return r->datas > 1 ? (ptrdiff_t)len : 0;
}

static xev_cb_action never(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    (void)userdata;
    return XEV_DISARM;
}

/* A host prepares a wait, in which a handler writes. */
static void *prepare_wait(void *arg) {
    static xev_completion timer, cancel;
    struct scene *s = &crowd.scene;
    (void)arg;
    xev_completion_zero(&timer);
    xev_completion_zero(&cancel);
    crowd_open(&crowd, NULL, 2, true, echo_and_pause);
    plain_send(crowd.peer[0], "one", 3);
    run_to(s, &crowd.rec[0].datas, 1);
    plain_send(crowd.peer[0], "two", 3); /* ends the receive */
    settle_conn(s);
    xev_conn_resume(crowd.rec[0].conn);
    /* Something is due at once, so the loop need not look at the ring. */
    xev_timer_run(NULL, &s->net.loop, &timer, 3600000, NULL, never);
    xev_cancel(&s->net.loop, &timer, &cancel, NULL, never);
    CHECK_EQ(xev_loop_prepare_wait_ns(&s->net.loop), 0);
    CHECK_EQ(crowd.rec[0].datas, 2);
    return NULL;
}

/* It does not run the loop, but ends it. */
static void end_it(void) {
    struct scene *s = &crowd.scene;
    char back[3];
    xev_loop_deinit(&s->net.loop);
    CHECK_EQ(recv(crowd.peer[0], back, 3, MSG_DONTWAIT), 3);
    CHECK_MEM_EQ(back, "one", 3);
    xev_conn_service_free(s->service);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(close(crowd.peer[i]), 0);
        CHECK_EQ(crowd.rec[i].closeds, 1);
        rec_free(&crowd.rec[i]);
    }
}

TEST(a_loop_that_its_host_ends_has_sent_what_was_written) {
    (void)prepare_wait(NULL);
    end_it();
}

TEST(a_loop_whose_thread_has_ended_sends_what_was_written) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, prepare_wait, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    end_it();
}

/* ---- a forked child that gives back its copy ---- */

static void child_ends_its_copy(struct rec *r) {
    struct scene *s = r->scene;
    pid_t child = fork();
    if (child == 0) {
        xev_loop_deinit(&s->net.loop);
        xev_conn_service_free(s->service);
        _exit(crowd.rec[0].closeds + crowd.rec[1].closeds == 2 ? 0 : 1);
    }
    int status;
    CHECK_GT(child, 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

TEST(a_child_that_ends_its_copy_in_a_handler_leaves_the_parents_output_alone) {
    char back[8];
    use = child_ends_its_copy;
    crowd_open(&crowd, NULL, 2, true, echo_then_use);
    plain_send(crowd.peer[0], "one", 3);
    plain_send(crowd.peer[1], "two", 3);
    run_to(&crowd.scene, &crowd.rec[1].datas, 1);
    for (int i = 0; i < 2; i++) {
        recv_running(&crowd.scene, crowd.peer[i], back, 3);
        CHECK_MEM_EQ(back, i == 0 ? "one" : "two", 3);
        settle_conn(&crowd.scene);
        CHECK_EQ(recv(crowd.peer[i], back, sizeof back, MSG_DONTWAIT), -1);
    }
    crowd_close(&crowd);
}

static ptrdiff_t reply_much(struct rec *r, const char *data, size_t len) {
    (void)data;
    for (int i = 0; i < 20; i++) { /* more than the sockets take */
        CHECK_EQ(xev_conn_write(r->conn, text, sizeof text), 0);
    }
    return (ptrdiff_t)len;
}

TEST(a_child_that_ends_its_copy_resets_no_connection_of_its_parents) {
    int bytes = 4096;
    crowd_open(&crowd, NULL, 2, true, reply_much);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(
            setsockopt(xev_conn_fd(crowd.rec[i].conn), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes),
            0);
        plain_send(crowd.peer[i], "x", 1);
    }
    run_to(&crowd.scene, &crowd.rec[1].datas, 1);
    CHECK_GT(xev_conn_queued_bytes(crowd.rec[0].conn), 0);
    child_ends_its_copy(&crowd.rec[0]);
    for (int i = 0; i < 2; i++) {
        struct linger linger;
        socklen_t len = sizeof linger;
        int fd = xev_conn_fd(crowd.rec[i].conn);
        CHECK_EQ(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len), 0);
        CHECK_EQ(linger.l_onoff, 0);
    }
    crowd_close(&crowd);
}
