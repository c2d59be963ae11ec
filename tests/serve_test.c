/* Services on shards: addresses, ports, files of Unix sockets, inherited descriptors, drain. */
#include "tests/serve_scene.h"

#include <sys/resource.h>

static xev_service *one, *two, *three, *four;

/* Of a Unix socket: a port may be another program's by then. */
static void check_no_service_after(const xev_service *service) {
    CHECK_LT(try_connect_to(service), 0);
}

/* ---- several services ---- */

static void ask_all(void) {
    uint32_t by[3] = {0};
    for (int i = 0; i < 60; i++) {
        uint32_t shard = ask_and_close(one);
        CHECK_LT(shard, 3);
        by[shard]++;
        CHECK_LT(ask_and_close(two), 3);
        CHECK_LT(ask_and_close(three), 3);
        CHECK_EQ(ask_and_close(four), 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        xev_service_counters c;
        xev_service_count(one, i, &c);
        CHECK_EQ(c.served, by[i]);
        CHECK_EQ(c.accepted, by[i]);
    }
}

TEST(several_services_on_all_shards) {
    one = add_at("a", "127.0.0.1:0");
    two = add_at("b", "[::1]:0");
    three = add_at("c", path_in_tmp("unix:", "c"));
    xev_service_options o = service_options("d", "127.0.0.1:0");
    o.policy = XEV_SERVE_SINGLE;
    four = add_service(&o);
    run_with_clients(3, ask_all);
    xev_service *const all[] = {one, two, three, four};
    for (int i = 0; i < 4; i++) {
        xev_service_counters c = count_of(all[i]);
        CHECK_EQ(c.accepted, 60);
        CHECK_EQ(c.served, 60);
        for (int why = 0; why < XEV_SERVE_REFUSALS; why++) {
            CHECK_EQ(c.refused[why], 0);
        }
        static const xev_serve_policy policies[] = {XEV_SERVE_HASH, XEV_SERVE_HASH, XEV_SERVE_LEAST,
                                                    XEV_SERVE_SINGLE};
        CHECK_EQ(xev_service_policy(all[i]), policies[i]);
    }
    check_no_service_after(three);
    CHECK_EQ(closed_connections, 240);
    xev_serve_free(serve);
}

static void ask_one(void) { (void)ask_and_close(one); }

TEST(they_run_again_after_the_end) {
    one = add_at("a", "127.0.0.1:0");
    for (int i = 0; i < 3; i++) {
        run_with_clients(2, ask_one);
        CHECK_EQ(count_of(one).served, 1);
    }
    xev_serve_free(serve);
}

/* ---- port 0 ---- */

static xev_addr of_shards[4];

static int note_addr(xev_shard *self, void *userdata) {
    CHECK_EQ(xev_service_addr(one, &of_shards[xev_shard_id(self)]), 0);
    return clients_begin(self, userdata);
}

TEST(port_0_is_one_port_for_all_shards) {
    xev_addr addr;
    one = add_at("a", "127.0.0.1:0");
    CHECK_EQ(xev_service_addr(one, &addr), XEV_EINVAL); /* not yet */
    CHECK_EQ(xev_addr_family(&addr), XEV_AF_UNSPEC);
    clients_run = ask_one;
    options.init = note_addr;
    CHECK_EQ(run_services(4), 0);
    thread_join(clients_thread);
    CHECK_EQ(xev_service_addr(one, &addr), 0);
    CHECK_GT(xev_addr_port(&addr), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(xev_addr_port(&of_shards[i]), xev_addr_port(&addr));
    }
    xev_serve_free(serve);
}

/* ---- the service's part of a shard ---- */

struct part {
    uint64_t bytes[3];
};

static ptrdiff_t count_data(xev_conn *conn, const void *data, size_t len_bytes) {
    struct part *part = xev_conn_service_userdata(xev_conn_service_of(conn));
    part->bytes[0] += len_bytes;
    char text[2] = {0, 'p'};
    (void)data;
    (void)xev_conn_write(conn, text, 2);
    return (ptrdiff_t)len_bytes;
}

static void *parts[2];

static int look_at_part(xev_shard *self, void *userdata) {
    xev_conn_service *conns = xev_service_conns(one, self);
    CHECK(xev_conn_service_loop(conns) == xev_shard_loop(self));
    struct part *part = parts[xev_shard_id(self)] = xev_conn_service_userdata(conns);
    CHECK_EQ((uintptr_t)part % 64, 0);
    CHECK_EQ(part->bytes[0] + part->bytes[1] + part->bytes[2], 0);
    return clients_begin(self, userdata);
}

static void no_conns_any_more(xev_shard *self, void *userdata) {
    (void)userdata;
    CHECK(xev_service_conns(one, self) == NULL);
}

TEST(a_service_has_a_part_of_each_shard) {
    static const xev_conn_handlers counting = {.data = count_data};
    xev_service_options o = service_options("p", "127.0.0.1:0");
    o.shard_bytes = sizeof(struct part);
    o.conns.handlers = &counting;
    one = add_service(&o);
    clients_run = ask_one;
    options.init = look_at_part;
    options.deinit = no_conns_any_more;
    CHECK_EQ(run_services(2), 0);
    thread_join(clients_thread);
    CHECK(parts[0] != parts[1]);
    CHECK(xev_service_part(one, 0) == parts[0] && xev_service_part(one, 1) == parts[1]);
    CHECK(xev_service_part(one, 2) == NULL);
    CHECK_EQ(((struct part *)parts[0])->bytes[0] + ((struct part *)parts[1])->bytes[0], 1);
    xev_serve_free(serve);
}

/* ---- files of Unix sockets ---- */

static uint32_t wanted_mode;

static void check_mode(void) {
    struct stat st;
    xev_addr addr;
    char path[XEV_ADDR_TEXT_BYTES];
    CHECK_EQ(xev_service_addr(one, &addr), 0);
    CHECK_EQ(xev_addr_format(&addr, path, sizeof path), 0);
    CHECK_EQ(stat(path, &st), 0);
    CHECK(S_ISSOCK(st.st_mode));
    CHECK_EQ(st.st_mode & 07777, wanted_mode);
    (void)ask_and_close(one);
}

static void check_file_mode(uint32_t mode) {
    const char *address = path_in_tmp("unix:", "mode");
    xev_service_options o = service_options("m", address);
    o.file_mode = mode;
    wanted_mode = mode != 0 ? mode : 0600;
    one = add_service(&o);
    run_with_clients(1, check_mode);
    CHECK_EQ(access(file_of(address), F_OK), -1);
    xev_serve_free(serve);
    serve = NULL;
}

TEST(the_file_has_the_permissions_that_were_asked_for) {
    for (int i = 0; i < 2; i++) {
        (void)umask(i == 0 ? 0 : 077);
        check_file_mode(0);
        check_file_mode(0660);
        check_file_mode(0666);
        check_file_mode(0700);
    }
}

/* A socket's file whose process is gone. */
static void leave_stale(const char *path) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    CHECK_LT(strlen(path), sizeof sa.sun_path);
    memcpy(sa.sun_path, path, strlen(path));
    CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    CHECK_EQ(listen(fd, 1), 0);
    CHECK_EQ(close(fd), 0);
}

TEST(a_stale_file_is_replaced) {
    const char *address = path_in_tmp("unix:", "stale");
    leave_stale(file_of(address));
    one = add_at("s", address);
    run_with_clients(1, ask_one);
    CHECK_EQ(access(file_of(address), F_OK), -1);
    xev_serve_free(serve);
}

static const char *replaced;

static void replace_file(void) {
    (void)ask_and_close(one);
    CHECK_EQ(unlink(replaced), 0);
    leave_stale(replaced);
}

TEST(a_file_that_somebody_has_replaced_stays) {
    const char *address = path_in_tmp("unix:", "other");
    replaced = file_of(address);
    one = add_at("s", address);
    run_with_clients(1, replace_file);
    CHECK_EQ(access(replaced, F_OK), 0);
    CHECK_EQ(unlink(replaced), 0);
    xev_serve_free(serve);
}

TEST(an_abstract_name) {
    one = add_at("s", abstract_address());
    run_with_clients(2, ask_one);
    xev_serve_free(serve);
}

/* ---- descriptors that were inherited ---- */

static int listening_socket(int domain) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(domain, SOCK_STREAM, 0);
    CHECK_GE(fd, 0);
    if (domain == AF_INET) {
        CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    } else {
        sa_family_t family = AF_UNIX; /* a name that the system chooses */
        CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&family, sizeof family), 0);
    }
    CHECK_EQ(listen(fd, 100), 0);
    return fd;
}

static xev_service *add_fd(const char *name, int fd) {
    char address[32];
    snprintf(address, sizeof address, "fd:%d", fd);
    return add_at(name, address);
}

static void ask_two(void) {
    CHECK_LT(ask_and_close(one), 2);
    CHECK_LT(ask_and_close(two), 2);
}

TEST(descriptors_that_were_inherited) {
    int tcp = listening_socket(AF_INET), local = listening_socket(AF_UNIX);
    int parent = fcntl(tcp, F_DUPFD_CLOEXEC, 3);
    one = add_fd("t", tcp);
    two = add_fd("u", local);
    run_with_clients(2, ask_two);
    CHECK_EQ(fcntl(tcp, F_GETFD), -1);
    CHECK_EQ(fcntl(local, F_GETFD), -1);
    check_no_service_after(two);
    int fd = try_connect_to(one); /* it is the parent's, too, and listens on */
    CHECK_GE(fd, 0);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(close(parent), 0);
    xev_serve_free(serve);
}

/* ---- an accept that fails ---- */

static struct rlimit limit_before;
static atomic_int failed_accepts;

static void raise_limit(xev_service *service, xev_shard *shard, int code) {
    CHECK(service == one && shard == xev_shard_current());
    CHECK_EQ(code, XEV_EMFILE);
    failed_accepts++;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit_before), 0);
}

static int low_client;

static int connect_and_lower_limit(xev_shard *self, void *userdata) {
    low_client = connect_to(one);
    (void)clients_begin(self, userdata);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit_before), 0);
    struct rlimit low = {0, limit_before.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    return 0;
}

static void use_low_client(void) {
    ask_shard(low_client);
    (void)take_answer(low_client, "l");
    CHECK_EQ(close(low_client), 0);
}

TEST(the_service_is_told_of_accepts_that_fail) {
    xev_service_options o = service_options("l", "127.0.0.1:0");
    o.accept_failed = raise_limit;
    one = add_service(&o);
    clients_run = use_low_client;
    options.init = connect_and_lower_limit;
    CHECK_EQ(run_services(1), 0);
    thread_join(clients_thread);
    CHECK_GE(failed_accepts, 1);
    xev_serve_free(serve);
}

/* ---- limits of conn ---- */

static void connect_three(void) {
    int fds[2];
    char c;
    for (int i = 0; i < 2; i++) {
        fds[i] = connect_to(one);
        ask_shard(fds[i]);
        (void)take_answer(fds[i], "x");
    }
    int third = connect_to(one);
    CHECK_EQ(recv(third, &c, 1, 0), 0);
    CHECK_EQ(close(third), 0);
    close_in_order(fds[0]);
    close_in_order(fds[1]);
}

TEST(a_connection_too_many_is_closed_and_counted) {
    xev_service_options o = service_options("x", "127.0.0.1:0");
    o.conns.connections_max = 2;
    one = add_service(&o);
    run_with_clients(1, connect_three);
    xev_service_counters c = count_of(one);
    CHECK_EQ(c.accepted, 3);
    CHECK_EQ(c.served, 2);
    CHECK_EQ(c.refused[XEV_SERVE_FULL_SERVICE], 1);
    xev_serve_free(serve);
}

/* ---- the drain ---- */

enum { WAITING = 100 };
static int waiting[2 * WAITING];

/* They stand in the backlogs, with a request, when the drain begins. */
static int connect_many_and_stop(xev_shard *self, void *userdata) {
    (void)userdata;
    if (xev_shard_id(self) != shards_of(self) - 1) {
        return 0;
    }
    for (int i = 0; i < 2 * WAITING; i++) {
        waiting[i] = connect_to(i % 2 == 0 ? one : two);
        ask_shard(waiting[i]);
    }
    xev_runtime_stop(&runtime);
    return 0;
}

static void check_all_answered(void) {
    for (int i = 0; i < 2 * WAITING; i++) {
        char c;
        (void)take_answer(waiting[i], i % 2 == 0 ? "a" : "b");
        CHECK_EQ(recv(waiting[i], &c, 1, 0), 0); /* the end, and no reset */
        CHECK_EQ(close(waiting[i]), 0);
    }
}

static void *close_answered(void *arg) {
    (void)arg;
    check_all_answered();
    return NULL;
}

static pthread_t closer;

static int connect_stop_and_close(xev_shard *self, void *userdata) {
    int rc = connect_many_and_stop(self, userdata);
    if (xev_shard_id(self) == shards_of(self) - 1) {
        closer = thread_start(close_answered, NULL);
    }
    return rc;
}

TEST(the_drain_serves_the_backlogs_and_resets_nobody) {
    one = add_at("a", "127.0.0.1:0");
    two = add_at("b", path_in_tmp("unix:", "drain"));
    options.init = connect_stop_and_close;
    CHECK_EQ(run_services(3), 0);
    thread_join(closer);
    CHECK_EQ(count_of(one).served, WAITING);
    CHECK_EQ(count_of(two).served, WAITING);
    check_no_service_after(two);
    xev_serve_free(serve);
}

TEST(the_drain_s_deadline_cuts_connections) {
    one = add_at("a", "127.0.0.1:0");
    two = add_at("b", "127.0.0.1:0");
    options.drain_ms = 1;
    options.init = connect_many_and_stop;
    CHECK_EQ(run_services(2), XEV_ETIMEDOUT); /* the peers do not end */
    CHECK_EQ(closed_connections, count_of(one).served + count_of(two).served);
    xev_serve_free(serve);
}
