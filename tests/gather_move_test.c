/* A connection that is to move to another shard while parts of its replies are on their way. */
#include "tests/serve_scene.h"
#include "xev/gather.h"

enum { SHARDS = 2, PART_BYTES = 600 };

struct user {
    xev_gather_share share;
};

static xev_service *service;
static xev_gatherer gatherer[SHARDS];
static xev_conn *_Atomic conn;
static atomic_uint where;
static atomic_int closeds, helds;
static sem_t told;
static xev_ask *_Atomic kept; /* not answered yet */

static uint32_t self_id(void) { return xev_shard_id(xev_shard_current()); }

/* The first of two is answered at once, the other one when the test says so. */
static void ask_part(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    (void)self;
    CHECK_EQ(len_bytes, 1);
    if (*(const char *)argument == '1') {
        xev_ask_answer(ask, 0, "1", 1);
    } else {
        CHECK(kept == NULL);
        kept = ask;
        sem_give(&told);
    }
}

/* The reply is known early. */
static void on_part(xev_gather *g, int result, const void *answer, size_t len_bytes) {
    CHECK_EQ(result, 0);
    CHECK_EQ(len_bytes, 1);
    if (*(const char *)answer == '1') {
        xev_gather_fill(g, answer, len_bytes);
    }
}

static ptrdiff_t gather_each(xev_conn *c, const void *data, size_t len_bytes) {
    xev_gatherer *of = &gatherer[self_id()];
    char part[] = "12";
    (void)data;
    (void)len_bytes;
    if (!xev_gather_may_ask(of, c, 2 * PART_BYTES)) {
        helds++;
        sem_give(&told);
        return 0;
    }
    xev_gather *g = xev_gather_new(of, c, 0);
    CHECK(g != NULL);
    for (int i = 0; i < 2; i++) {
        const xev_vec vec = {&part[i], 1};
        xev_gather_ask(g, xev_runtime_shard(&runtime, 1), &vec, 1, PART_BYTES);
    }
    xev_gather_end(g);
    return 1;
}

static void on_gather_opened(xev_conn *c) {
    conn = c;
    where = self_id();
    sem_give(&told);
}

static void on_gather_moved(xev_conn *c) {
    const struct user *u = xev_conn_user(c);
    CHECK_EQ(u->share.bytes, 0);
    on_gather_opened(c);
}

static void on_gather_closed(xev_conn *c, xev_conn_reason reason, int code) {
    (void)c;
    (void)code;
    CHECK_EQ(reason, XEV_CONN_ENDED);
    closeds++;
    sem_give(&told);
}

static const xev_conn_handlers gathers = {.opened = on_gather_opened,
                                          .data = gather_each,
                                          .closed = on_gather_closed,
                                          .moved = on_gather_moved};

static void do_move(void) { CHECK_EQ(xev_serve_move(conn, 1), 0); }
static void do_nothing(void) {}
static void do_answer(void) {
    xev_ask *ask = kept;
    CHECK(ask != NULL);
    kept = NULL;
    xev_ask_answer(ask, 0, "2", 1);
}

static void take_reply(int fd) {
    char byte;
    CHECK_EQ(recv(fd, &byte, 1, 0), 1);
    CHECK_EQ(byte, '1');
}

static void move_while_gathering(void) {
    int fd = connect_to(service);
    sem_take(&told); /* opened */
    CHECK_EQ(send(fd, "G", 1, 0), 1);
    sem_take(&told); /* one is kept */
    take_reply(fd);
    CHECK_EQ(send(fd, "G", 1, 0), 1);
    sem_take(&told); /* it has to wait */
    CHECK_EQ(helds, 1);
    call_on(0, do_move);
    for (int i = 0; i < 20; i++) { /* turns of the loop */
        call_on(0, do_nothing);
    }
    CHECK_EQ(where, 0);
    call_on(1, do_answer);
    sem_take(&told); /* moved */
    CHECK_EQ(where, 1);
    sem_take(&told); /* it has asked there */
    take_reply(fd);
    call_on(1, do_answer);
    CHECK_EQ(close(fd), 0);
    while (closeds == 0) {
        sem_take(&told);
    }
}

TEST(a_move_waits_for_the_last_answer) {
    sem_new(&told);
    for (int i = 0; i < SHARDS; i++) {
        gatherer[i] = (xev_gatherer){.ask = ask_part,
                                     .part = on_part,
                                     .share_offset = offsetof(struct user, share),
                                     .conn_max_bytes = 1000};
    }
    xev_service_options o = service_options("g", "127.0.0.1:0");
    o.policy = XEV_SERVE_SINGLE;
    o.conns.handlers = &gathers;
    o.conns.user_bytes = sizeof(struct user);
    service = add_service(&o);
    run_with_clients(SHARDS, move_while_gathering);
    for (uint32_t i = 0; i < SHARDS; i++) {
        CHECK_EQ(gatherer[i].under_way_bytes, 0);
        CHECK_EQ(xev_serve_live(serve, i), 0);
    }
    xev_serve_free(serve);
}
