/* The memory of all connections of a service together: those that hold the most are ended. */
#include "tests/conn_scene.h"

enum { MAX = 1 << 20, MANY = 40 };

static struct scene s;
static struct rec r[MANY];
static int peers[MANY];
static char bytes[2 * MAX];

/* Small buffers of the kernel: what is written is held by the service. */
static void open_many(int count) {
    int fds[2];
    scene_open_options(&s, NULL, (xev_conn_options){.held_max_bytes = MAX, .full_reads = true});
    for (int i = 0; i < count; i++) {
        local_pair(fds);
        small_buffers(fds[0]);
        small_buffers(fds[1]);
        peers[i] = fds[1];
        rec_adopt(rec_init(&r[i], &s), fds[0]);
    }
    settle_conn(&s);
}

static void close_many(int count) {
    for (int i = 0; i < count; i++) {
        CHECK_EQ(close(peers[i]), 0);
    }
    for (int i = 0; i < count; i++) {
        run_to(&s, &r[i].closeds, 1);
    }
    CHECK_EQ(counters_of(&s).held_bytes, 0);
    scene_close(&s);
    for (int i = 0; i < count; i++) {
        rec_free(&r[i]);
    }
}

static uint64_t shed_count(void) { return counters_of(&s).closed[XEV_CONN_TOTAL_FULL]; }

TEST(the_one_that_holds_the_most_is_ended) {
    open_many(5);
    for (int i = 0; i < 5; i++) {
        pattern(bytes, sizeof bytes, 0);
        size_t len = i == 2 ? 600000 : 150000;
        CHECK_EQ(xev_conn_write(r[i].conn, bytes, len), 0);
        CHECK_EQ(r[2].closeds, 0); /* nothing is ended inside a call */
    }
    CHECK_GT(counters_of(&s).held_bytes, MAX);
    run_to(&s, &r[2].closeds, 1);
    CHECK_EQ(r[2].reason, XEV_CONN_TOTAL_FULL);
    CHECK_LT(counters_of(&s).held_bytes, MAX);
    for (int i = 0; i < 5; i++) { /* the others lose nothing */
        static char back[150000];
        if (i != 2) {
            recv_running(&s, peers[i], back, sizeof back);
            check_pattern(back, sizeof back, 0);
        }
    }
    CHECK_EQ(shed_count(), 1);
    CHECK_EQ(counters_of(&s).connections, 4);
    close_many(5);
}

/* The last of these writes passes the limit; an eighth is to be free. */
TEST(of_equals_no_more_are_ended_than_is_needed) {
    open_many(MANY);
    int wrote = 0;
    uint64_t each = 0;
    for (; counters_of(&s).held_bytes <= MAX; wrote++) {
        CHECK_LT(wrote, MANY);
        CHECK_EQ(xev_conn_write(r[wrote].conn, bytes, 60000), 0);
        each = counters_of(&s).held_bytes / (uint64_t)(wrote + 1);
    }
    uint64_t excess = counters_of(&s).held_bytes - (MAX - MAX / 8);
    settle_conn(&s);
    CHECK_GE(shed_count(), excess / each);
    CHECK_LE(shed_count(), excess / each + 1);
    CHECK_LE(counters_of(&s).held_bytes, MAX - MAX / 8);
    close_many(MANY);
}

static ptrdiff_t take_nothing(struct rec *rec, const char *data, size_t len) {
    (void)rec;
    (void)data;
    (void)len;
    return 0;
}

TEST(input_that_waits_counts_as_well) {
    open_many(3);
    r[0].data = take_nothing;
    for (size_t sent = 0; sent < 400000;) { /* which are kept in half a mebibyte */
        ssize_t n = send(peers[0], bytes, 400000 - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        CHECK(n > 0 || errno == EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
        turn(&s);
    }
    settle_conn(&s);
    CHECK_EQ(r[0].closeds, 0);
    CHECK_EQ(xev_conn_write(r[1].conn, bytes, 300000), 0);
    CHECK_EQ(xev_conn_write(r[2].conn, bytes, 300000), 0);
    run_to(&s, &r[0].closeds, 1);
    CHECK_EQ(r[0].reason, XEV_CONN_TOTAL_FULL);
    CHECK_EQ(r[1].closeds + r[2].closeds, 0);
    close_many(3);
}

/* A quarter above the limit there is no more; who asks for it ends, and nobody else needs to. */
TEST(one_turn_does_not_take_without_limit) {
    open_many(2);
    CHECK_EQ(xev_conn_write(r[1].conn, bytes, 100000), 0);
    CHECK_EQ(xev_conn_write(r[0].conn, bytes, 2 * MAX), XEV_ENOMEM);
    CHECK_LE(counters_of(&s).held_bytes, MAX + MAX / 4 + 65536);
    run_to(&s, &r[0].closeds, 1);
    CHECK_EQ(r[0].reason, XEV_CONN_NO_MEMORY);
    settle_conn(&s);
    CHECK_EQ(r[1].closeds, 0);
    CHECK_EQ(shed_count(), 0);
    close_many(2);
}

TEST(there_may_be_no_limit) {
    int fds[2];
    scene_open_options(&s, NULL, (xev_conn_options){.held_max_bytes = UINT64_MAX});
    local_pair(fds);
    small_buffers(fds[0]);
    rec_adopt(rec_init(&r[0], &s), fds[0]);
    settle_conn(&s);
    CHECK_EQ(xev_conn_write(r[0].conn, bytes, sizeof bytes), 0);
    settle_conn(&s);
    CHECK_GT(counters_of(&s).held_bytes, MAX);
    CHECK_EQ(shed_count(), 0);
    peers[0] = fds[1];
    close_many(1);
}
