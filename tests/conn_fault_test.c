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

/* ---- more connections than there is memory for ---- */

enum { CROWD = 3000 };

static int crowd[CROWD], crowd_closed, crowd_served;
static xev_conn_reason crowd_reason;

static ptrdiff_t count_data(xev_conn *conn, const void *data, size_t len_bytes) {
    (void)conn;
    (void)data;
    crowd_served++;
    return (ptrdiff_t)len_bytes;
}

static void count_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    (void)conn;
    CHECK(reason == crowd_reason);
    CHECK_EQ(code, reason == XEV_CONN_NO_MEMORY ? XEV_ENOMEM : 0);
    crowd_closed++;
}

static void run_crowd(struct net *n, const int *counter, int at_least) {
    while (*counter < at_least) {
        CHECK_EQ(xev_loop_run(&n->loop, XEV_RUN_ONCE), 0);
    }
}

/* A client comes. False: there is no memory for it, and the caller is told. */
static bool comes(xev_conn_service *service, int *client) {
    int fd[2];
    local_pair(fd);
    int rc = xev_conn_adopt(service, fd[0], NULL);
    if (rc < 0) {
        CHECK_EQ(rc, XEV_ENOMEM);
        CHECK_EQ(close(fd[0]) + close(fd[1]), 0);
        return false;
    }
    *client = fd[1];
    return true;
}

/* Some have begun, and the loop has no memory to read from them: these end with that reason, which
 * is counted; and the next client is served as soon as there is memory. Nothing is lost silently,
 * and nothing lasts. */
TEST_TIMEOUT(a_lack_of_memory_is_told_of_each_connection_and_passes, 60) {
    static const xev_conn_handlers counting = {.data = count_data, .closed = count_closed};
    struct rlimit limit;
    struct net n;
    xev_conn_service *service;
    xev_conn_counters counters;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 2 * CROWD + 100 < limit.rlim_max ? 2 * CROWD + 100 : limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    net_open(&n, &(xev_loop_options){.allocator = {allocate, release, NULL}});
    CHECK_EQ(xev_conn_service_new(&service, &n.loop, &(xev_conn_options){.handlers = &counting}),
             0);
    for (int round = 0; round < 2; round++) {
        bool refused;
        int adopted = 0;
        crowd_closed = crowd_served = 0;
        crowd_reason = XEV_CONN_NO_MEMORY;
        while (adopted < CROWD - 300) {
            CHECK(comes(service, &crowd[adopted++]));
        }
        inject_plan(1, INJECT_FROM_THERE_ON);
        while (adopted < CROWD && comes(service, &crowd[adopted])) {
            adopted++;
        }
        refused = adopted < CROWD;
        for (int i = 0; i < adopted; i++) {
            plain_send(crowd[i], "x", 1);
        }
        for (int i = 0; i < 20; i++) { /* it lasts for some turns */
            CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_NO_WAIT), 0);
        }
        CHECK_GT(inject.hits, 0);
        inject_arm(false);
        while (crowd_served + crowd_closed < adopted) {
            CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_ONCE), 0);
        }
        xev_conn_service_count(service, &counters);
        CHECK_EQ(counters.connections, (uint32_t)crowd_served);
        CHECK(crowd_closed > 0 || refused);
        /* The next one, and those that were served before, find what they need. */
        int before = crowd_served, next;
        CHECK(comes(service, &next));
        plain_send(next, "y", 1);
        run_crowd(&n, &crowd_served, before + 1);
        crowd_reason = XEV_CONN_ENDED;
        CHECK_EQ(close(next), 0);
        for (int i = 0; i < adopted; i++) {
            CHECK_EQ(close(crowd[i]), 0);
        }
        run_crowd(&n, &crowd_closed, adopted + 1);
        xev_conn_service_count(service, &counters);
        CHECK_EQ(counters.connections, 0);
        CHECK_EQ(counters.closed[XEV_CONN_FAILED], 0);
    }
    xev_loop_deinit(&n.loop);
    xev_conn_service_free(service);
    CHECK_EQ(outstanding_bytes, 0);
    CHECK_EQ(open_fds(), n.fds_before);
}
