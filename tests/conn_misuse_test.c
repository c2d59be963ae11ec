/* Misuse of connections ends the program, as in misuse_test.c; bad numbers and addresses do not. */
#include "tests/conn_scene.h"
#include "tests/death.h"
#include "xev/proxy_protocol.h"
#include "xev/upstream.h"

/* Of calls that must not return. */
#pragma GCC diagnostic ignored "-Wunused-result"

#define DIES(function, argument, ...) DIES_AFTER((void)0, function, argument, __VA_ARGS__)
#define REFUSES(function, argument, code, ...) CHECK_EQ(function(__VA_ARGS__), code)
#define TAKES(function, argument, ...) function(__VA_ARGS__)

static xev_loop no_loop;
static xev_conn_service *service;
static xev_conn *conn, *other;
static xev_conn_counters counters;
static const xev_conn_deadlines deadlines;
static const xev_conn_handlers no_data = {.opened = on_opened};
static const xev_conn_transport no_hooks;
static int state;

static void each(xev_conn *c, void *userdata) {
    (void)c;
    (void)userdata;
}

static void release(void *userdata) { (void)userdata; }

static void detached(xev_fd fd, const void *data, size_t len, void *userdata) {
    (void)fd;
    (void)data;
    (void)len;
    (void)userdata;
}

struct two {
    struct scene scene;
    struct rec r[2];
    int peer[2];
};

static void two_open(struct two *t) {
    scene_open(&t->scene);
    for (int i = 0; i < 2; i++) {
        int fd[2];
        local_pair(fd);
        rec_adopt(rec_init(&t->r[i], &t->scene), fd[0]);
        t->peer[i] = fd[1];
    }
    service = t->scene.service;
    conn = t->r[0].conn;
    other = t->r[1].conn;
}

static void two_close(struct two *t) {
    for (int i = 0; i < 2; i++) {
        xev_conn_abort(t->r[i].conn);
        run_to(&t->scene, &t->r[i].closeds, 1);
        CHECK_EQ(close(t->peer[i]), 0);
        rec_free(&t->r[i]);
    }
    scene_close(&t->scene);
}

TEST(misuse_of_a_service_is_caught) {
    struct two t;
    two_open(&t);
    const xev_conn_options good = {.handlers = &recording};
    DIES(xev_conn_service_new, service, NULL, &t.scene.net.loop, &good);
    DIES(xev_conn_service_new, loop, &service, NULL, &good);
    DIES(xev_conn_service_new, loop, &service, &no_loop, &good);
    DIES(xev_conn_service_new, options, &service, &t.scene.net.loop, NULL);
    DIES(xev_conn_service_free, service, NULL);
    DIES(xev_conn_service_free, service, service); /* its loop is there */
    DIES(xev_conn_service_loop, service, NULL);
    DIES(xev_conn_service_userdata, service, NULL);
    DIES(xev_conn_service_count, service, NULL, &counters);
    DIES(xev_conn_service_count, out, service, NULL);
    DIES(xev_conn_service_each, service, NULL, NULL, each);
    DIES(xev_conn_service_each, fn, service, NULL, NULL);
    DIES(xev_conn_service_drain, service, NULL);
    DIES(xev_conn_adopt, service, NULL, 0, NULL);
    DIES(xev_conn_adopt_pipes, service, NULL, 0, 1, NULL);
    DIES(xev_conn_connect, service, NULL, NULL, 0, NULL, NULL);
    DIES(xev_conn_connect, addrs, service, NULL, 1, NULL, NULL);
    DIES(xev_conn_connect, options, service, NULL, 0,
         &(xev_conn_connect_options){.handlers = &no_data}, NULL);
    DIES(xev_conn_find, service, NULL, 0, &conn);
    DIES(xev_conn_find, conn, service, 0, NULL);
    two_close(&t);
}

TEST(misuse_of_a_connection_is_caught) {
    struct two t;
    two_open(&t);
    DIES(xev_conn_user, conn, NULL);
    DIES(xev_conn_service_of, conn, NULL);
    DIES(xev_conn_fd, conn, NULL);
    DIES(xev_conn_number, conn, NULL);
    DIES(xev_conn_set_handlers, conn, NULL, &recording);
    DIES(xev_conn_set_handlers, handlers, conn, NULL);
    DIES(xev_conn_set_handlers, handlers, conn, &no_data);
    DIES(xev_conn_handle_of, conn, NULL);
    DIES(xev_conn_pause, conn, NULL);
    DIES(xev_conn_resume, conn, NULL);
    DIES(xev_conn_need, conn, NULL, 1);
    DIES(xev_conn_write, conn, NULL, "x", 1);
    DIES(xev_conn_write, data, conn, NULL, 1);
    DIES(xev_conn_writev, conn, NULL, NULL, 0);
    DIES(xev_conn_writev, vec, conn, NULL, 1);
    DIES(xev_conn_write_lent, conn, NULL, "x", 1, NULL, release);
    DIES(xev_conn_write_lent, data, conn, NULL, 1, NULL, release);
    DIES(xev_conn_write_lent, len_bytes, conn, "x", 0, NULL, release);
    DIES(xev_conn_write_lent, release, conn, "x", 1, NULL, NULL);
    DIES(xev_conn_write_file, conn, NULL, 0, 0, 1, NULL, release);
    DIES(xev_conn_write_file, release, conn, 0, 0, 1, NULL, NULL);
    DIES(xev_conn_cork, conn, NULL);
    DIES(xev_conn_queued_bytes, conn, NULL);
    DIES(xev_conn_reserve, conn, NULL);
    DIES(xev_conn_fill, slot, NULL, "x", 1);
    DIES(xev_conn_slot_conn, slot, NULL);
    DIES(xev_conn_set_deadlines, conn, NULL, &deadlines);
    DIES(xev_conn_set_deadlines, deadlines, conn, NULL);
    DIES(xev_conn_end_output, conn, NULL);
    DIES(xev_conn_finish, conn, NULL);
    DIES(xev_conn_drain, conn, NULL);
    DIES(xev_conn_set_busy, conn, NULL, true);
    DIES(xev_conn_abort, conn, NULL);
    DIES(xev_conn_detach, conn, NULL, NULL, detached);
    DIES(xev_conn_detach, fn, conn, NULL, NULL);
    DIES(xev_conn_pipe, a, NULL, other);
    DIES(xev_conn_pipe, b, conn, NULL);
    DIES(xev_conn_set_transport, conn, NULL, &no_hooks, NULL);
    DIES(xev_conn_set_transport, transport, conn, NULL, NULL);
    DIES(xev_conn_set_transport, transport, conn, &no_hooks, NULL);
    two_close(&t);
}

TEST(misuse_of_upstreams_is_caught) {
    struct two t;
    two_open(&t);
    xev_addr addrs[2] = {{0}};
    xev_upstreams *group;
    xev_upstream_counters counts;
    xev_conn *made;
    const xev_upstreams_options good = {0}, bad = {.policy = (xev_upstream_policy)2},
                                worse = {.out_ms = 2, .out_max_ms = 1};
    CHECK_EQ(xev_addr_from_text(&addrs[0], "127.0.0.1:1"), 0);
    REFUSES(xev_upstreams_new, count, XEV_EINVAL, &group, service, NULL, 0, &good);
    CHECK_STR_EQ(xev_err_why(), "there is no address");
    REFUSES(xev_upstreams_new, addrs, XEV_EINVAL, &group, service, addrs, 2, &good);
    CHECK_STR_EQ(xev_err_why(), "an address is none");
    REFUSES(xev_upstreams_new, options, XEV_EINVAL, &group, service, addrs, 1, &bad);
    CHECK_STR_EQ(xev_err_why(), "policy is none that there is");
    REFUSES(xev_upstreams_new, options, XEV_EINVAL, &group, service, addrs, 1, &worse);
    CHECK_STR_EQ(xev_err_why(), "out_ms (1000 if it is not set) is above out_max_ms (60000)");
    CHECK(group == NULL);
    CHECK_EQ(xev_upstreams_new(&group, service, addrs, 1, &good), 0);
    DIES(xev_upstreams_new, group, NULL, service, addrs, 1, &good);
    DIES(xev_upstreams_new, service, &group, NULL, addrs, 1, &good);
    DIES(xev_upstreams_new, addrs, &group, service, NULL, 1, &good);
    DIES(xev_upstreams_new, options, &group, service, addrs, 1, NULL);
    DIES(xev_upstreams_connect, group, NULL, NULL, &made);
    DIES(xev_upstreams_connect, handlers, group, &no_data, &made);
    DIES(xev_upstreams_connect, conn, group, NULL, NULL);
    DIES(xev_upstream_keep, conn, NULL);
    DIES(xev_upstream_keep, conn, conn); /* to no upstream */
    DIES(xev_upstream_was_kept, conn, NULL);
    DIES(xev_upstream_number, conn, NULL);
    DIES(xev_upstreams_count, group, NULL);
    DIES(xev_upstream_count, group, NULL, 0, &counts);
    DIES(xev_upstream_count, out, group, 0, NULL);
    TAKES(xev_upstream_count, number, group, 1, &counts);
    CHECK_EQ(xev_addr_family(&counts.addr), XEV_AF_UNSPEC);
    CHECK_EQ(xev_upstreams_count(group), 1);
    CHECK_EQ(xev_upstream_number(conn), UINT32_MAX);
    TAKES(xev_upstreams_free, group, NULL);
    DIES(xev_upstreams_free, group, group); /* its service is there */
    two_close(&t);
    DIES(xev_upstreams_connect, group, group, NULL, &made); /* its service is not */
    xev_upstreams_free(group);
}

TEST(misuse_of_the_proxy_protocol_is_caught) {
    xev_proxy_header header = {{0}, {0}};
    char out[XEV_PROXY_WRITE_MAX];
    DIES(xev_proxy_read, header, NULL, "x", 1);
    DIES(xev_proxy_read, data, &header, NULL, 1);
    CHECK_EQ(TAKES(xev_proxy_read, len_bytes, &header, NULL, 0), 0);
    DIES(xev_proxy_write, header, NULL, 1, out);
    DIES(xev_proxy_write, out, &header, 1, NULL);
    REFUSES(xev_proxy_write, version, XEV_EINVAL, &header, 3, out);
}

TEST(misuse_of_a_slot_is_caught) {
    struct two t;
    two_open(&t);
    xev_conn_slot *slot = xev_conn_reserve(conn), *behind = xev_conn_reserve(conn);
    CHECK(slot != NULL && behind != NULL);
    DIES(xev_conn_fill, data, slot, NULL, 1);
    xev_conn_fill(behind, "x", 1);
    DIES(xev_conn_fill, slot, behind, "x", 1); /* filled, and not sent yet */
    xev_conn_fill(slot, "x", 1);
    two_close(&t);
}

static ptrdiff_t lies(struct rec *r, const char *data, size_t len) {
    (void)r;
    (void)data;
    return (ptrdiff_t)len + 1;
}

/* A loop of its own, in the child: the parent's is not its. */
static void serve_a_liar(void) {
    struct scene s;
    struct rec r;
    int fd[2];
    scene_open(&s);
    local_pair(fd);
    rec_adopt(rec_init(&r, &s), fd[0]);
    r.data = lies;
    plain_send(fd[1], "x", 1);
    run_to(&s, &r.closeds, 1);
}

TEST(a_handler_that_consumes_too_much_is_caught) { check_dies(serve_a_liar, "data handler"); }

static int no_recv(xev_conn *c, void *s, void *buf, size_t len) {
    (void)c;
    (void)s;
    (void)buf;
    (void)len;
    return XEV_EAGAIN;
}

static int no_send(xev_conn *c, void *s, const xev_vec *vec, size_t count) {
    (void)c;
    (void)s;
    (void)vec;
    (void)count;
    return XEV_EAGAIN;
}

static int no_shutdown(xev_conn *c, void *s) {
    (void)c;
    (void)s;
    return 0;
}

TEST(bad_arguments_of_connections_are_refused) {
    struct two t;
    xev_addr none = {0};
    xev_conn *found;
    two_open(&t);
    const xev_conn_options bad[] = {
        {0},
        {.handlers = &no_data},
        {.handlers = &recording, .id = 1024},
        {.handlers = &recording, .user_bytes = (1 << 20) + 1},
        {.handlers = &recording, .connections_max = 1 << 22},
        {.handlers = &recording, .high_bytes = 10, .low_bytes = 11},
        {.handlers = &recording, .high_bytes = 10, .queued_max_bytes = 9},
        {.handlers = &recording, .queued_max_bytes = UINT32_MAX},
        {.handlers = &recording, .unconsumed_max_bytes = UINT32_MAX},
    };
    static const char *const why[] = {
        "handlers is null",
        "there is no data handler",
        "id is above 1023",
        "user_bytes is above 1 MiB",
        "connections_max is above 4194303",
        "low_bytes is above high_bytes (256 KiB if it is not set)",
        "high_bytes (256 KiB if it is not set) is above queued_max_bytes",
        "queued_max_bytes is above 2147483647",
        "unconsumed_max_bytes is above 1 GiB",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        xev_conn_service *s = service;
        REFUSES(xev_conn_service_new, options, XEV_EINVAL, &s, &t.scene.net.loop, &bad[i]);
        CHECK_STR_EQ(xev_err_why(), why[i]);
        CHECK(s == NULL);
    }
    REFUSES(xev_conn_adopt, fd, XEV_EBADF, service, -1, NULL);
    TAKES(xev_conn_adopt, conn, service, -1, NULL);
    REFUSES(xev_conn_adopt_pipes, read_fd, XEV_EBADF, service, -1, t.peer[0], NULL);
    REFUSES(xev_conn_adopt_pipes, write_fd, XEV_EBADF, service, t.peer[0], -1, NULL);
    TAKES(xev_conn_adopt_pipes, conn, service, -1, -1, NULL);
    REFUSES(xev_conn_connect, addrs, XEV_EINVAL, service, &none, 1, NULL, NULL);
    REFUSES(xev_conn_connect, count, XEV_EINVAL, service, &none, 0, NULL, NULL);
    TAKES(xev_conn_connect, conn, service, NULL, 0, NULL, NULL);
    REFUSES(xev_conn_find, handle, XEV_ESTALE, service, UINT64_MAX, &found);
    CHECK_EQ(TAKES(xev_conn_handle_id, handle, UINT64_MAX), 1023);
    CHECK_STR_EQ(TAKES(xev_conn_reason_name, reason, (xev_conn_reason)-1), "");
    TAKES(xev_conn_write, len_bytes, conn, NULL, 0);
    TAKES(xev_conn_writev, count, conn, NULL, 0);
    REFUSES(xev_conn_write, len_bytes, XEV_ENOBUFS, other, &t, SIZE_MAX);
    run_to(&t.scene, &t.r[1].closeds, 1); /* that was more than it may queue */
    int fd[2];
    local_pair(fd);
    CHECK_EQ(close(t.peer[1]), 0);
    t.r[1].closeds = t.r[1].opened = 0;
    rec_adopt(&t.r[1], fd[0]);
    t.peer[1] = fd[1];
    REFUSES(xev_conn_write_file, file, XEV_EBADF, conn, -1, 0, 1, NULL, release);
    REFUSES(xev_conn_write_file, offset_bytes, XEV_EINVAL, conn, 0, UINT64_MAX, 1, NULL, release);
    REFUSES(xev_conn_write_file, len_bytes, XEV_EINVAL, conn, 0, 0, 0, NULL, release);
    REFUSES(xev_conn_pipe, b, XEV_EINVAL, conn, conn);
    xev_conn_slot *slot = xev_conn_reserve(conn);
    TAKES(xev_conn_fill, len_bytes, slot, NULL, 0);
    TAKES(xev_conn_need, len_bytes, conn, 0);
    const xev_conn_transport mute = {no_recv, no_send, no_shutdown, NULL};
    TAKES(xev_conn_set_transport, state, t.r[1].conn, &mute, &state);
    two_close(&t);
}
