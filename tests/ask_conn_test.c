/* Answers of other shards to the peers of connections: in the order of the requests, or to nobody
 * where the connection has gone. */
#include <sys/socket.h>

#include "tests/shard_scene.h"
#include "xev/ask.h"
#include "xev/conn.h"

static xev_conn_service *service; /* of shard 0 */
static int peer;                  /* the other end of its connection */
static pthread_t client;
static xev_conn *conn;
static int closed;

static void on_closed(xev_conn *c, xev_conn_reason reason, int code) {
    CHECK(c == conn);
    (void)reason;
    (void)code;
    conn = NULL;
    closed++;
}

static void adopt(void) {
    int fd[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    peer = fd[1];
    CHECK_EQ(xev_conn_adopt(service, fd[0], &conn), 0);
}

static void open_service(xev_shard *self, const xev_conn_handlers *handlers) {
    const xev_conn_options options = {.handlers = handlers, .slots_max = 16};
    CHECK_EQ(xev_conn_service_new(&service, xev_shard_loop(self), &options), 0);
    adopt();
}

static void drain_service(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        xev_conn_service_drain(service);
    }
}

static void free_service(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        xev_conn_service_free(service);
    }
}

static uint32_t orphans(void) {
    xev_conn_counters c;
    xev_conn_service_count(service, &c);
    return c.orphans;
}

/* ---- in order ---- */

enum { REQUESTS = 2000 };

/* Every third one is answered later than those behind it. */
struct later {
    xev_completion timer;
    xev_ask *ask;
    uint8_t byte;
};

static xev_cb_action answer_from_timer(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    struct later *l = userdata;
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    xev_ask_answer(l->ask, 0, &l->byte, 1);
    free(l);
    return XEV_DISARM;
}

static void answer_byte(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    uint8_t byte = *(const uint8_t *)argument;
    CHECK_EQ(len, 1);
    CHECK_EQ(xev_shard_id(self), byte % 2);
    if (byte % 3 != 0) {
        xev_ask_answer(ask, 0, &byte, 1);
        return;
    }
    struct later *l = calloc(1, sizeof *l);
    CHECK(l != NULL);
    l->ask = ask;
    l->byte = byte;
    xev_timer_run(NULL, xev_shard_loop(self), &l->timer, 1, l, answer_from_timer);
}

static void fill(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    (void)self;
    CHECK_EQ(result, 0);
    xev_conn_fill(userdata, answer, len);
}

static ptrdiff_t ask_for_each_byte(xev_conn *c, const void *data, size_t len) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++) {
        xev_conn_slot *slot = xev_conn_reserve(c);
        if (slot == NULL) {
            return (ptrdiff_t)i; /* as many as there may be; called again when one is filled */
        }
        const xev_vec vec = {(void *)(uintptr_t)&bytes[i], 1};
        xev_shard *to = xev_runtime_shard(&sc.rt, bytes[i] % 2);
        CHECK_EQ(xev_shard_ask(to, &vec, 1, 0, answer_byte, slot, fill), 0);
    }
    return (ptrdiff_t)len;
}

static void *pipeline(void *arg) {
    static uint8_t out[REQUESTS], in[REQUESTS];
    (void)arg;
    for (int i = 0; i < REQUESTS; i++) {
        out[i] = (uint8_t)(i * 7);
    }
    CHECK_EQ(send(peer, out, sizeof out, MSG_NOSIGNAL), REQUESTS);
    CHECK_EQ(recv(peer, in, sizeof in, MSG_WAITALL), REQUESTS);
    CHECK_EQ(memcmp(in, out, sizeof in), 0);
    CHECK_EQ(close(peer), 0);
    xev_runtime_stop(&sc.rt);
    return NULL;
}

static void zero_serves_a_pipeline(xev_shard *self) {
    static const xev_conn_handlers handlers = {.data = ask_for_each_byte, .closed = on_closed};
    if (xev_shard_id(self) == 0) {
        open_service(self, &handlers);
        client = thread_start(pipeline, NULL);
    }
}

static void check_pipeline(uint32_t mailbox) {
    sc.o.mailbox = mailbox;
    sc.body = zero_serves_a_pipeline;
    sc.drain = drain_service;
    sc.deinit = free_service;
    CHECK_EQ(scene_run(2), 0);
    thread_join(client);
    CHECK_EQ(closed, 1);
}

TEST(answers_go_out_in_the_order_of_the_requests) { check_pipeline(0); }
TEST(answers_through_full_mailboxes_go_out_in_the_order_of_the_requests) { check_pipeline(2); }

/* ---- the connection is gone ---- */

static xev_ask *kept[3];
static int kept_len, answered;
static xev_message answer_now;
static xev_conn_handle handle;

static void keep_ask(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    CHECK_EQ(xev_shard_id(self), 1);
    CHECK_EQ(len, sizeof handle);
    (void)argument;
    kept[kept_len++] = ask;
}

/* On shard 1. Answers with what it was asked. */
static void answer_kept(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    CHECK_EQ(kept_len, 3);
    for (int i = 0; i < 3; i++) {
        xev_ask_answer(kept[i], 0, &handle, sizeof handle);
    }
}

static void fill_an_orphan(xev_shard *self, int result, const void *answer, size_t len,
                           void *userdata) {
    CHECK_EQ(result, 0);
    CHECK_EQ(orphans(), 3 - answered);
    CHECK(xev_conn_slot_conn(userdata) == NULL);
    xev_conn_fill(userdata, answer, len);
    xev_conn *found = NULL;
    CHECK_EQ(len, sizeof handle);
    CHECK_MEM_EQ(answer, &handle, sizeof handle);
    CHECK_EQ(xev_conn_find(service, handle, &found), XEV_ESTALE); /* though another one is there */
    CHECK(found == NULL);
    CHECK_EQ(xev_conn_find(service, xev_conn_handle_of(conn), &found), 0);
    CHECK(found == conn);
    if (++answered == 3) {
        CHECK_EQ(orphans(), 0);
        CHECK_EQ(close(peer), 0);
        stop_all(self);
    }
}

static ptrdiff_t ask_and_lose_the_peer(xev_conn *c, const void *data, size_t len) {
    (void)data;
    if (len < 3) {
        return 0;
    }
    handle = xev_conn_handle_of(c);
    for (int i = 0; i < 3; i++) {
        xev_conn_slot *slot = xev_conn_reserve(c);
        CHECK(slot != NULL);
        const xev_vec vec = {&handle, sizeof handle};
        CHECK_EQ(
            xev_shard_ask(xev_runtime_shard(&sc.rt, 1), &vec, 1, 0, keep_ask, slot, fill_an_orphan),
            0);
    }
    xev_conn_abort(c);
    return (ptrdiff_t)len;
}

static void let_them_be_answered(xev_conn *c, xev_conn_reason reason, int code) {
    if (reason != XEV_CONN_ABORTED) {
        return;
    }
    on_closed(c, reason, code);
    CHECK_EQ(close(peer), 0);
    adopt(); /* in the place of the one that has gone, as soon as that may be */
    CHECK_EQ(xev_shard_send(xev_runtime_shard(&sc.rt, 1), &answer_now, answer_kept, NULL), 0);
}

static void zero_asks_and_loses(xev_shard *self) {
    static const xev_conn_handlers handlers = {.data = ask_and_lose_the_peer,
                                               .closed = let_them_be_answered};
    if (xev_shard_id(self) == 0) {
        open_service(self, &handlers);
        CHECK_EQ(send(peer, "abc", 3, MSG_NOSIGNAL), 3);
    }
}

TEST(answers_for_a_connection_that_has_gone_are_dropped) {
    sc.body = zero_asks_and_loses;
    sc.drain = drain_service;
    sc.deinit = free_service;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(answered, 3);
    CHECK_EQ(closed, 1);
}

/* ---- the end ---- */

static int cancelled;

static void fill_cancelled(xev_shard *self, int result, const void *answer, size_t len,
                           void *userdata) {
    (void)self;
    (void)answer;
    (void)len;
    CHECK_EQ(result, XEV_ECANCELED);
    CHECK(xev_conn_slot_conn(userdata) == conn); /* the loop and its connections are still there */
    xev_conn_fill(userdata, "-", 1);
    cancelled++;
}

static ptrdiff_t ask_and_stop(xev_conn *c, const void *data, size_t len) {
    (void)data;
    for (int i = 0; i < 3; i++) {
        xev_conn_slot *slot = xev_conn_reserve(c);
        CHECK(slot != NULL);
        const xev_vec vec = {&handle, sizeof handle};
        CHECK_EQ(
            xev_shard_ask(xev_runtime_shard(&sc.rt, 1), &vec, 1, 0, keep_ask, slot, fill_cancelled),
            0);
    }
    xev_runtime_stop(&sc.rt);
    return (ptrdiff_t)len;
}

static void zero_asks_and_stops(xev_shard *self) {
    static const xev_conn_handlers handlers = {.data = ask_and_stop, .closed = on_closed};
    if (xev_shard_id(self) == 0) {
        open_service(self, &handlers);
        CHECK_EQ(send(peer, "abc", 3, MSG_NOSIGNAL), 3);
    }
}

TEST(slots_of_asks_that_are_cancelled_can_be_filled) {
    sc.o.drain_ms = 100;
    sc.body = zero_asks_and_stops;
    sc.deinit = free_service;
    CHECK_EQ(scene_run(2), XEV_ETIMEDOUT);
    CHECK_EQ(cancelled, 3);
    CHECK_EQ(closed, 1);
}
