/* What the tests of serve/ share: services that answer each byte with the number of the shard and
 * the letter of the service, and clients, which are plain sockets. */
#ifndef TESTS_SERVE_SCENE_H
#define TESTS_SERVE_SCENE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/shard_scene.h"
#include "xev/serve.h"

static xev_serve *serve;
static xev_runtime runtime;
static xev_runtime_options options;
static atomic_int closed_connections;

/* ---- calls on a shard, from the test's thread ---- */

static void (*call_fn)(void);
static sem_t called;
static bool can_call;

static inline void on_call(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    call_fn();
    sem_give(&called);
}

/* Have a shard of the runtime call fn, and wait until it has. */
static inline void call_on(uint32_t shard, void (*fn)(void)) {
    static xev_message message;
    if (!can_call) {
        sem_new(&called);
        can_call = true;
    }
    call_fn = fn;
    CHECK_EQ(xev_shard_send(xev_runtime_shard(&runtime, shard), &message, on_call, NULL), 0);
    sem_take(&called);
}

/* ---- the server ---- */

static inline ptrdiff_t answer_data(xev_conn *conn, const void *data, size_t len_bytes) {
    const char *letter = xev_conn_service_userdata(xev_conn_service_of(conn));
    (void)data;
    for (size_t i = 0; i < len_bytes; i++) {
        char text[2] = {(char)xev_shard_id(xev_shard_current()), *letter};
        (void)xev_conn_write(conn, text, 2);
    }
    return (ptrdiff_t)len_bytes;
}

static inline void answer_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    (void)conn;
    (void)reason;
    (void)code;
    closed_connections++;
}

static const xev_conn_handlers answers = {.data = answer_data, .closed = answer_closed};

/* Options of a service whose answers have a letter. */
static inline xev_service_options service_options(const char *name, const char *address) {
    return (xev_service_options){
        .name = name,
        .address = address,
        .conns = {.handlers = &answers, .userdata = (void *)(uintptr_t)name},
    };
}

static inline xev_service *add_service(const xev_service_options *o) {
    xev_service *service;
    if (serve == NULL) {
        CHECK_EQ(xev_serve_new(&serve), 0);
    }
    CHECK_EQ(xev_serve_add(serve, o, &service), 0);
    CHECK(service != NULL);
    CHECK_STR_EQ(xev_service_name(service), o->name);
    CHECK(xev_service_userdata(service) == o->userdata);
    return service;
}

/* Letter and name are the same. */
static inline xev_service *add_at(const char *name, const char *address) {
    xev_service_options o = service_options(name, address);
    return add_service(&o);
}

/* Run the services: the result of xev_serve_run. */
static inline int run_services(uint32_t shards) {
    if (options.drain_ms == 0) {
        options.drain_ms = HOUR_MS;
    }
    options.shards = shards;
    return xev_serve_run(serve, &runtime, &options);
}

static inline xev_service_counters count_of(const xev_service *service) {
    xev_service_counters sum = {0}, one;
    for (uint32_t i = 0; i < SCENE_SHARDS; i++) {
        xev_service_count(service, i, &one);
        sum.connections += one.connections;
        sum.accepted += one.accepted;
        sum.handed += one.handed;
        sum.served += one.served;
        sum.moved_in += one.moved_in;
        sum.moved_out += one.moved_out;
        for (int why = 0; why < XEV_SERVE_REFUSALS; why++) {
            sum.refused[why] += one.refused[why];
        }
    }
    return sum;
}

/* ---- a thread that is the clients ----
 *
 * It begins when the last shard's init callback is called: all services listen. When it returns the
 * runtime stops. */

static void (*clients_run)(void);
static pthread_t clients_thread;

static inline void *clients_main(void *arg) {
    (void)arg;
    clients_run();
    xev_runtime_stop(&runtime);
    return NULL;
}

static inline int clients_begin(xev_shard *self, void *userdata) {
    (void)userdata;
    const char *wanted = getenv("XEV_BACKEND");
    if (wanted != NULL) {
        CHECK_STR_EQ(xev_loop_backend(xev_shard_loop(self)), wanted);
    }
    if (xev_shard_id(self) == shards_of(self) - 1) {
        clients_thread = thread_start(clients_main, NULL);
    }
    return 0;
}

static inline void run_with_clients(uint32_t shards, void (*run)(void)) {
    clients_run = run;
    options.init = clients_begin;
    CHECK_EQ(run_services(shards), 0);
    thread_join(clients_thread);
}

/* ---- one client ---- */

static inline int try_connect_to(const xev_service *service) {
    xev_addr addr;
    CHECK_EQ(xev_service_addr(service, &addr), 0);
    static const int domains[] = {AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX};
    int fd = socket(domains[xev_addr_family(&addr)], SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    if (connect(fd, (struct sockaddr *)(void *)addr.storage, addr.len_bytes) < 0) {
        int rc = -errno;
        CHECK_EQ(close(fd), 0);
        return rc;
    }
    return fd;
}

static inline int connect_to(const xev_service *service) {
    int fd = try_connect_to(service);
    CHECK_GE(fd, 0);
    return fd;
}

/* Of one that may be refused. The reset may come before the connect returns: then the socket is not
 * connected, and whatever is sent or received there fails. */
static inline int connect_to_full(const xev_service *service) {
    int fd = try_connect_to(service);
    if (fd == -ECONNRESET) {
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    CHECK_GE(fd, 0);
    return fd;
}

static inline void ask_shard(int fd) { CHECK_EQ(send(fd, "?", 1, MSG_NOSIGNAL), 1); }

/* The shard that has answered. */
static inline uint32_t take_answer(int fd, const char *letter) {
    char text[2];
    CHECK_EQ(recv(fd, text, 2, MSG_WAITALL), 2);
    CHECK_EQ(text[1], *letter);
    return (uint32_t)(unsigned char)text[0];
}

static inline void close_in_order(int fd) {
    char c;
    CHECK_EQ(shutdown(fd, SHUT_WR), 0);
    CHECK_EQ(recv(fd, &c, 1, 0), 0);
    CHECK_EQ(close(fd), 0);
}

static inline uint32_t ask_and_close(const xev_service *service) {
    int fd = connect_to(service);
    ask_shard(fd);
    uint32_t shard = take_answer(fd, xev_service_name(service));
    close_in_order(fd);
    return shard;
}

/* ---- paths ---- */

/* One of the last eight texts. */
static inline char *next_text(void) {
    static char texts[8][100];
    static int next;
    return texts[next++ % 8];
}

/* The path of a file that is not there, behind a prefix, in a folder of the test's own, which is
 * the current one from then on. A path from the root may be too long for a Unix socket. */
static inline const char *path_in_tmp(const char *prefix, const char *name) {
    const char *dir = getenv("TEST_TMPDIR");
    CHECK_EQ(chdir(dir != NULL ? dir : "/tmp"), 0);
    char *path = next_text();
    snprintf(path, 100, "%s%s.%d", prefix, name, (int)getpid());
    (void)unlink(path + strlen(prefix));
    return path;
}

/* An address with an abstract name that no other test has: not even one with this process's
 * number, in another namespace. */
static inline const char *abstract_address(void) {
    uint64_t number;
    char *address = next_text();
    CHECK_EQ(getrandom(&number, sizeof number, 0), sizeof number);
    snprintf(address, 100, "unix:@xev-serve-test-%llx", (unsigned long long)number);
    return address;
}

static inline const char *file_of(const char *address) { return address + strlen("unix:"); }

#endif
