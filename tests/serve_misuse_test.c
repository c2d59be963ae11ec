/* Misuse of services ends the program, as in misuse_test.c; bad options do not. */
#include "tests/death.h"
#include "tests/serve_scene.h"
#include "xev/metrics.h"

/* Of calls that must not return. */
#pragma GCC diagnostic ignored "-Wunused-result"

#define DIES(function, argument, ...) DIES_AFTER((void)0, function, argument, __VA_ARGS__)
#define REFUSES(function, argument, code, ...) CHECK_EQ(function(__VA_ARGS__), code)
#define TAKES(function, argument, ...) function(__VA_ARGS__)

static xev_service *service;
static xev_service_options good;
static xev_addr addr;
static xev_service_counters counters;
static xev_serve_limits limits;
static xev_serve_socket given;

TEST(misuse_of_services_is_caught) {
    CHECK_EQ(xev_serve_new(&serve), 0);
    good = service_options("a", "127.0.0.1:0");
    CHECK_EQ(TAKES(xev_serve_add, service, serve, &good, NULL), 0);
    good.name = "b";
    service = add_service(&good);
    DIES(xev_serve_new, serve, NULL);
    TAKES(xev_serve_free, serve, NULL);
    DIES(xev_serve_add, serve, NULL, &good, &service);
    DIES(xev_serve_add, options, serve, NULL, &service);
    DIES(xev_serve_run, serve, NULL, &runtime, &options);
    DIES(xev_serve_run, rt, serve, NULL, &options);
    DIES(xev_serve_run, options, serve, &runtime, NULL);
    DIES(xev_serve_set_limits, serve, NULL, &limits);
    DIES(xev_serve_set_limits, limits, serve, NULL);
    DIES(xev_serve_set_notify, serve, NULL, true);
    DIES(xev_serve_inherited, sockets, NULL, 1);
    CHECK_EQ(TAKES(xev_serve_inherited, sockets, NULL, 0), 0);
    CHECK_EQ(TAKES(xev_serve_inherited, max, &given, UINT32_MAX), 0);
    DIES(xev_serve_limits_get, serve, NULL, &limits);
    DIES(xev_serve_limits_get, out, serve, NULL);
    DIES(xev_serve_live, serve, NULL, 0);
    CHECK_EQ(TAKES(xev_serve_live, id, serve, UINT32_MAX), 0);
    CHECK_STR_EQ(TAKES(xev_serve_refusal_name, refusal, XEV_SERVE_REFUSALS), "");
    DIES(xev_service_name, service, NULL);
    DIES(xev_service_userdata, service, NULL);
    DIES(xev_service_addr, service, NULL, &addr);
    DIES(xev_service_addr, addr, service, NULL);
    DIES(xev_service_policy, service, NULL);
    DIES(xev_service_part, service, NULL, 0);
    CHECK(TAKES(xev_service_part, id, service, UINT32_MAX) == NULL);
    DIES(xev_service_conns, service, NULL, (xev_shard *)(void *)&addr);
    DIES(xev_service_conns, shard, service, NULL);
    DIES(xev_service_count, service, NULL, 0, &counters);
    DIES(xev_service_count, out, service, 0, NULL);
    DIES(xev_serve_move, conn, NULL, 0);
    TAKES(xev_service_count, id, service, UINT32_MAX, &counters);
    CHECK_EQ(counters.accepted + counters.served, 0);
    xev_serve_free(serve);
}

static int run_again(xev_shard *self, void *userdata) {
    (void)self;
    (void)userdata;
    DIES(xev_serve_free, serve, serve);
    DIES(xev_serve_add, serve, serve, &good, NULL);
    DIES(xev_serve_set_notify, serve, serve, true);
    DIES(xev_serve_run, serve, serve, &runtime, &options);
    return XEV_EPERM;
}

TEST(changes_while_they_run_are_caught) {
    good = service_options("a", "127.0.0.1:0");
    service = add_service(&good);
    options.init = run_again;
    CHECK_EQ(run_services(1), XEV_EPERM);
    xev_serve_free(serve);
}

TEST(bad_options_of_a_service_are_refused) {
    char name[33];
    memset(name, 'n', 32);
    name[32] = '\0';
    CHECK_EQ(xev_serve_new(&serve), 0);
    good = service_options("a", "127.0.0.1:0");
    CHECK_EQ(xev_serve_add(serve, &good, NULL), 0);
    static const char *const why[] = {
        "there is no name", "there is no name",           "name is longer than 31 bytes",
        "address is null",  "shard_bytes is above 1 GiB", "name is another service's"};
    for (int i = 0; i < 6; i++) {
        xev_service_options bad = good;
        bad.name = i == 0 ? NULL : i == 1 ? "" : i == 2 ? name : i == 5 ? "a" : "b";
        bad.address = i == 3 ? NULL : "127.0.0.1:0";
        bad.shard_bytes = i == 4 ? UINT32_MAX : 0;
        service = (xev_service *)(void *)&addr;
        REFUSES(xev_serve_add, options, XEV_EINVAL, serve, &bad, &service);
        CHECK(service == NULL);
        CHECK_STR_EQ(xev_err_why(), why[i]);
    }
    xev_serve_free(serve);
}

/* In the child that ends by it. */
static xev_conn *make_own(xev_shard *self) {
    const xev_conn_options o = {.handlers = &answers};
    xev_conn_service *own;
    xev_conn *conn;
    int ends[2];
    CHECK_EQ(xev_conn_service_new(&own, xev_shard_loop(self), &o), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    CHECK_EQ(xev_conn_adopt(own, ends[0], &conn), 0);
    return conn;
}

static int move_a_foreign_one(xev_shard *self, void *userdata) {
    xev_conn *conn;
    int ends[2];
    (void)userdata;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    CHECK_EQ(xev_conn_adopt(xev_service_conns(service, self), ends[0], &conn), 0);
    REFUSES(xev_serve_move, shard, XEV_EINVAL, conn, UINT32_MAX);
    CHECK_EQ(close(ends[1]), 0);
    DIES_AFTER(conn = make_own(self), xev_serve_move, conn, conn, 0); /* it is no service's */
    return XEV_EPERM;
}

TEST(only_connections_of_services_move) {
    good = service_options("a", "127.0.0.1:0");
    service = add_service(&good);
    options.init = move_a_foreign_one;
    CHECK_EQ(run_services(1), XEV_EPERM);
    xev_serve_free(serve);
}

/* ---- metrics ---- */

static void tell_badly(xev_shard *shard, xev_metrics *metrics, void *userdata) {
    (void)shard;
    (void)userdata;
    DIES(xev_metrics_counter, metrics, NULL, "a", NULL, 0);
    DIES(xev_metrics_counter, name, metrics, NULL, NULL, 0);
    TAKES(xev_metrics_counter, labels, metrics, "a", NULL, 0);
    TAKES(xev_metrics_counter, value, metrics, "b", "c=\"d\"", UINT64_MAX);
    DIES(xev_metrics_gauge, metrics, NULL, "a", NULL, 0);
    DIES(xev_metrics_gauge, name, metrics, NULL, NULL, 0);
    TAKES(xev_metrics_gauge, labels, metrics, "e", NULL, 0);
    TAKES(xev_metrics_gauge, value, metrics, "f", "", -1);
    static const xev_histogram h;
    DIES(xev_metrics_histogram, metrics, NULL, "a", NULL, &h, 1);
    DIES(xev_metrics_histogram, name, metrics, NULL, NULL, &h, 1);
    DIES(xev_metrics_histogram, h, metrics, "a", NULL, NULL, 1);
    TAKES(xev_metrics_histogram, labels, metrics, "g", NULL, &h, 1);
    TAKES(xev_metrics_histogram, unit, metrics, "h", "", &h, -1);
}

static void look_once(void) {
    static const char request[] = "GET /metrics HTTP/1.1\r\n\r\n";
    char c;
    int fd = connect_to(service);
    CHECK_EQ(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), (ssize_t)sizeof request - 1);
    CHECK_EQ(recv(fd, &c, 1, 0), 1);
    CHECK_EQ(close(fd), 0);
}

TEST(misuse_of_metrics_is_caught) {
    const xev_metrics_options m = {.address = "127.0.0.1:0", .own = tell_badly};
    CHECK_EQ(xev_serve_new(&serve), 0);
    DIES(xev_serve_add_metrics, serve, NULL, &m, NULL);
    DIES(xev_serve_add_metrics, options, serve, NULL, NULL);
    CHECK_EQ(TAKES(xev_serve_add_metrics, service, serve, &m, NULL), 0);
    CHECK_EQ(xev_serve_add_metrics(serve, &m, &service), 0);
    run_with_clients(1, look_once);
    xev_serve_free(serve);
}

/* ---- a connection of another shard ---- */

#if !defined(NDEBUG)

static xev_message mistake_message;
static xev_conn_slot *mistaken_slot;
static xev_conn_handle mistaken_handle;
static void (*mistake)(xev_conn *conn);

static void write_there(xev_conn *conn) { (void)xev_conn_write(conn, "x", 1); }
static void abort_there(xev_conn *conn) { xev_conn_abort(conn); }
static void pause_there(xev_conn *conn) { xev_conn_pause(conn); }

static void fill_there(xev_conn *conn) {
    (void)conn;
    xev_conn_fill(mistaken_slot, "x", 1);
}

static void find_there(xev_conn *conn) {
    xev_conn *found;
    (void)xev_conn_find(xev_conn_service_of(conn), mistaken_handle, &found);
}

static void ask_there(xev_conn *conn) {
    (void)conn;
    (void)xev_service_conns(service, xev_runtime_shard(&runtime, 0));
}

static void on_mistake(xev_shard *self, xev_message *m, void *arg) {
    (void)m;
    CHECK_EQ(xev_shard_id(self), 1);
    mistake(arg);
}

static ptrdiff_t give_away(xev_conn *conn, const void *data, size_t len_bytes) {
    (void)data;
    mistaken_slot = xev_conn_reserve(conn);
    mistaken_handle = xev_conn_handle_of(conn);
    CHECK_EQ(xev_shard_send(xev_runtime_shard(&runtime, 1), &mistake_message, on_mistake, conn), 0);
    return (ptrdiff_t)len_bytes;
}

static void ask_once(void) {
    int fd = connect_to(service);
    char c;
    ask_shard(fd);
    CHECK_EQ(recv(fd, &c, 1, 0), 0); /* the program has ended by then */
}

static void check_mistake(void (*fn)(xev_conn *conn), const char *call) {
    static const xev_conn_handlers handlers = {.data = give_away};
    struct death d;
    char text[DEATH_TEXT_BYTES];
    if (death_begins(&d)) {
        xev_service_options o = service_options("a", "127.0.0.1:0");
        o.policy = XEV_SERVE_SINGLE;
        o.conns.handlers = &handlers;
        mistake = fn;
        serve = NULL;
        service = add_service(&o);
        run_with_clients(2, ask_once);
        death_missed();
    }
    death_check_text(&d, call, "on another shard", text);
    CHECK(strstr(text, "called on xev-shard-1 (") != NULL);
    CHECK(strstr(text, ", of xev-shard-0 (") != NULL);
}

TEST(a_call_on_another_shard_s_connection_names_both_shards) {
    check_mistake(write_there, "xev_conn_write");
    check_mistake(abort_there, "xev_conn_abort");
    check_mistake(pause_there, "xev_conn_pause");
    check_mistake(fill_there, "xev_conn_fill");
    check_mistake(find_there, "xev_conn_find");
    check_mistake(ask_there, "xev_service_conns");
}

#endif
