/* Connections whose memory runs out: every allocation in turn fails, alone and with all after it.
 * Then a call says so or a connection ends with XEV_CONN_NO_MEMORY; each ends once, nothing leaks,
 * and the service goes on. */
#include "tests/conn_scene.h"
#include "tests/inject.h"

static int64_t outstanding_bytes;

static void *allocate(size_t bytes, size_t alignment, void *userdata) {
    (void)userdata;
    if (inject_now()) {
        return NULL;
    }
    void *p = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    CHECK(p != NULL);
    outstanding_bytes += (int64_t)bytes;
    return p;
}

static void release(void *memory, size_t bytes, void *userdata) {
    (void)userdata;
    outstanding_bytes -= (int64_t)bytes;
    free(memory);
}

static int lent, released;
static void on_release(void *userdata) {
    (void)userdata;
    released++;
}

static char big[300000];

/* Does a little of everything, whatever it is told. */
static ptrdiff_t busy(struct rec *r, const char *data, size_t len) {
    if (len < 5000) {
        xev_conn_need(r->conn, 5000);
        return 0;
    }
    xev_conn_slot *slot = xev_conn_reserve(r->conn);
    (void)xev_conn_write(r->conn, data, 100);
    lent += xev_conn_write_lent(r->conn, big, sizeof big, NULL, on_release) == 0;
    (void)xev_conn_write(r->conn, big, sizeof big);
    if (slot != NULL) {
        xev_conn_fill(slot, big, 70000);
    }
    return 5000;
}

static void let_go(struct rec *r) { (void)r; }

static void one_run(struct scene *s) {
    struct rec r[3];
    int fd[3][2];
    for (int i = 0; i < 3; i++) {
        memset(&r[i], 0, sizeof r[i]);
        r[i].scene = s;
        r[i].got = big;
        r[i].on_closed = let_go;
        local_pair(fd[i]);
        int rc = xev_conn_adopt(s->service, fd[i][0], &r[i].conn);
        if (rc < 0) {
            CHECK_EQ(rc, XEV_ENOMEM);
            CHECK(r[i].conn == NULL);
            CHECK_EQ(close(fd[i][0]), 0);
            continue;
        }
        *(struct rec **)xev_conn_user(r[i].conn) = &r[i];
        r[i].handle = xev_conn_handle_of(r[i].conn);
    }
    r[0].data = busy;
    if (r[1].conn != NULL && r[2].conn != NULL) {
        int rc = xev_conn_pipe(r[1].conn, r[2].conn);
        CHECK(rc == 0 || rc == XEV_ENOMEM);
    }
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 8; k++) {
            (void)send(fd[i][1], big, 700, MSG_NOSIGNAL | MSG_DONTWAIT);
            CHECK_EQ(xev_loop_run(&s->net.loop, XEV_RUN_NO_WAIT), 0);
        }
    }
    if (r[0].conn != NULL) {
        xev_conn_drain(r[0].conn);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(xev_loop_run(&s->net.loop, XEV_RUN_NO_WAIT), 0);
        CHECK_EQ(close(fd[i][1]), 0);
    }
    inject_arm(false);
    for (int i = 0; i < 3; i++) {
        if (r[i].conn != NULL || r[i].closeds > 0) {
            run_to(s, &r[i].closeds, 1);
        }
    }
    settle_conn(s);
    CHECK_EQ(released, lent);
    xev_conn_counters c = counters_of(s);
    CHECK_EQ(c.connections, 0);
    CHECK_EQ(c.orphans, 0);
}

static const int modes[] = {INJECT_ONCE, INJECT_FROM_THERE_ON};

TEST_TIMEOUT(lack_of_memory_ends_connections_and_nothing_else, 60) {
    for (int m = 0; m < 2; m++) {
        int at = 1, ended = 0;
        for (bool failed = true; failed; at++) {
            struct scene s;
            lent = released = 0;
            const xev_loop_options options = {.allocator = {allocate, release, NULL}};
            scene_open_options(&s, &options, (xev_conn_options){.high_bytes = 100000});
            inject_plan(at, modes[m]);
            one_run(&s);
            failed = inject.hits > 0;
            ended += counters_of(&s).closed[XEV_CONN_NO_MEMORY] > 0;
            one_run(&s); /* with memory again */
            CHECK_EQ(counters_of(&s).refused > 0 || failed || at > 1, 1);
            scene_close(&s);
            CHECK_EQ(outstanding_bytes, 0);
        }
        CHECK_GT(at, 5);
        CHECK_GT(ended, 0);
    }
}

TEST(a_service_without_memory_is_not_made) {
    for (int at = 1; at <= 2; at++) {
        struct net n;
        xev_conn_service *service;
        const xev_loop_options options = {.allocator = {allocate, release, NULL}};
        net_open(&n, &options);
        inject_plan(at, INJECT_ONCE);
        CHECK_EQ(
            xev_conn_service_new(&service, &n.loop, &(xev_conn_options){.handlers = &recording}),
            XEV_ENOMEM);
        CHECK(service == NULL);
        inject_arm(false);
        net_close(&n);
        CHECK_EQ(outstanding_bytes, 0);
    }
}
