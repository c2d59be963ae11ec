/* Which shard serves a connection: each policy, in numbers, and by the kernel's answers. */
#include "serve/internal.h"
#include "tests/random.h"
#include "tests/serve_scene.h"

static xev_service *service;

/* ---- the choice of LEAST, without a runtime ---- */

TEST(the_least_loaded_shard_is_chosen) {
    const uint32_t live[6] = {4, 2, 7, 2, 9, 2};
    uint32_t least;
    for (uint32_t first = 0; first < 6; first++) {
        /* The one that accepts, if it is one of them, else the lowest. */
        CHECK_EQ(xev__serve_least(live, 6, first, &least), first % 2 == 1 ? first : 1);
        CHECK_EQ(least, 2);
    }
    CHECK_EQ(xev__serve_least(live, 1, 0, &least), 0);
    CHECK_EQ(least, 4);
}

enum { MANY = 64, EACH = 8 };

static void spread(const uint32_t *live, uint32_t *min, uint32_t *max) {
    *min = UINT32_MAX;
    *max = 0;
    for (uint32_t i = 0; i < MANY; i++) {
        *min = live[i] < *min ? live[i] : *min;
        *max = live[i] > *max ? live[i] : *max;
    }
}

/* The kernel gives them to any shard, and this is where they go. */
TEST(sixty_four_shards_are_even) {
    static uint32_t live[MANY], of[MANY * EACH];
    uint64_t rng = 1;
    uint32_t min, max, least;
    for (uint32_t i = 0; i < MANY * EACH; i++) {
        of[i] = xev__serve_least(live, MANY, rng_below(&rng, MANY), &least);
        live[of[i]]++;
        spread(live, &min, &max);
        CHECK_LE(max - min, 1);
    }
    CHECK_EQ(max, EACH);
    for (int i = 0; i < 20000; i++) { /* one ends, another comes */
        uint32_t c = rng_below(&rng, MANY * EACH);
        live[of[c]]--;
        of[c] = xev__serve_least(live, MANY, rng_below(&rng, MANY), &least);
        live[of[c]]++;
        spread(live, &min, &max);
        CHECK_LE(max * 100, EACH * 125);
    }
}

/* ---- LEAST ---- */

enum { SHARDS = 4, CLIENTS = SHARDS * EACH };
static int fds[8 * CLIENTS];

static void check_even(const int *clients, int count) {
    uint32_t by[SHARDS] = {0};
    for (int i = 0; i < count; i++) {
        by[take_answer(clients[i], xev_service_name(service))]++;
    }
    for (uint32_t i = 0; i < SHARDS; i++) {
        xev_service_counters c;
        xev_service_count(service, i, &c);
        CHECK_EQ(by[i], count / SHARDS);
        CHECK_EQ(c.connections, by[i]);
        CHECK_EQ(c.served, by[i]);
    }
}

static void connect_eight_each(void) {
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = connect_to(service);
        ask_shard(fds[i]);
    }
    check_even(fds, CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        close_in_order(fds[i]);
    }
}

static void check_least(const char *address, xev_serve_policy policy) {
    xev_service_options o = service_options("l", address);
    o.policy = policy;
    service = add_service(&o);
    run_with_clients(SHARDS, connect_eight_each);
    CHECK_EQ(xev_service_policy(service), XEV_SERVE_LEAST);
    xev_service_counters sum = count_of(service);
    CHECK_EQ(sum.accepted, CLIENTS);
    CHECK_EQ(sum.served, CLIENTS);
    CHECK_EQ(sum.connections, 0);
    CHECK_LE(sum.handed, CLIENTS);
    xev_serve_free(serve);
}

TEST(least_is_even_over_tcp) { check_least("127.0.0.1:0", XEV_SERVE_LEAST); }
TEST(least_is_even_over_a_unix_socket) { check_least(abstract_address(), XEV_SERVE_AUTO); }

TEST(least_is_even_over_an_inherited_descriptor) {
    char address[32];
    xev_tcp tcp;
    xev_addr addr;
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 0), 0);
    CHECK_EQ(xev_tcp_init(&tcp, XEV_AF_INET), 0);
    CHECK_EQ(xev_tcp_bind(tcp, &addr, false), 0);
    CHECK_EQ(xev_tcp_listen(tcp, 100), 0);
    snprintf(address, sizeof address, "fd:%d", tcp.fd);
    check_least(address, XEV_SERVE_AUTO);
}

static void *connect_thirty_two(void *arg) {
    int *mine = arg;
    for (int i = 0; i < CLIENTS; i++) {
        mine[i] = connect_to(service);
        ask_shard(mine[i]);
    }
    return NULL;
}

static void connect_from_many_threads(void) {
    pthread_t t[8];
    for (int i = 0; i < 8; i++) {
        t[i] = thread_start(connect_thirty_two, &fds[i * CLIENTS]);
    }
    for (int i = 0; i < 8; i++) {
        thread_join(t[i]);
    }
    check_even(fds, 8 * CLIENTS);
    for (int i = 0; i < 8 * CLIENTS; i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
}

/* Whichever shards take room at the same moment. */
TEST(least_is_even_where_all_shards_accept_at_once) {
    xev_service_options o = service_options("l", "127.0.0.1:0");
    o.policy = XEV_SERVE_LEAST;
    service = add_service(&o);
    run_with_clients(SHARDS, connect_from_many_threads);
    xev_serve_free(serve);
}

static void wait_for_connections(uint32_t shard, uint32_t count) {
    xev_service_counters c;
    do {
        sched_yield();
        xev_service_count(service, shard, &c);
    } while (c.connections != count);
}

static void empty_one_shard(void) {
    uint32_t by[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = connect_to(service);
        ask_shard(fds[i]);
        by[i] = take_answer(fds[i], "l");
    }
    for (int i = 0; i < CLIENTS; i++) {
        if (by[i] == 2) {
            close_in_order(fds[i]);
        }
    }
    wait_for_connections(2, 0);
    for (int i = 0; i < CLIENTS; i++) {
        if (by[i] == 2) { /* the room that has come free is used again */
            fds[i] = connect_to(service);
            ask_shard(fds[i]);
            CHECK_EQ(take_answer(fds[i], "l"), 2);
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
}

TEST(a_shard_whose_connections_end_gets_new_ones) {
    xev_service_options o = service_options("l", "127.0.0.1:0");
    o.policy = XEV_SERVE_LEAST;
    service = add_service(&o);
    run_with_clients(SHARDS, empty_one_shard);
    xev_serve_free(serve);
}

/* ---- handed over, and drained ---- */

static pthread_t closer;

static void *take_all_and_close(void *arg) {
    (void)arg;
    for (int i = 0; i < CLIENTS; i++) {
        char c;
        (void)take_answer(fds[i], "l");
        CHECK_EQ(recv(fds[i], &c, 1, 0), 0);
        CHECK_EQ(close(fds[i]), 0);
    }
    return NULL;
}

static int connect_and_stop(xev_shard *self, void *userdata) {
    (void)userdata;
    if (xev_shard_id(self) == SHARDS - 1) {
        for (int i = 0; i < CLIENTS; i++) {
            fds[i] = connect_to(service);
            ask_shard(fds[i]);
        }
        xev_runtime_stop(&runtime);
        closer = thread_start(take_all_and_close, NULL);
    }
    return 0;
}

static void check_drain_hands_over(const char *address) {
    xev_service_options o = service_options("l", address);
    o.policy = XEV_SERVE_LEAST;
    service = add_service(&o);
    options.init = connect_and_stop;
    CHECK_EQ(run_services(SHARDS), 0);
    thread_join(closer);
    CHECK_EQ(count_of(service).served, CLIENTS);
    xev_serve_free(serve);
    serve = NULL;
}

TEST(the_drain_hands_over_and_serves_all) {
    check_drain_hands_over("127.0.0.1:0");
    check_drain_hands_over(abstract_address());
}

/* ---- DEAL and SINGLE ---- */

static void connect_in_turn(void) {
    for (uint32_t i = 0; i < 3 * SHARDS; i++) {
        bool deals = xev_service_policy(service) == XEV_SERVE_DEAL;
        CHECK_EQ(ask_and_close(service), deals ? i % SHARDS : 0);
    }
}

static void check_of_shard_0(const char *address, xev_serve_policy policy) {
    xev_service_options o = service_options("s", address);
    xev_service_counters c;
    o.policy = policy;
    service = add_service(&o);
    run_with_clients(SHARDS, connect_in_turn);
    xev_service_count(service, 0, &c);
    CHECK_EQ(c.accepted, 3 * SHARDS);
    CHECK_EQ(c.handed, policy == XEV_SERVE_DEAL ? 3 * (SHARDS - 1) : 0);
    xev_serve_free(serve);
    serve = NULL;
}

TEST(shard_0_deals_in_turn) {
    check_of_shard_0("127.0.0.1:0", XEV_SERVE_DEAL);
    check_of_shard_0(abstract_address(), XEV_SERVE_DEAL);
}

TEST(shard_0_serves_all) {
    check_of_shard_0("127.0.0.1:0", XEV_SERVE_SINGLE);
    check_of_shard_0(abstract_address(), XEV_SERVE_SINGLE);
}

/* ---- CPU ---- */

static cpu_set_t allowed;
static uint32_t cpus[2], cpus_len;

static void find_cpus(void) {
    CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE && cpus_len < 2; cpu++) {
        if (CPU_ISSET(cpu, &allowed)) {
            cpus[cpus_len++] = cpu;
        }
    }
}

/* Over the loopback device a packet comes in on the CPU that sends it. */
static void connect_from_each_cpu(void) {
    for (uint32_t i = 0; i < 20; i++) {
        cpu_set_t only;
        CPU_ZERO(&only);
        CPU_SET(cpus[i % cpus_len], &only);
        CHECK_EQ(sched_setaffinity(0, sizeof only, &only), 0);
        CHECK_EQ(ask_and_close(service), i % cpus_len);
    }
    CHECK_EQ(xev_service_policy(service), XEV_SERVE_CPU);
}

TEST(a_connection_is_served_where_its_packets_come_in) {
    xev_service_options o = service_options("c", "127.0.0.1:0");
    o.policy = XEV_SERVE_CPU;
    find_cpus();
    service = add_service(&o);
    run_with_clients(cpus_len, connect_from_each_cpu);
    xev_serve_free(serve);
}

static void connect_some(void) {
    for (int i = 0; i < 10; i++) {
        (void)ask_and_close(service);
    }
}

TEST(more_shards_than_cpus_are_chosen_by_hash) {
    xev_service_options o = service_options("c", "127.0.0.1:0");
    o.policy = XEV_SERVE_CPU;
    CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    uint32_t shards = (uint32_t)CPU_COUNT(&allowed) + 1;
    if (shards > SCENE_SHARDS) {
        return;
    }
    service = add_service(&o);
    run_with_clients(shards, connect_some);
    CHECK_EQ(xev_service_policy(service), XEV_SERVE_HASH);
    CHECK_EQ(count_of(service).served, 10);
    xev_serve_free(serve);
}
