/* Misuse of gathers ends the program, as in misuse_test.c; sizes that are too large do not. */
#include <sys/socket.h>

#include "tests/death.h"
#include "tests/shard_scene.h"
#include "xev/gather.h"

/* Of calls that must not return. */
#pragma GCC diagnostic ignored "-Wunused-result"

#define DIES(function, argument, ...) DIES_AFTER((void)0, function, argument, __VA_ARGS__)
#define TAKES(function, argument, ...) function(__VA_ARGS__)

static xev_conn_service *service;
static int peer, parts, codes;

static void answer_nothing(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    xev_ask_answer(ask, 0, NULL, 0);
}

static void count_part(xev_gather *g, int result, const void *answer, size_t len) {
    (void)g;
    (void)answer;
    CHECK_EQ(len, 0);
    parts++;
    codes += result < 0;
}

static void stop(xev_gather *g) {
    (void)g;
    CHECK_EQ(parts, 3);
    xev_runtime_stop(&sc.rt);
}

static xev_gatherer good = {.ask = answer_nothing, .part = count_part, .all = stop};
static xev_gatherer no_ask = {.part = count_part}, no_part = {.ask = answer_nothing};

static void never_answered(xev_shard *self, int result, const void *answer, size_t len,
                           void *userdata) {
    (void)self;
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK_FAIL("answered with %d", result);
}

static void misuse_of_a_slot(xev_conn_slot *slot, xev_shard *to) {
    const xev_vec vec = {&parts, sizeof parts}, long_vec = {&parts, SIZE_MAX};
    CHECK(slot != NULL);
    DIES(xev_conn_ask, slot, NULL, to, &vec, 1, 0, answer_nothing, NULL, never_answered);
    DIES(xev_conn_ask, to, slot, NULL, &vec, 1, 0, answer_nothing, NULL, never_answered);
    DIES(xev_conn_ask, vec, slot, to, NULL, 1, 0, answer_nothing, NULL, never_answered);
    DIES(xev_conn_ask, fn, slot, to, &vec, 1, 0, NULL, NULL, never_answered);
    DIES(xev_conn_ask, answered, slot, to, &vec, 1, 0, answer_nothing, NULL, NULL);
    CHECK_EQ(
        TAKES(xev_conn_ask, count, slot, to, &long_vec, 1, 0, answer_nothing, NULL, never_answered),
        XEV_EMSGSIZE);
    CHECK_EQ(TAKES(xev_conn_ask, timeout_ms, slot, to, &long_vec, 1, UINT32_MAX, answer_nothing,
                   NULL, never_answered),
             XEV_EMSGSIZE);
    xev_conn_fill(slot, NULL, 0);
}

static ptrdiff_t misuse(xev_conn *conn, const void *data, size_t len) {
    xev_shard *to = xev_runtime_shard(&sc.rt, 1);
    const xev_vec vec = {&parts, sizeof parts}, long_vec = {&parts, SIZE_MAX};
    (void)data;
    misuse_of_a_slot(xev_conn_reserve(conn), to);
    DIES(xev_gather_may_ask, gatherer, NULL, conn, 1);
    DIES(xev_gather_may_ask, conn, &good, NULL, 1);
    CHECK(TAKES(xev_gather_may_ask, bytes, &good, conn, SIZE_MAX));
    DIES(xev_gather_new, gatherer, NULL, conn, 1);
    DIES(xev_gather_new, gatherer, &no_ask, conn, 1);
    DIES(xev_gather_new, gatherer, &no_part, conn, 1);
    DIES(xev_gather_new, conn, &good, NULL, 1);
    CHECK(TAKES(xev_gather_new, user_bytes, &good, conn, SIZE_MAX) == NULL);
    xev_gather *g = xev_gather_new(&good, conn, 0);
    CHECK(g != NULL);
    DIES(xev_gather_ask, gather, NULL, to, &vec, 1, 1);
    DIES(xev_gather_ask, to, g, NULL, &vec, 1, 1);
    DIES(xev_gather_ask, vec, g, to, NULL, 1, 1);
    TAKES(xev_gather_ask, vec, g, to, &long_vec, 1, 1); /* XEV_EMSGSIZE */
    TAKES(xev_gather_ask, count, g, to, NULL, 0, 1);
    TAKES(xev_gather_ask, bytes, g, to, &vec, 1, SIZE_MAX);
    CHECK_EQ(codes, 1);
    CHECK(!xev_gather_may_ask(&good, conn, 1));
    DIES(xev_gather_drop, gather, g); /* answers are to come */
    DIES(xev_gather_fill, data, g, NULL, 1);
    TAKES(xev_gather_fill, len_bytes, g, "a", 0);
    DIES(xev_gather_fill, gather, g, "a", 1); /* twice */
    DIES(xev_gather_fill, gather, NULL, "a", 1);
    xev_gather_end(g);
    DIES(xev_gather_end, gather, g);
    DIES(xev_gather_end, gather, NULL);
    DIES(xev_gather_drop, gather, NULL);
    DIES(xev_gather_user, gather, NULL);
    DIES(xev_gather_gatherer, gather, NULL);
    DIES(xev_gather_conn, gather, NULL);
    return (ptrdiff_t)len;
}

static void zero_opens(xev_shard *self) {
    static const xev_conn_handlers handlers = {.data = misuse};
    const xev_conn_options options = {.handlers = &handlers,
                                      .user_bytes = sizeof(xev_gather_share)};
    int fd[2];
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(xev_conn_service_new(&service, xev_shard_loop(self), &options), 0);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
        peer = fd[1];
        CHECK_EQ(xev_conn_adopt(service, fd[0], NULL), 0);
        CHECK_EQ(send(peer, "a", 1, MSG_NOSIGNAL), 1);
    }
}

static void drain_service(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(close(peer), 0);
        xev_conn_service_drain(service);
    }
}

static void free_service(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        xev_conn_service_free(service);
    }
}

TEST(misuse_of_gathers_is_caught) {
    sc.body = zero_opens;
    sc.drain = drain_service;
    sc.deinit = free_service;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(good.under_way_bytes, 0);
    CHECK_EQ(parts, 3);
    CHECK_EQ(codes, 1);
}
