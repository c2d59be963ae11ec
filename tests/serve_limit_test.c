/* Limits of services: of the process, a shard, a peer; the operators' reserve; and the table of
 * peers, without a runtime. */
#include "serve/internal.h"
#include "tests/random.h"
#include "tests/serve_scene.h"
#include "xev/upstream.h"

#include <poll.h>
#include <sys/resource.h>

static xev_service *service;
static xev_serve_limits limits;

static void add_limited(const char *address, xev_serve_policy policy) {
    xev_service_options o = service_options("l", address);
    o.policy = policy;
    service = add_service(&o);
    CHECK_EQ(xev_serve_set_limits(serve, &limits), 0);
}

/* A connection from an address of this host, 127.0.0.LAST. */
static int connect_from(uint32_t last) {
    xev_addr addr;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000 | last)};
    CHECK_EQ(xev_service_addr(service, &addr), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    int rc = connect(fd, (struct sockaddr *)(void *)addr.storage, addr.len_bytes);
    CHECK(rc == 0 || errno == ECONNRESET); /* it may be refused before that returns */
    return fd;
}

/* Whether the server answers; else it has closed the connection. */
static bool is_served(int fd) {
    char text[2];
    if (send(fd, "?", 1, MSG_NOSIGNAL) < 0) {
        return false;
    }
    return recv(fd, text, 2, MSG_WAITALL) == 2;
}

static uint64_t refused_for(xev_serve_refusal why) { return count_of(service).refused[why]; }

static void check_refused_only_for(xev_serve_refusal why, uint64_t count) {
    for (int i = 0; i < XEV_SERVE_REFUSALS; i++) {
        CHECK_EQ(refused_for((xev_serve_refusal)i), i == (int)why ? count : 0);
    }
}

static uint32_t live_sum(void) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < SCENE_SHARDS; i++) {
        n += xev_serve_live(serve, i);
    }
    return n;
}

static void wait_for_live(uint32_t n) {
    while (live_sum() != n) {
        sched_yield();
    }
}

/* ---- process and shard ---- */

enum { ROOM = 6 };

/* ROOM are served, two are not; and one that ends makes room for another. */
static void fill_and_exceed(void) {
    int fds[ROOM], more;
    for (int i = 0; i < ROOM; i++) {
        fds[i] = connect_to(service);
        CHECK(is_served(fds[i]));
    }
    CHECK_EQ(live_sum(), ROOM);
    for (int i = 0; i < 2; i++) {
        more = connect_to_full(service);
        CHECK(!is_served(more));
        CHECK_EQ(close(more), 0);
    }
    close_in_order(fds[0]);
    wait_for_live(ROOM - 1);
    fds[0] = connect_to(service);
    CHECK(is_served(fds[0]));
    for (int i = 0; i < ROOM; i++) {
        close_in_order(fds[i]);
    }
    wait_for_live(0);
}

static void check_full(const char *address, xev_serve_policy policy, uint32_t shards,
                       xev_serve_refusal why) {
    add_limited(address, policy);
    run_with_clients(shards, fill_and_exceed);
    check_refused_only_for(why, 2);
    CHECK_EQ(count_of(service).served, ROOM + 1);
    xev_serve_free(serve);
    serve = NULL;
}

TEST(no_more_connections_than_the_process_may_have) {
    limits = (xev_serve_limits){.process_max = ROOM, .reserve = UINT32_MAX};
    check_full("127.0.0.1:0", XEV_SERVE_HASH, 4, XEV_SERVE_FULL_PROCESS);
    check_full("127.0.0.1:0", XEV_SERVE_LEAST, 4, XEV_SERVE_FULL_PROCESS);
    check_full(abstract_address(), XEV_SERVE_DEAL, 3, XEV_SERVE_FULL_PROCESS);
}

TEST(no_more_connections_than_a_shard_may_have) {
    limits = (xev_serve_limits){.shard_max = ROOM, .reserve = UINT32_MAX};
    check_full("127.0.0.1:0", XEV_SERVE_HASH, 1, XEV_SERVE_FULL_SHARD);
    check_full(abstract_address(), XEV_SERVE_SINGLE, 3, XEV_SERVE_FULL_SHARD);
    limits.shard_max = ROOM / 3;
    check_full("127.0.0.1:0", XEV_SERVE_LEAST, 3, XEV_SERVE_FULL_SHARD);
    check_full("127.0.0.1:0", XEV_SERVE_DEAL, 3, XEV_SERVE_FULL_SHARD);
}

/* ---- who has gone before the accept ---- */

static int connect_and_reset(xev_shard *self, void *userdata) {
    const struct linger reset = {.l_onoff = 1};
    int fd = connect_to(service);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    CHECK_EQ(close(fd), 0);
    return clients_begin(self, userdata);
}

static void wait_for_the_accept(void) {
    while (count_of(service).accepted == 0) {
        sched_yield();
    }
}

/* It has no address any more, as peers of Unix sockets have none. */
TEST(a_tcp_peer_that_has_reset_is_no_operator) {
    limits = (xev_serve_limits){.process_max = 4, .reserve = 4, .operators = "unix"};
    add_limited("127.0.0.1:0", XEV_SERVE_HASH);
    clients_run = wait_for_the_accept;
    options.init = connect_and_reset;
    CHECK_EQ(run_services(1), 0);
    thread_join(clients_thread);
    check_refused_only_for(XEV_SERVE_FULL_PROCESS, 1);
    CHECK_EQ(count_of(service).served, 0);
    xev_serve_free(serve);
    serve = NULL;
}

/* ---- outgoing connections ---- */

static atomic_int outgoing_ended;

static void outgoing_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    (void)conn;
    (void)reason;
    (void)code;
    outgoing_ended = 1;
    xev_runtime_stop(&runtime);
}

static const xev_conn_handlers outgoing = {.data = answer_data, .closed = outgoing_closed};

/* To the service itself, which then has no room for its other end. */
static int connect_out(xev_shard *self, void *userdata) {
    const xev_conn_connect_options o = {.handlers = &outgoing};
    xev_addr addr;
    (void)userdata;
    CHECK_EQ(xev_service_addr(service, &addr), 0);
    CHECK_EQ(xev_conn_connect(xev_service_conns(service, self), &addr, 1, &o, NULL), 0);
    CHECK_EQ(xev_serve_live(serve, 0), 1);
    return 0;
}

TEST(outgoing_connections_take_room_and_are_not_refused) {
    limits = (xev_serve_limits){.process_max = 1, .reserve = UINT32_MAX};
    add_limited("127.0.0.1:0", XEV_SERVE_AUTO);
    options.init = connect_out;
    CHECK_EQ(run_services(1), 0);
    CHECK_EQ(outgoing_ended, 1);
    check_refused_only_for(XEV_SERVE_FULL_PROCESS, 1);
    CHECK_EQ(count_of(service).served, 0);
    CHECK_EQ(live_sum(), 0);
    xev_serve_free(serve);
}

/* ---- connections that are kept to an upstream ---- */

static xev_upstreams *group;
static xev_service *other; /* whose connections the kept ones are */
static int upstream;       /* its listener */
static atomic_int kept_now;

static void keep_it(xev_conn *conn) {
    xev_upstream_keep(conn);
    kept_now++;
}

static const xev_conn_handlers keeping = {.opened = keep_it, .data = answer_data};

static void keep_two(void) {
    const xev_upstreams_options o = {.idle_max = 2, .check_ms = UINT32_MAX};
    xev_conn_service *conns = xev_service_conns(other, xev_shard_current());
    xev_conn *conn;
    xev_addr addr;
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(upstream), &addr), 0);
    CHECK_EQ(xev_upstreams_new(&group, conns, &addr, 1, &o), 0);
    CHECK_EQ(xev_upstreams_connect(group, &keeping, &conn), 0);
    CHECK_EQ(xev_upstreams_connect(group, &keeping, &conn), 0);
}

static void open_upstream(void) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(upstream, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    CHECK_EQ(listen(upstream, 4), 0);
}

static void free_group(xev_shard *self, void *userdata) {
    (void)self;
    (void)userdata;
    xev_upstreams_free(group);
}

static void fill_places_of_kept(void) {
    int fds[ROOM];
    call_on(0, keep_two);
    while (kept_now < 2) {
        sched_yield();
    }
    CHECK_EQ(live_sum(), 2);
    for (int i = 0; i < ROOM; i++) {
        fds[i] = connect_to(service);
        CHECK(is_served(fds[i]));
        CHECK_EQ(live_sum(), i + 3 < ROOM ? i + 3 : ROOM);
    }
    int more = connect_to_full(service);
    CHECK(!is_served(more));
    CHECK_EQ(close(more), 0);
    for (int i = 0; i < ROOM; i++) {
        close_in_order(fds[i]);
    }
    wait_for_live(0);
}

static void check_kept(xev_serve_refusal why, xev_serve_policy policy, bool of_other) {
    add_limited("127.0.0.1:0", policy);
    other = of_other ? add_at("o", "127.0.0.1:0") : service;
    kept_now = 0;
    open_upstream();
    options.deinit = free_group;
    run_with_clients(1, fill_places_of_kept);
    check_refused_only_for(why, 1);
    CHECK_EQ(count_of(service).served, ROOM);
    CHECK_EQ(count_of(other).connections, 0);
    CHECK_EQ(close(upstream), 0);
    options = (xev_runtime_options){0};
    xev_serve_free(serve);
    serve = NULL;
}

TEST(kept_connections_make_room_for_who_is_accepted) {
    for (int of_other = 0; of_other < 2; of_other++) {
        limits = (xev_serve_limits){.process_max = ROOM, .reserve = UINT32_MAX};
        check_kept(XEV_SERVE_FULL_PROCESS, XEV_SERVE_HASH, of_other != 0);
        limits = (xev_serve_limits){.shard_max = ROOM, .reserve = UINT32_MAX};
        check_kept(XEV_SERVE_FULL_SHARD, XEV_SERVE_LEAST, of_other != 0);
        check_kept(XEV_SERVE_FULL_SHARD, XEV_SERVE_DEAL, of_other != 0);
    }
}

/* ---- and those that are opened ahead ---- */

static const xev_conn_handlers taking = {.data = answer_data};
static xev_conn *ahead_conn;
static uint32_t idle_now;

static void open_two_ahead(void) {
    const xev_upstreams_options o = {.ahead = 2, .check_ms = 3600000};
    xev_addr addr;
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(upstream), &addr), 0);
    CHECK_EQ(
        xev_upstreams_new(&group, xev_service_conns(service, xev_shard_current()), &addr, 1, &o),
        0);
}

static void look_at_idle(void) {
    xev_upstream_counters c;
    xev_upstream_count(group, 0, &c);
    idle_now = c.idle;
}

static void wait_for_idle(uint32_t n) {
    do {
        call_on(0, look_at_idle);
    } while (idle_now != n);
}

static void take_one(void) {
    CHECK_EQ(xev_upstreams_connect(group, &taking, &ahead_conn), 0);
    CHECK(xev_upstream_was_kept(ahead_conn));
}

static void end_it(void) { xev_conn_finish(ahead_conn); }

/* Each that is taken would be replaced, and that one given up for the next client, or in its way.
 */
static void fill_places_of_those_ahead(void) {
    int fds[ROOM - 1];
    call_on(0, open_two_ahead);
    wait_for_idle(2);
    for (int i = 0; i < ROOM - 2; i++) {
        fds[i] = connect_to(service);
        CHECK(is_served(fds[i]));
    }
    CHECK_EQ(live_sum(), ROOM);
    call_on(0, take_one);
    CHECK_EQ(live_sum(), ROOM);
    wait_for_idle(1);
    fds[ROOM - 2] = connect_to(service); /* in its place */
    CHECK(is_served(fds[ROOM - 2]));
    CHECK_EQ(live_sum(), ROOM);
    wait_for_idle(0);
    for (int i = 0; i < ROOM - 1; i++) {
        close_in_order(fds[i]);
    }
    call_on(0, end_it);
    CHECK_EQ(close(upstream), 0); /* and the other ends with it */
    wait_for_live(0);
}

static void check_ahead(void) {
    add_limited("127.0.0.1:0", XEV_SERVE_HASH);
    open_upstream();
    options.deinit = free_group;
    run_with_clients(1, fill_places_of_those_ahead);
    CHECK_EQ(count_of(service).served, ROOM - 1);
    options = (xev_runtime_options){0};
    xev_serve_free(serve);
    serve = NULL;
}

TEST(none_is_opened_ahead_where_there_is_no_room) {
    limits = (xev_serve_limits){.process_max = ROOM, .reserve = UINT32_MAX};
    check_ahead();
    limits = (xev_serve_limits){.shard_max = ROOM, .reserve = UINT32_MAX};
    check_ahead();
}

/* ---- from many threads at once ---- */

enum { THREADS = 8, EACH = 20, ALL = THREADS * EACH };

static atomic_int served;
static int kept[ALL];

static void *connect_twenty(void *arg) {
    int *mine = arg;
    for (int i = 0; i < EACH; i++) {
        mine[i] = connect_from(2 + (uint32_t)i % 4);
        served += is_served(mine[i]);
    }
    return NULL;
}

static void connect_at_once(void) {
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++) {
        t[i] = thread_start(connect_twenty, &kept[i * EACH]);
    }
    for (int i = 0; i < THREADS; i++) {
        thread_join(t[i]);
    }
    for (int i = 0; i < ALL; i++) {
        CHECK_EQ(close(kept[i]), 0);
    }
}

static void check_exactly(uint32_t count) {
    served = 0;
    add_limited("127.0.0.1:0", XEV_SERVE_LEAST);
    run_with_clients(4, connect_at_once);
    CHECK_EQ(served, count);
    xev_service_counters c = count_of(service);
    CHECK_EQ(c.accepted, ALL);
    CHECK_EQ(c.served, count);
    CHECK_EQ(c.connections, 0);
    CHECK_EQ(live_sum(), 0);
    xev_serve_free(serve);
    serve = NULL;
}

TEST(limits_hold_where_all_shards_accept_at_once) {
    limits = (xev_serve_limits){.process_max = 50, .peer_max = UINT32_MAX, .reserve = UINT32_MAX};
    check_exactly(50);
    limits = (xev_serve_limits){.shard_max = 10, .peer_max = UINT32_MAX, .reserve = UINT32_MAX};
    check_exactly(40);
    limits = (xev_serve_limits){.peer_max = 12, .reserve = UINT32_MAX, .operators = ""};
    check_exactly(4 * 12);
}

/* ---- peers and operators ---- */

static void exceed_as_peers(void) {
    int fds[6];
    for (uint32_t i = 0; i < 6; i++) { /* two addresses in turn, two connections of each */
        fds[i] = connect_from(2 + i % 2);
        CHECK_EQ(is_served(fds[i]), i < 4);
    }
    for (int i = 0; i < 5; i++) {
        int fd = connect_from(9); /* an operator's */
        CHECK(is_served(fd));
        CHECK_EQ(close(fd), 0);
    }
    close_in_order(fds[0]);
    for (;;) { /* there is room when it is gone */
        int again = connect_from(2);
        bool yes = is_served(again);
        CHECK_EQ(close(again), 0);
        if (yes) {
            break;
        }
    }
    for (int i = 1; i < 6; i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
}

static void check_peers(xev_serve_policy policy) {
    limits = (xev_serve_limits){.peer_max = 2, .operators = "10.0.0.0/8,127.0.0.8/30"};
    add_limited("127.0.0.1:0", policy);
    run_with_clients(2, exceed_as_peers);
    CHECK_GE(refused_for(XEV_SERVE_FULL_PEER), 2);
    xev_serve_free(serve);
    serve = NULL;
}

TEST(no_more_connections_than_a_peer_may_have) {
    check_peers(XEV_SERVE_HASH);
    check_peers(XEV_SERVE_LEAST);
}

static void use_reserve(void) {
    int fds[8];
    for (uint32_t i = 0; i < 3; i++) {
        fds[i] = connect_from(2);
        CHECK_EQ(is_served(fds[i]), i < 2);
    }
    for (uint32_t i = 3; i < 6; i++) {
        fds[i] = connect_from(9);
        CHECK_EQ(is_served(fds[i]), i < 5);
    }
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
}

static void check_reserve(xev_serve_refusal why) {
    limits.reserve = 2;
    limits.operators = "127.0.0.9";
    add_limited("127.0.0.1:0", XEV_SERVE_SINGLE);
    run_with_clients(2, use_reserve);
    check_refused_only_for(why, 2);
    xev_serve_free(serve);
    serve = NULL;
}

TEST(some_room_is_for_operators_only) {
    limits = (xev_serve_limits){.process_max = 4};
    check_reserve(XEV_SERVE_FULL_PROCESS);
    limits = (xev_serve_limits){.shard_max = 4};
    check_reserve(XEV_SERVE_FULL_SHARD);
}

static void connect_five(void) {
    int fds[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = connect_to(service);
        CHECK(is_served(fds[i]));
    }
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
}

TEST(who_connects_over_loopback_is_an_operator_by_default) {
    limits = (xev_serve_limits){.peer_max = 1};
    add_limited("127.0.0.1:0", XEV_SERVE_AUTO);
    run_with_clients(2, connect_five);
    check_refused_only_for(XEV_SERVE_FULL_PEER, 0);
    xev_serve_free(serve);
}

TEST(peers_of_unix_sockets_are_operators_where_that_is_said) {
    limits = (xev_serve_limits){.process_max = 5, .reserve = 5, .operators = "unix"};
    add_limited(abstract_address(), XEV_SERVE_AUTO);
    run_with_clients(2, connect_five);
    check_refused_only_for(XEV_SERVE_FULL_PROCESS, 0);
    xev_serve_free(serve);
}

/* ---- memory ---- */

enum { GREEDY = 6 };
static char much[64 * 1024];
static atomic_int answered;
static struct pollfd greedy[GREEDY];

static ptrdiff_t answer_much(xev_conn *conn, const void *data, size_t len_bytes) {
    (void)data;
    (void)xev_conn_write(conn, much, sizeof much);
    answered++;
    return (ptrdiff_t)len_bytes;
}

/* They read nothing, and ask in turn, each when the one before was answered, until one is reset. */
static void ask_for_much(void) {
    int size = 4096, asked = 0;
    for (int i = 0; i < GREEDY; i++) {
        int fd = connect_to(service);
        CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
        greedy[i] = (struct pollfd){.fd = fd, .events = POLLRDHUP};
    }
    while (poll(greedy, GREEDY, 0) == 0) {
        (void)send(greedy[asked % GREEDY].fd, "?", 1, MSG_NOSIGNAL); /* it may be reset by now */
        asked++;
        while (answered < asked && poll(greedy, GREEDY, 0) == 0) {
            sched_yield();
        }
    }
    for (int i = 0; i < GREEDY; i++) {
        CHECK_EQ(close(greedy[i].fd), 0);
    }
}

static uint64_t ended_for_total;

static void count_ended(xev_shard *self, void *userdata) {
    xev_conn_counters c;
    (void)userdata;
    xev_conn_service_count(xev_service_conns(service, self), &c);
    CHECK_LE(c.held_bytes, 4 << 20);
    ended_for_total += c.closed[XEV_CONN_TOTAL_FULL];
    CHECK_EQ(c.closed[XEV_CONN_NO_MEMORY], 0);
}

TEST(connections_of_a_shard_hold_no_more_together_than_they_may) {
    static const xev_conn_handlers generous = {.data = answer_much};
    xev_service_options o = service_options("m", "127.0.0.1:0");
    o.conns.handlers = &generous;
    o.conns.held_max_bytes = 4 << 20;
    o.conns.full_reads = true; /* and so no water mark holds them back */
    service = add_service(&o);
    options.stop = count_ended;
    run_with_clients(1, ask_for_much);
    CHECK_GT(ended_for_total, 0);
    xev_serve_free(serve);
}

/* ---- defaults ---- */

static int stop_at_once(xev_shard *self, void *userdata) {
    (void)userdata;
    zero_stops_all(self);
    return 0;
}

TEST(the_defaults_leave_descriptors_for_others) {
    struct rlimit limit;
    xev_serve_limits is;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 1000;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    service = add_at("d", "127.0.0.1:0");
    options.init = stop_at_once;
    CHECK_EQ(run_services(2), 0);
    xev_serve_limits_get(serve, &is);
    CHECK_EQ(is.process_max, 1000 - 64 - 2 * 16);
    CHECK_EQ(is.shard_max, 65536);
    CHECK_EQ(is.peer_max, is.process_max / 2);
    CHECK_EQ(is.reserve, 16);
    limit.rlim_cur = 100;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_EQ(run_services(1), 0);
    xev_serve_limits_get(serve, &is);
    CHECK_EQ(is.process_max, 50);
    CHECK_EQ(is.reserve, 12);
    CHECK_EQ(is.own_descriptors, 0);
    xev_serve_free(serve);
}

static uint32_t process_max_with(uint32_t own_descriptors) {
    xev_serve_limits is;
    limits = (xev_serve_limits){.own_descriptors = own_descriptors};
    CHECK_EQ(xev_serve_set_limits(serve, &limits), 0);
    CHECK_EQ(run_services(2), 0);
    xev_serve_limits_get(serve, &is);
    CHECK_EQ(is.own_descriptors, own_descriptors);
    return is.process_max;
}

TEST(the_defaults_leave_descriptors_for_the_program) {
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 1000;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    service = add_at("d", "127.0.0.1:0");
    options.init = stop_at_once;
    CHECK_EQ(process_max_with(600), 1000 - 600 - 64 - 2 * 16);
    CHECK_EQ(process_max_with(900), (1000 - 900) / 2);
    CHECK_EQ(process_max_with(999), 1);
    CHECK_EQ(process_max_with(1000), 1);
    CHECK_EQ(process_max_with(UINT32_MAX), 1);
    xev_serve_free(serve);
}

/* From the clients' thread: any may do that. */
static void change_limits(void) {
    int fds[6];
    for (uint32_t i = 0; i < 3; i++) {
        fds[i] = connect_from(2);
        CHECK_EQ(is_served(fds[i]), i < 2);
    }
    const xev_serve_limits wrong = {.peer_max = 3, .operators = "127.0.0.9/33"};
    CHECK_EQ(xev_serve_set_limits(serve, &wrong), XEV_EINVAL);
    fds[3] = connect_from(2);
    CHECK(!is_served(fds[3])); /* as before */
    const xev_serve_limits more = {.peer_max = 3, .operators = "127.0.0.9"};
    CHECK_EQ(xev_serve_set_limits(serve, &more), 0);
    for (uint32_t i = 4; i < 6; i++) {
        fds[i] = connect_from(2);
        CHECK_EQ(is_served(fds[i]), i < 5);
    }
    for (int i = 0; i < 5; i++) {
        int fd = connect_from(9);
        CHECK(is_served(fd));
        CHECK_EQ(close(fd), 0);
    }
    const xev_serve_limits fewer = {.peer_max = 1};
    CHECK_EQ(xev_serve_set_limits(serve, &fewer), 0);
    CHECK(is_served(fds[0])); /* who is there stays */
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
}

TEST(limits_change_while_the_services_run) {
    xev_serve_limits is;
    limits = (xev_serve_limits){.peer_max = 2, .operators = ""};
    add_limited("127.0.0.1:0", XEV_SERVE_HASH);
    run_with_clients(2, change_limits);
    xev_serve_limits_get(serve, &is);
    CHECK_EQ(is.peer_max, 1);
    xev_serve_free(serve);
}

TEST(there_may_be_no_limits) {
    xev_serve_limits is;
    limits = (xev_serve_limits){.process_max = UINT32_MAX,
                                .shard_max = UINT32_MAX,
                                .peer_max = UINT32_MAX,
                                .reserve = UINT32_MAX,
                                .operators = ""};
    add_limited("127.0.0.1:0", XEV_SERVE_AUTO);
    run_with_clients(2, connect_five);
    xev_serve_limits_get(serve, &is);
    CHECK_EQ(is.process_max, UINT32_MAX);
    CHECK_EQ(is.shard_max, UINT32_MAX);
    CHECK_EQ(is.peer_max, UINT32_MAX);
    CHECK_EQ(is.reserve, 0);
    CHECK(!serve->rules.looks_at_peers);
    xev_serve_free(serve);
}

TEST(refusals_have_names) {
    for (int i = 0; i < XEV_SERVE_REFUSALS; i++) {
        CHECK_GT(strlen(xev_serve_refusal_name((xev_serve_refusal)i)), 0);
    }
    CHECK_STR_EQ(xev_serve_refusal_name(XEV_SERVE_FULL_PEER), "peer");
}

/* ---- who is an operator ---- */

static void key_of(const char *host, uint8_t *key) {
    xev_addr addr;
    CHECK_EQ(xev_addr_parse(&addr, host, 1), 0);
    xev__serve_address(&addr, key);
}

static bool is_operator(const char *list, const char *host) {
    uint8_t key[XEV__PEER_BYTES];
    key_of(host, key);
    CHECK_EQ(xev__serve_parse_operators(&serve->rules, list), 0);
    return xev__serve_is_operator(&serve->rules, key);
}

TEST(operators_are_addresses_and_networks) {
    CHECK_EQ(xev_serve_new(&serve), 0);
    CHECK(is_operator("10.1.0.0/16", "10.1.255.255"));
    CHECK(!is_operator("10.1.0.0/16", "10.2.0.0"));
    CHECK(is_operator("10.1.0.0/15", "10.0.9.9"));
    CHECK(!is_operator("10.1.0.0/15", "10.2.0.0"));
    CHECK(is_operator("0.0.0.0/0", "9.9.9.9"));
    CHECK(!is_operator("0.0.0.0/0", "2001:db8::1"));
    CHECK(is_operator("::/0", "9.9.9.9"));
    CHECK(is_operator("2001:db8::/33, 1.2.3.4", "2001:db8:7fff::1"));
    CHECK(!is_operator("2001:db8::/33, 1.2.3.4", "2001:db8:8000::1"));
    CHECK(is_operator(" ,2001:db8::/33 , 1.2.3.4,, ", "1.2.3.4"));
    CHECK(is_operator("1.2.3.4/32", "::ffff:1.2.3.4"));
    CHECK(!is_operator("", "127.0.0.1"));
    CHECK(!xev__serve_is_operator(&serve->rules, NULL));
    CHECK_EQ(xev__serve_parse_operators(&serve->rules, "::1 unix"), 0);
    CHECK(xev__serve_is_operator(&serve->rules, NULL));
    xev_serve_free(serve);
}

TEST(lists_of_operators_that_are_wrong) {
    static const char *const wrong[] = {"host",       "1.2.3",     "1.2.3.4/33", "::/129",
                                        "1.2.3.4/",   "1.2.3.4/x", "1.2.3.4/-1", "::1 nobody",
                                        "1.2.3.4:80", "/8"};
    char many[1024] = "", why[128];
    CHECK_EQ(xev_serve_new(&serve), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        limits.operators = wrong[i];
        CHECK_EQ(xev_serve_set_limits(serve, &limits), XEV_EINVAL);
        const char *word = strrchr(wrong[i], ' ');
        snprintf(why, sizeof why, "operators: no address, network or \"unix\": %s",
                 word != NULL ? word + 1 : wrong[i]);
        CHECK_STR_EQ(xev_err_why(), why);
    }
    for (int i = 0; i < 64; i++) {
        strcat(many, "1.2.3.4 ");
    }
    limits.operators = many;
    CHECK_EQ(xev_serve_set_limits(serve, &limits), 0);
    strcat(many, "::1");
    CHECK_EQ(xev_serve_set_limits(serve, &limits), XEV_EINVAL);
    CHECK_STR_EQ(xev_err_why(), "operators: more than 64: ::1");
    memset(many, '1', 100);
    CHECK_EQ(xev_serve_set_limits(serve, &limits), XEV_EINVAL);
    CHECK(is_operator("1.2.3.4", "1.2.3.4"));
    xev_serve_free(serve);
}

/* ---- the table ---- */

TEST(addresses_of_one_network_are_one_peer) {
    uint8_t a[XEV__PEER_BYTES], b[XEV__PEER_BYTES];
    key_of("2001:db8:1:2::1", a);
    key_of("2001:db8:1:2:ffff:ffff:ffff:ffff", b);
    CHECK(memcmp(a, b, sizeof a) != 0);
    xev__peer_network(a);
    xev__peer_network(b);
    CHECK_MEM_EQ(a, b, sizeof a);
    key_of("2001:db8:1:3::1", b);
    xev__peer_network(b);
    CHECK(memcmp(a, b, sizeof a) != 0);
    key_of("1.2.3.4", a);
    key_of("1.2.3.5", b);
    xev__peer_network(a);
    xev__peer_network(b);
    CHECK(memcmp(a, b, sizeof a) != 0);
    key_of("::ffff:1.2.3.4", b);
    xev__peer_network(b);
    CHECK_MEM_EQ(a, b, sizeof a);
}

enum { ADDRESSES = 3000, MOST = 5 };

/* Against an array of counts. */
TEST(the_table_counts_each_address) {
    static struct xev__peers peers;
    static struct xev__peer *taken[ADDRESSES][MOST];
    static uint32_t counts[ADDRESSES];
    uint64_t rng = 7;
    xev__peers_init(&peers);
    for (int step = 0; step < 100000; step++) {
        uint32_t i = rng_below(&rng, ADDRESSES);
        uint8_t key[XEV__PEER_BYTES] = {0x20, 0x01};
        memcpy(key + 2, &i, sizeof i);
        if (rng_below(&rng, 8) < 5) {
            struct xev__peer *peer;
            int rc = xev__peer_take(&peers, key, MOST, &peer);
            CHECK_EQ(rc, counts[i] < MOST ? 0 : XEV_ENOBUFS);
            CHECK_EQ(rc == 0, peer != NULL);
            if (rc == 0) {
                CHECK(counts[i] == 0 || peer == taken[i][0]);
                taken[i][counts[i]++] = peer;
            }
        } else if (counts[i] > 0) {
            xev__peer_give(&peers, taken[i][--counts[i]]);
        }
    }
    for (uint32_t i = 0; i < ADDRESSES; i++) {
        while (counts[i] > 0) {
            xev__peer_give(&peers, taken[i][--counts[i]]);
        }
    }
    xev__peers_deinit(&peers); /* asserts that none is left */
}
