/* Replies out of order, and ranges of files, in the output of a connection. */
#include "tests/conn_scene.h"

struct pair {
    struct scene scene;
    struct rec rec;
    int peer;
};

static void pair_open(struct pair *p, const xev_loop_options *loop, xev_conn_options options) {
    int fd[2];
    scene_open_options(&p->scene, loop, options);
    tcp_pair(fd);
    rec_adopt(rec_init(&p->rec, &p->scene), fd[0]);
    p->peer = fd[1];
}

static void pair_close(struct pair *p) {
    scene_close(&p->scene);
    rec_free(&p->rec);
}

static xev_conn_slot *slots[64];
static int reserved;

static ptrdiff_t asks(struct rec *r, const char *data, size_t len) {
    (void)data;
    (void)len;
    CHECK_LT(reserved, 64);
    slots[reserved] = xev_conn_reserve(r->conn);
    CHECK(slots[reserved] != NULL);
    CHECK(xev_conn_slot_conn(slots[reserved++]) == r->conn);
    return 1;
}

TEST(replies_go_out_in_the_order_of_their_requests) {
    struct pair p;
    char back[16];
    reserved = 0;
    pair_open(&p, NULL, (xev_conn_options){0});
    p.rec.data = asks;
    plain_send(p.peer, "1234", 4);
    run_to(&p.scene, &reserved, 4);
    CHECK_EQ(xev_conn_write(p.rec.conn, "end", 3), 0); /* behind all of them */
    xev_conn_fill(slots[2], "three", 5);
    xev_conn_fill(slots[1], NULL, 0);
    settle_conn(&p.scene);
    CHECK_EQ(recv(p.peer, back, 16, MSG_DONTWAIT), -1);
    CHECK_EQ(xev_conn_queued_bytes(p.rec.conn), 8);
    xev_conn_fill(slots[0], "one", 3);
    recv_running(&p.scene, p.peer, back, 8);
    CHECK_MEM_EQ(back, "onethree", 8);
    xev_conn_fill(slots[3], "four", 4);
    recv_running(&p.scene, p.peer, back, 7);
    CHECK_MEM_EQ(back, "fourend", 7);
    CHECK_EQ(xev_conn_queued_bytes(p.rec.conn), 0);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

TEST(slots_outlive_their_connection) {
    struct pair p;
    reserved = 0;
    pair_open(&p, NULL, (xev_conn_options){0});
    p.rec.data = asks;
    plain_send(p.peer, "123", 3);
    run_to(&p.scene, &reserved, 3);
    xev_conn_fill(slots[1], "two", 3);
    xev_conn_abort(p.rec.conn);
    CHECK(xev_conn_slot_conn(slots[0]) == p.rec.conn);
    xev_conn_fill(slots[0], "one", 3);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(counters_of(&p.scene).orphans, 1);
    CHECK(xev_conn_slot_conn(slots[2]) == NULL);
    xev_conn_fill(slots[2], "three", 5);
    CHECK_EQ(counters_of(&p.scene).orphans, 0);
    CHECK_EQ(close(p.peer), 0);
    pair_close(&p);
}

TEST(finish_waits_for_slots_to_be_filled) {
    struct pair p;
    char back[3];
    reserved = 0;
    pair_open(&p, NULL, (xev_conn_options){0});
    p.rec.data = asks;
    plain_send(p.peer, "1", 1);
    run_to(&p.scene, &reserved, 1);
    CHECK_EQ(shutdown(p.peer, SHUT_WR), 0);
    run_to(&p.scene, &p.rec.endeds, 1); /* which finishes */
    settle_conn(&p.scene);
    CHECK_EQ(p.rec.closeds, 0);
    CHECK(xev_conn_reserve(p.rec.conn) == NULL);
    xev_conn_fill(slots[0], "one", 3);
    recv_running(&p.scene, p.peer, back, 3);
    CHECK_EQ(end_running(&p.scene, p.peer), 0);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_ENDED);
    CHECK_EQ(close(p.peer), 0);
    pair_close(&p);
}

TEST(reading_stops_at_the_limit_of_slots) {
    struct pair p;
    char back[8];
    reserved = 0;
    pair_open(&p, NULL, (xev_conn_options){.slots_max = 3});
    p.rec.data = asks;
    plain_send(p.peer, "12345678", 8);
    run_to(&p.scene, &reserved, 3);
    settle_conn(&p.scene);
    CHECK_EQ(reserved, 3);
    CHECK(xev_conn_reserve(p.rec.conn) == NULL);
    (void)run_for(&p.scene.net, 2000); /* meanwhile it is looked at for a reset */
    CHECK_EQ(p.rec.closeds, 0);
    for (int i = 0; i < 8; i++) {
        run_to(&p.scene, &reserved, i + 3 < 8 ? i + 3 : 8);
        xev_conn_fill(slots[i], &"abcdefgh"[i], 1);
    }
    recv_running(&p.scene, p.peer, back, 8);
    CHECK_MEM_EQ(back, "abcdefgh", 8);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

/* Nobody reads, so nobody is told; and no answer goes out that would fail. */
TEST(a_reset_is_noticed_at_the_limit_of_slots) {
    struct pair p;
    reserved = 0;
    pair_open(&p, NULL, (xev_conn_options){.slots_max = 3});
    p.rec.data = asks;
    plain_send(p.peer, "12345678", 8);
    run_to(&p.scene, &reserved, 3);
    settle_conn(&p.scene);
    reset_close(p.peer);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_FAILED);
    CHECK_EQ(p.rec.code, XEV_ECONNRESET);
    for (int i = 0; i < 3; i++) {
        xev_conn_fill(slots[i], "x", 1);
    }
    CHECK_EQ(counters_of(&p.scene).orphans, 0);
    pair_close(&p);
}

TEST(a_reset_is_noticed_behind_the_end_of_the_input) {
    struct pair p;
    reserved = 0;
    pair_open(&p, NULL, (xev_conn_options){0});
    p.rec.data = asks;
    plain_send(p.peer, "1", 1);
    CHECK_EQ(shutdown(p.peer, SHUT_WR), 0);
    run_to(&p.scene, &p.rec.endeds, 1);
    settle_conn(&p.scene);
    CHECK_EQ(p.rec.closeds, 0);
    reset_close(p.peer);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_FAILED);
    CHECK_EQ(p.rec.code, XEV_EPIPE);
    xev_conn_fill(slots[0], "x", 1);
    CHECK_EQ(counters_of(&p.scene).orphans, 0);
    pair_close(&p);
}

TEST(a_waiting_slot_is_no_fault_of_the_peers) {
    struct pair p;
    reserved = 0;
    pair_open(&p, NULL, (xev_conn_options){.deadlines = {.write_ms = 60}});
    p.rec.data = asks;
    plain_send(p.peer, "1", 1);
    run_to(&p.scene, &reserved, 1);
    CHECK_EQ(xev_conn_write(p.rec.conn, "x", 1), 0);
    (void)run_for(&p.scene.net, 400);
    CHECK_EQ(p.rec.closeds, 0);
    xev_conn_fill(slots[0], "y", 1);
    char back[2];
    recv_running(&p.scene, p.peer, back, 2);
    CHECK_MEM_EQ(back, "yx", 2);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

/* ---- files ---- */

static void count_release(void *userdata) { ++*(int *)userdata; }

static int file_of(size_t len) {
    char name[] = "/tmp/conn_test.XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);
    CHECK_GE(fd, 0);
    CHECK_EQ(unlink(name), 0);
    char *bytes = malloc(len);
    CHECK(bytes != NULL);
    pattern(bytes, len, 0);
    CHECK_EQ(write(fd, bytes, len), (ssize_t)len);
    free(bytes);
    return fd;
}

static struct file_job {
    int file, released;
    size_t from, len;
} job;

static ptrdiff_t serves_file(struct rec *r, const char *data, size_t len) {
    (void)data;
    CHECK_EQ(xev_conn_write(r->conn, "head", 4), 0);
    CHECK_EQ(
        xev_conn_write_file(r->conn, job.file, job.from, job.len, &job.released, count_release), 0);
    CHECK_EQ(xev_conn_write(r->conn, "tail", 4), 0);
    return (ptrdiff_t)len;
}

static void with_pool(void (*body)(struct pair *p)) {
    xev_threadpool pool;
    struct pair p;
    CHECK_EQ(xev_threadpool_init(&pool, NULL), 0);
    pair_open(&p, &(xev_loop_options){.thread_pool = &pool},
              (xev_conn_options){.high_bytes = 1 << 22});
    body(&p);
    pair_close(&p);
    xev_threadpool_deinit(&pool);
}

static void file_between(struct pair *p) {
    static char back[1000008];
    job = (struct file_job){.file = file_of(1200000), .from = 100000, .len = 1000000};
    p->rec.data = serves_file;
    plain_send(p->peer, "get", 3);
    recv_running(&p->scene, p->peer, back, sizeof back);
    CHECK_MEM_EQ(back, "head", 4);
    check_pattern(back + 4, 1000000, 100000);
    CHECK_MEM_EQ(back + 1000004, "tail", 4);
    run_to(&p->scene, &job.released, 1);
    end_by_peer(&p->rec, p->peer, XEV_CONN_ENDED);
    CHECK_EQ(close(job.file), 0);
}

TEST(a_range_of_a_file_is_sent_in_its_place) { with_pool(file_between); }

static void file_cut(struct pair *p) {
    char back[4];
    job = (struct file_job){.file = file_of(1000), .from = 500, .len = 1000};
    p->rec.data = serves_file;
    plain_send(p->peer, "get", 3);
    recv_running(&p->scene, p->peer, back, 4);
    run_to(&p->scene, &p->rec.closeds, 1);
    CHECK_EQ(p->rec.reason, XEV_CONN_FAILED);
    CHECK_EQ(p->rec.code, XEV_EOF);
    run_to(&p->scene, &job.released, 1);
    CHECK_EQ(close(p->peer), 0);
    CHECK_EQ(close(job.file), 0);
}

TEST(a_file_that_is_too_short_ends_the_connection) { with_pool(file_cut); }

static void file_aborted(struct pair *p) {
    job = (struct file_job){.file = file_of(1 << 22), .len = 1 << 22};
    p->rec.data = serves_file;
    plain_send(p->peer, "get", 3);
    run_to(&p->scene, &p->rec.datas, 1);
    settle_conn(&p->scene);
    xev_conn_abort(p->rec.conn);
    run_to(&p->scene, &p->rec.closeds, 1);
    run_to(&p->scene, &job.released, 1);
    CHECK_EQ(close(p->peer), 0);
    CHECK_EQ(close(job.file), 0);
}

TEST(a_file_is_released_when_the_connection_is_aborted) { with_pool(file_aborted); }

static void file_refused(struct pair *p) {
    job = (struct file_job){.file = file_of(10)};
    run_to(&p->scene, &p->rec.opened, 1);
    xev_conn *c = p->rec.conn;
    CHECK_EQ(xev_conn_write_file(c, -1, 0, 1, &job.released, count_release), XEV_EBADF);
    CHECK_EQ(xev_conn_write_file(c, job.file, 0, 0, &job.released, count_release), XEV_EINVAL);
    CHECK_EQ(xev_conn_write_file(c, job.file, INT64_MAX, 1, &job.released, count_release),
             XEV_EINVAL);
    xev_conn_finish(c);
    CHECK_EQ(xev_conn_write_file(c, job.file, 0, 1, &job.released, count_release), XEV_EPIPE);
    end_by_peer(&p->rec, p->peer, XEV_CONN_ENDED);
    CHECK_EQ(job.released, 0);
    CHECK_EQ(close(job.file), 0);
}

TEST(ranges_that_are_none_are_refused) { with_pool(file_refused); }
