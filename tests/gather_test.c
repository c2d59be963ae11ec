/* Replies of other shards: in the order of the requests, of one shard or of many, with so many
 * bytes under way and no more, and for connections that go away meanwhile. */
#include <sys/socket.h>

#include "tests/shard_scene.h"
#include "xev/gather.h"

enum { SHARDS = 3, REQUESTS = 3000 };

struct user {
    uint32_t before; /* so that the share is not at the beginning */
    xev_gather_share share;
    xev_gather *open;
};

static xev_conn_service *service; /* of shard 0 */
static int peer;                  /* the other end of its connection */
static pthread_t client;
static int parts, closed;
static xev_gatherer gatherer;
static const xev_conn_handlers *handlers;
static size_t ask_bytes = 1000;
static bool never_drains;
static uint32_t high_bytes;

/* ---- the scene ---- */

static void open_connection(xev_shard *self) {
    int fd[2];
    xev_conn *conn;
    const xev_conn_options options = {
        .handlers = handlers, .user_bytes = sizeof(struct user), .high_bytes = high_bytes};
    CHECK_EQ(xev_conn_service_new(&service, xev_shard_loop(self), &options), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    peer = fd[1];
    CHECK_EQ(xev_conn_adopt(service, fd[0], &conn), 0);
}

static void drain_service(xev_shard *self) {
    if (xev_shard_id(self) == 0 && !never_drains) {
        xev_conn_service_drain(service);
    }
}

static void free_service(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        xev_conn_service_free(service);
    }
}

static int run(const xev_conn_handlers *h, void (*body)(xev_shard *self)) {
    handlers = h;
    gatherer.share_offset = offsetof(struct user, share);
    sc.body = body;
    sc.drain = drain_service;
    sc.deinit = free_service;
    int rc = scene_run(SHARDS);
    CHECK_EQ(gatherer.under_way_bytes, 0);
    CHECK_EQ(closed, 1);
    return rc;
}

static void on_closed(xev_conn *c, xev_conn_reason reason, int code) {
    const struct user *u = xev_conn_user(c);
    (void)reason;
    (void)code;
    CHECK_EQ(u->before, 0);
    closed++;
}

/* ---- requests of one byte ----
 *
 * '0' to '2': that shard answers with the byte. 'S': all shards answer; the reply is the sum of
 * their numbers. 'L': it is written here. 'X': the argument is too long to be asked. 'E': nothing
 * is filled. */

static xev_cb_action answer_from_timer(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    (void)loop;
    CHECK_EQ(result, 0);
    xev_ask_answer(userdata, '1', "1", 1);
    free(c);
    return XEV_DISARM;
}

/* Some of shard 1 come later than those behind them. */
static void answer_byte(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    static int asked;
    char byte = (char)('0' + xev_shard_id(self));
    CHECK_EQ(len, ask_bytes);
    CHECK_EQ(((const char *)argument)[len - 1], 'a');
    if (byte == '1' && asked++ % 3 == 0) {
        xev_completion *c = calloc(1, sizeof *c);
        CHECK(c != NULL);
        xev_timer_run(NULL, xev_shard_loop(self), c, 1, ask, answer_from_timer);
    } else {
        xev_ask_answer(ask, byte, &byte, 1);
    }
}

struct sum {
    uint32_t sum, asked, answered;
    char kind;
};

static void add_part(xev_gather *g, int result, const void *answer, size_t len) {
    struct sum *sum = xev_gather_user(g);
    CHECK(xev_gather_gatherer(g) == &gatherer);
    parts++;
    sum->answered++;
    if (sum->kind == 'X') {
        CHECK_EQ(result, XEV_EMSGSIZE);
        xev_gather_fill(g, "!", 1);
    } else if (sum->kind == 'S' || sum->kind == 'E') {
        CHECK_EQ(len, 1);
        sum->sum += (uint32_t)result - '0';
    } else {
        CHECK_EQ(result, sum->kind);
        xev_gather_fill(g, answer, len);
    }
}

static void all_parts(xev_gather *g) {
    const struct sum *sum = xev_gather_user(g);
    char byte = (char)('0' + sum->sum);
    CHECK_EQ(sum->answered, sum->asked);
    if (sum->kind == 'S') {
        xev_gather_fill(g, &byte, 1);
    }
}

static void ask_one(xev_gather *g, uint32_t to) {
    static char argument[1 << 17], last[] = "a";
    struct sum *sum = xev_gather_user(g);
    xev_vec vec[] = {{argument, ask_bytes - 1}, {last, 1}};
    vec[0].len_bytes = sum->kind == 'X' ? sizeof argument : vec[0].len_bytes;
    sum->asked++;
    xev_gather_ask(g, xev_runtime_shard(&sc.rt, to), vec, 2, ask_bytes);
    CHECK_LE(gatherer.under_way_bytes,
             gatherer.conn_max_bytes > 0 ? gatherer.conn_max_bytes : 2000);
}

static ptrdiff_t serve_bytes(xev_conn *c, const void *data, size_t len) {
    const char *bytes = data;
    for (size_t i = 0; i < len; i++) {
        size_t needed = ask_bytes * (bytes[i] == 'S' || bytes[i] == 'E' ? SHARDS : 1);
        if (bytes[i] == 'L') {
            CHECK_EQ(xev_conn_write(c, "L", 1), 0);
            continue;
        }
        if (!xev_gather_may_ask(&gatherer, c, needed)) {
            return (ptrdiff_t)i;
        }
        xev_gather *g = xev_gather_new(&gatherer, c, sizeof(struct sum));
        CHECK(g != NULL);
        ((struct sum *)xev_gather_user(g))->kind = bytes[i];
        if (bytes[i] == 'S' || bytes[i] == 'E') {
            for (uint32_t to = 0; to < SHARDS; to++) {
                ask_one(g, to);
            }
        } else {
            ask_one(g, bytes[i] == 'X' ? 1 : (uint32_t)(bytes[i] - '0'));
        }
        xev_gather_end(g);
    }
    return (ptrdiff_t)len;
}

static void *send_and_compare(void *arg) {
    static char out[REQUESTS + 1], in[REQUESTS + 1], expected[REQUESTS + 1];
    size_t len = 0;
    (void)arg;
    for (int i = 0; i < REQUESTS; i++) {
        static const char kinds[] = "012S1L1XE1S1";
        out[i] = kinds[i * 7 % 12];
        if (out[i] != 'E') {
            expected[len++] = out[i] == 'S' ? '3' : out[i] == 'X' ? '!' : out[i];
        }
    }
    CHECK_EQ(send(peer, out, REQUESTS, MSG_NOSIGNAL), REQUESTS);
    CHECK_EQ(recv(peer, in, len, MSG_WAITALL), (ssize_t)len);
    CHECK_STR_EQ(in, expected);
    CHECK_EQ(close(peer), 0);
    xev_runtime_stop(&sc.rt);
    return NULL;
}

static void zero_serves_bytes(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        open_connection(self);
        client = thread_start(send_and_compare, NULL);
    }
}

static void check_bytes(uint32_t conn_max_bytes) {
    static const xev_conn_handlers h = {.data = serve_bytes, .closed = on_closed};
    gatherer.ask = answer_byte;
    gatherer.part = add_part;
    gatherer.all = all_parts;
    gatherer.conn_max_bytes = conn_max_bytes;
    sc.o.ask_bytes = 1 << 16;
    CHECK_EQ(run(&h, zero_serves_bytes), 0);
    thread_join(client);
}

TEST(replies_go_out_in_the_order_of_the_requests) { check_bytes(1 << 20); }
TEST(no_more_than_the_limit_is_under_way) { check_bytes(5000); }

/* One gather is above the limit by itself: it is the only one then. */
TEST(what_is_above_the_limit_goes_alone) {
    ask_bytes = 2000;
    gatherer.max_bytes = 1;
    check_bytes(6000);
}

/* ---- the connection goes away ---- */

static xev_ask *kept[SHARDS];
static int kept_len;
static xev_message answer_now;

static void keep_ask(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    CHECK_EQ(xev_shard_id(self), 1);
    CHECK_EQ(len, 0);
    (void)argument;
    kept[kept_len++] = ask;
}

static void answer_kept(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    CHECK_EQ(kept_len, 3);
    for (int i = 0; i < 3; i++) {
        xev_ask_answer(kept[i], 0, NULL, 0);
    }
}

static void count_part(xev_gather *g, int result, const void *answer, size_t len) {
    (void)g;
    (void)answer;
    CHECK_EQ(len, 0);
    CHECK(result == 0 || result == XEV_ECANCELED);
    parts++;
}

static void fill_and_stop(xev_gather *g) {
    CHECK_EQ(parts, 3);
    CHECK_EQ(gatherer.under_way_bytes, 0);
    CHECK(xev_gather_conn(g) == NULL);
    xev_gather_fill(g, "x", 1); /* goes nowhere */
    xev_runtime_stop(&sc.rt);
}

static ptrdiff_t ask_and_abort(xev_conn *c, const void *data, size_t len) {
    struct user *u = xev_conn_user(c);
    (void)data;
    u->open = xev_gather_new(&gatherer, c, 0);
    CHECK(u->open != NULL);
    for (int i = 0; i < 3; i++) {
        xev_gather_ask(u->open, xev_runtime_shard(&sc.rt, 1), NULL, 0, 10);
    }
    CHECK_EQ(gatherer.under_way_bytes, 30);
    if (gatherer.all == NULL) { /* the end of the runtime ends it */
        xev_runtime_stop(&sc.rt);
    } else {
        xev_conn_abort(c);
    }
    return (ptrdiff_t)len;
}

static void end_it(xev_conn *c, xev_conn_reason reason, int code) {
    struct user *u = xev_conn_user(c);
    on_closed(c, reason, code);
    CHECK_EQ(close(peer), 0);
    if (reason == XEV_CONN_LOOP_ENDED) {
        xev_gather_drop(u->open);
    } else {
        xev_gather_end(u->open);
        CHECK_EQ(xev_shard_send(xev_runtime_shard(&sc.rt, 1), &answer_now, answer_kept, NULL), 0);
    }
}

static void zero_sends_a_byte(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        open_connection(self);
        CHECK_EQ(send(peer, "a", 1, MSG_NOSIGNAL), 1);
    }
}

static const xev_conn_handlers leaving = {.data = ask_and_abort, .closed = end_it};

TEST(answers_for_a_connection_that_has_gone_are_counted_and_dropped) {
    gatherer.detached = true;
    gatherer.ask = keep_ask;
    gatherer.part = count_part;
    gatherer.all = fill_and_stop;
    CHECK_EQ(run(&leaving, zero_sends_a_byte), 0);
    CHECK_EQ(parts, 3);
}

TEST(one_that_the_end_of_the_loop_leaves_is_dropped) {
    gatherer.ask = keep_ask;
    gatherer.part = count_part;
    sc.o.drain_ms = 100;
    never_drains = true;
    CHECK_EQ(run(&leaving, zero_sends_a_byte), XEV_ETIMEDOUT);
    CHECK_EQ(parts, 3);
}

/* ---- the connection goes away, and what it has asked is cancelled ---- */

static xev_conn *to_abort;
static xev_message abort_now;
static int told;

/* On shard 0: shard 1 keeps all. NULL: it is the client who goes. */
static void abort_conn(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    if (to_abort != NULL) {
        xev_conn_abort(to_abort);
    } else {
        CHECK_EQ(close(peer), 0);
    }
}

static void forget_ask(xev_shard *self, xev_ask *ask, void *userdata) {
    CHECK_EQ(xev_shard_id(self), 1);
    CHECK(userdata == &kept && xev_ask_is_over(ask));
    told++;
    xev_ask_answer(ask, 0, "nobody", 6);
}

static void watch_ask(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    keep_ask(self, ask, argument, len);
    CHECK(xev_ask_watch(ask, &kept, forget_ask));
    if (kept_len == 3) {
        CHECK_EQ(xev_shard_send(xev_runtime_shard(&sc.rt, 0), &abort_now, abort_conn, NULL), 0);
    }
}

static void never_asked(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)ask;
    (void)argument;
    (void)len;
    CHECK_FAIL("the connection has gone");
}

static void part_for_nobody(xev_gather *g, int result, const void *answer, size_t len) {
    count_part(g, result, answer, len);
    CHECK_EQ(result, parts == 1 ? 0 : XEV_ECANCELED);
    if (parts == 3) { /* one more, for nobody */
        gatherer.ask = never_asked;
        xev_gather_ask(g, xev_runtime_shard(&sc.rt, 0), NULL, 0, 10);
        xev_gather_end(g);
    }
}

static void fill_for_nobody(xev_gather *g) {
    CHECK_EQ(parts, 4);
    CHECK(xev_gather_conn(g) == NULL);
    xev_runtime_stop(&sc.rt);
}

static ptrdiff_t ask_and_wait(xev_conn *c, const void *data, size_t len) {
    (void)data;
    to_abort = c;
    xev_gather *g = xev_gather_new(&gatherer, c, 0);
    CHECK(g != NULL);
    for (int i = 0; i < 3; i++) {
        xev_gather_ask(g, xev_runtime_shard(&sc.rt, 1), NULL, 0, 10);
    }
    return (ptrdiff_t)len;
}

static void close_peer(xev_conn *c, xev_conn_reason reason, int code) {
    on_closed(c, reason, code);
    CHECK_EQ(close(peer), 0);
}

/* The second one is answered. */
static void watch_or_answer(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    watch_ask(self, ask, argument, len);
    if (kept_len == 2) {
        xev_ask_answer(ask, 0, NULL, 0);
    }
}

TEST(what_a_connection_has_asked_is_cancelled_when_it_ends) {
    static const xev_conn_handlers h = {.data = ask_and_wait, .closed = close_peer};
    gatherer.ask = watch_or_answer;
    gatherer.part = part_for_nobody;
    gatherer.all = fill_for_nobody;
    CHECK_EQ(run(&h, zero_sends_a_byte), 0);
    CHECK_EQ(parts, 4);
    CHECK_EQ(told, 2);
}

static xev_conn_slot *late_slot;

static void fill_slot(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    (void)self;
    CHECK_EQ(result, XEV_ECANCELED);
    CHECK_EQ(len, 0);
    CHECK(xev_conn_slot_conn(userdata) == NULL);
    xev_conn_fill(userdata, answer, len);
    if (++parts == 4) {
        xev_runtime_stop(&sc.rt);
    }
}

static ptrdiff_t ask_for_slots(xev_conn *c, const void *data, size_t len) {
    (void)data;
    for (int i = 0; i < 3; i++) {
        xev_conn_slot *slot = xev_conn_reserve(c);
        CHECK(slot != NULL);
        CHECK_EQ(xev_conn_ask(slot, xev_runtime_shard(&sc.rt, 1), NULL, 0, 0, watch_ask, slot,
                              fill_slot),
                 0);
    }
    late_slot = xev_conn_reserve(c);
    CHECK(late_slot != NULL);
    return (ptrdiff_t)len;
}

static void ask_too_late(xev_conn *c, xev_conn_reason reason, int code) {
    on_closed(c, reason, code);
    xev_shard *to = xev_runtime_shard(&sc.rt, 0);
    CHECK_EQ(xev_conn_ask(late_slot, to, NULL, 0, 0, never_asked, late_slot, fill_slot), 0);
}

TEST(the_ask_for_a_slot_is_cancelled_when_its_client_goes) {
    static const xev_conn_handlers h = {
        .data = ask_for_slots, .ended = xev_conn_abort, .closed = ask_too_late};
    CHECK_EQ(run(&h, zero_sends_a_byte), 0);
    CHECK_EQ(parts, 4);
    CHECK_EQ(told, 3);
}

/* ---- one ask after the other ---- */

enum { CHAIN = 20 }; /* the last one is too long */
static bool leaves;

static void ask_next(xev_gather *g) {
    static char a[] = "a";
    const xev_vec vec = {a, parts + 1 < CHAIN ? 1 : SIZE_MAX};
    xev_gather_ask(g, xev_runtime_shard(&sc.rt, (uint32_t)parts % SHARDS), &vec, 1, 10);
}

static void ask_next_or_end(xev_gather *g, int result, const void *answer, size_t len) {
    CHECK_EQ(result, parts + 1 < CHAIN ? '0' + parts % SHARDS : XEV_EMSGSIZE);
    if (parts++ == 0) {
        xev_conn *c = xev_gather_conn(g);
        xev_gather_fill(g, answer, len);
        if (leaves) {
            xev_conn_abort(c); /* and what is asked now goes on: there is no reply to wait for */
        }
    }
    if (parts < CHAIN) {
        ask_next(g);
    } else {
        xev_gather_end(g);
        CHECK(xev_gather_user(g) != NULL); /* it stays until this returns */
    }
}

static void end_chain(xev_gather *g) {
    CHECK_EQ(parts, CHAIN);
    CHECK(xev_gather_conn(g) == NULL);
    CHECK_EQ(close(peer), 0);
    xev_runtime_stop(&sc.rt);
}

static ptrdiff_t begin_chain(xev_conn *c, const void *data, size_t len) {
    (void)data;
    xev_gather *g = xev_gather_new(&gatherer, c, 0);
    CHECK(g != NULL);
    ask_next(g);
    return (ptrdiff_t)len;
}

static void run_chain(void) {
    static const xev_conn_handlers h = {.data = begin_chain, .closed = on_closed};
    ask_bytes = 1;
    gatherer.ask = answer_byte;
    gatherer.part = ask_next_or_end;
    gatherer.all = end_chain;
    CHECK_EQ(run(&h, zero_sends_a_byte), 0);
    CHECK_EQ(parts, CHAIN);
}

TEST(a_part_asks_the_next_one_and_ends_the_gather) { run_chain(); }

TEST(what_is_asked_behind_a_reply_is_not_cancelled) {
    leaves = true;
    run_chain();
}

/* ---- a shard that is late ---- */

static xev_conn *asking_conn;
static xev_ask *late_ask;
static xev_message answer_late;

static void keep_late(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    late_ask = ask;
}

static void answer_and_stop(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    if (late_ask != NULL) { /* else it was over before it could be handled */
        CHECK(xev_ask_is_over(late_ask));
        xev_ask_answer(late_ask, 0, "l", 1); /* goes nowhere */
    }
    xev_runtime_stop(&sc.rt);
}

static void fill_without_answer(xev_gather *g, int result, const void *answer, size_t len) {
    (void)answer;
    CHECK_EQ(result, XEV_ETIMEDOUT);
    CHECK_EQ(len, 0);
    CHECK_EQ(gatherer.under_way_bytes, 0);
    CHECK(xev_gather_conn(g) == asking_conn);
    xev_gather_fill(g, "t", 1);
    CHECK(xev_gather_conn(g) == NULL);
    parts++;
}

static ptrdiff_t ask_for_late(xev_conn *c, const void *data, size_t len) {
    (void)data;
    asking_conn = c;
    xev_gather *g = xev_gather_new(&gatherer, c, 0);
    CHECK(g != NULL);
    CHECK(xev_gather_conn(g) == c);
    xev_gather_ask(g, xev_runtime_shard(&sc.rt, 1), NULL, 0, 10);
    xev_gather_end(g);
    return (ptrdiff_t)len;
}

static void *expect_t(void *arg) {
    char in = 0;
    (void)arg;
    CHECK_EQ(send(peer, "a", 1, MSG_NOSIGNAL), 1);
    CHECK_EQ(recv(peer, &in, 1, MSG_WAITALL), 1);
    CHECK_EQ(in, 't');
    CHECK_EQ(close(peer), 0);
    CHECK_EQ(xev_shard_send(xev_runtime_shard(&sc.rt, 1), &answer_late, answer_and_stop, NULL), 0);
    return NULL;
}

static void zero_serves_impatient(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        open_connection(self);
        client = thread_start(expect_t, NULL);
    }
}

TEST(a_deadline_ends_the_wait_for_a_shard) {
    static const xev_conn_handlers h = {.data = ask_for_late, .closed = on_closed};
    gatherer.ask = keep_late;
    gatherer.part = fill_without_answer;
    gatherer.timeout_ms = 100;
    CHECK_EQ(run(&h, zero_serves_impatient), 0);
    thread_join(client);
    CHECK_EQ(parts, 1);
}

/* ---- a peer that does not read ---- */

enum { MANY_BYTES = 4 << 20 };
static int refused;

/* At the first call output is written that the peer has not read, and nothing may be asked. */
static ptrdiff_t serve_after_output(xev_conn *c, const void *data, size_t len) {
    static char text[MANY_BYTES];
    (void)data;
    if (refused == 0) {
        CHECK_EQ(xev_conn_write(c, text, sizeof text), 0);
    }
    if (!xev_gather_may_ask(&gatherer, c, 1)) {
        refused++;
        return 0;
    }
    CHECK_EQ(xev_conn_write(c, "L", 1), 0);
    return (ptrdiff_t)len;
}

static void *read_late(void *arg) {
    static char in[MANY_BYTES + 1];
    (void)arg;
    CHECK_EQ(send(peer, "a", 1, MSG_NOSIGNAL), 1);
    CHECK_EQ(recv(peer, in, sizeof in, MSG_WAITALL), sizeof in);
    CHECK_EQ(in[MANY_BYTES], 'L');
    CHECK_EQ(close(peer), 0);
    xev_runtime_stop(&sc.rt);
    return NULL;
}

static void zero_serves_late_reader(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        open_connection(self);
        client = thread_start(read_late, NULL);
    }
}

TEST(output_that_waits_holds_asks_back_until_it_has_gone) {
    static const xev_conn_handlers h = {.data = serve_after_output, .closed = on_closed};
    refused = 0;
    CHECK_EQ(run(&h, zero_serves_late_reader), 0);
    CHECK_EQ(pthread_join(client, NULL), 0);
    CHECK_GT(refused, 0);
}

/* The peer reads when the loop has made some turns. */
static sem_t turned;
static int turns_left;
static xev_completion turn_timer;

static xev_cb_action on_turn(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    CHECK_EQ(result, 0);
    if (--turns_left > 0) {
        return XEV_REARM;
    }
    sem_give(&turned);
    return XEV_DISARM;
}

static ptrdiff_t serve_and_turn(xev_conn *c, const void *data, size_t len) {
    if (refused == 0) {
        turns_left = 100;
        xev_timer_run(NULL, xev_shard_loop(xev_shard_current()), &turn_timer, 1, NULL, on_turn);
    }
    return serve_after_output(c, data, len);
}

static void *read_after_turns(void *arg) {
    static char in[MANY_BYTES + 1];
    (void)arg;
    CHECK_EQ(send(peer, "a", 1, MSG_NOSIGNAL), 1);
    sem_take(&turned);
    CHECK_EQ(recv(peer, in, sizeof in, MSG_WAITALL), sizeof in);
    CHECK_EQ(in[MANY_BYTES], 'L');
    CHECK_EQ(close(peer), 0);
    xev_runtime_stop(&sc.rt);
    return NULL;
}

static void zero_serves_after_turns(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        open_connection(self);
        client = thread_start(read_after_turns, NULL);
    }
}

TEST(output_below_high_bytes_holds_asks_back_and_the_loop_sleeps) {
    static const xev_conn_handlers h = {.data = serve_and_turn, .closed = on_closed};
    refused = 0;
    high_bytes = 2 * MANY_BYTES;
    sem_new(&turned);
    CHECK_EQ(run(&h, zero_serves_after_turns), 0);
    CHECK_EQ(pthread_join(client, NULL), 0);
    CHECK_GE(refused, 1);
    CHECK_LE(refused, 10);
}

/* ---- a pause of the program's ---- */

static int served_while_paused;
static bool paused;
static xev_completion resume_timer;

static xev_cb_action resume_from_timer(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    paused = false;
    xev_conn_resume(userdata);
    return XEV_DISARM;
}

static void resume_soon(xev_conn *c) {
    xev_timer_run(NULL, xev_shard_loop(xev_shard_current()), &resume_timer, 1, c,
                  resume_from_timer);
}

/* The second ask must wait for the first one's answer, and is refused; the program pauses the
 * connection besides, until some time after that answer. */
static ptrdiff_t ask_and_pause(xev_conn *c, const void *data, size_t len) {
    served_while_paused += paused;
    for (size_t i = 0; i < len; i++) {
        if (!xev_gather_may_ask(&gatherer, c, ask_bytes)) {
            xev_conn_pause(c);
            paused = true;
            return (ptrdiff_t)i;
        }
        xev_gather *g = xev_gather_new(&gatherer, c, sizeof(struct sum));
        CHECK(g != NULL);
        ((struct sum *)xev_gather_user(g))->kind = ((const char *)data)[i];
        ask_one(g, 2);
        xev_gather_end(g);
    }
    return (ptrdiff_t)len;
}

static void part_and_resume(xev_gather *g, int result, const void *answer, size_t len) {
    xev_conn *conn;
    add_part(g, result, answer, len);
    if (paused) {
        CHECK_EQ(xev_conn_find(service, *(xev_conn_handle *)gatherer.userdata, &conn), 0);
        resume_soon(conn);
    }
}

static xev_conn_handle asking;

static void note_asking(xev_conn *c) { asking = xev_conn_handle_of(c); }

static void *send_twos(void *arg) {
    char in[5] = "";
    (void)arg;
    CHECK_EQ(send(peer, "2222", 4, MSG_NOSIGNAL), 4);
    CHECK_EQ(recv(peer, in, 4, MSG_WAITALL), 4);
    CHECK_STR_EQ(in, "2222");
    CHECK_EQ(close(peer), 0);
    xev_runtime_stop(&sc.rt);
    return NULL;
}

static void zero_serves_twos(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        open_connection(self);
        client = thread_start(send_twos, NULL);
    }
}

TEST(a_pause_of_the_program_holds_when_an_answer_has_come) {
    static const xev_conn_handlers h = {
        .opened = note_asking, .data = ask_and_pause, .closed = on_closed};
    gatherer.ask = answer_byte;
    gatherer.part = part_and_resume;
    gatherer.conn_max_bytes = 10;
    gatherer.userdata = &asking;
    ask_bytes = 10;
    CHECK_EQ(run(&h, zero_serves_twos), 0);
    thread_join(client);
    CHECK_EQ(served_while_paused, 0);
}

/* Nothing may be asked before the output has gone; and the program pauses the connection. */
static ptrdiff_t pause_after_output(xev_conn *c, const void *data, size_t len) {
    static char text[MANY_BYTES];
    (void)data;
    served_while_paused += paused;
    if (refused == 0) {
        CHECK_EQ(xev_conn_write(c, text, sizeof text), 0);
    }
    if (refused == 0) {
        xev_conn_pause(c);
        paused = true;
    }
    if (!xev_gather_may_ask(&gatherer, c, 1)) {
        refused++;
        return 0;
    }
    CHECK_EQ(xev_conn_write(c, "L", 1), 0);
    return (ptrdiff_t)len;
}

TEST(a_pause_of_the_program_holds_when_the_output_has_gone) {
    static const xev_conn_handlers h = {
        .data = pause_after_output, .writable = resume_soon, .closed = on_closed};
    CHECK_EQ(run(&h, zero_serves_late_reader), 0);
    CHECK_EQ(pthread_join(client, NULL), 0);
    CHECK_GT(refused, 0);
    CHECK_EQ(served_while_paused, 0);
}
