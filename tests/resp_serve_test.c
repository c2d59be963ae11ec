/* Commands of Redis's protocol on connections and over shards: each kind of command reaches the
 * shards that it concerns, replies come in the order of the requests, and what is wrong or too much
 * is told to the client. */
#include "examples/resp/serve.h"

#include <stdarg.h>

#include "tests/serve_scene.h"

enum { SHARDS = 3, ASK_BYTES = 4096, LONG = 3 * ASK_BYTES };

static resp_service resp;
static xev_service *service;

/* ---- commands: a shard has no data, and answers with its number ---- */

static int run_get(resp_call *c) {
    char text[64];
    int len = snprintf(text, sizeof text, "%d:%.*s", (int)c->server->id, (int)c->argv[1].len,
                       c->argv[1].at);
    CHECK_EQ(c->hash, resp_hash(&resp, c->argv[1]));
    CHECK_EQ(c->server->id, resp_shard_of(&resp, c->hash));
    return resp_put_bulk(c->out, (resp_text){text, (uint32_t)len, 0});
}

static int run_long(resp_call *c) {
    static char text[LONG];
    return resp_put_bulk(c->out, (resp_text){text, sizeof text, 0});
}

/* As where realloc has no memory, in the middle of the reply. */
static int run_without_memory(resp_call *c) {
    resp_put_text(c->out, "*2\r\n");
    c->out->failed = true;
    return 0;
}

static int run_id(resp_call *c) { return resp_put_number(c->out, ':', c->server->id); }

static int run_end(resp_call *c) {
    resp_put_text(c->out, "+last\r\n");
    return c->command->arg;
}

static uint32_t last_shard(const resp_call *c) {
    CHECK_GE(c->argc, 1);
    return SHARDS - 1;
}

static xev_cb_action answer_late(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    resp_out out = {0};
    (void)loop;
    CHECK_EQ(result, 0);
    resp_put_text(&out, "+late\r\n");
    resp_answer(userdata, &out);
    resp_free(&out);
    free(c);
    return XEV_DISARM;
}

static int run_later(resp_call *c) {
    if (c->argc > 1) {
        return resp_put_text(c->out, "+now\r\n");
    }
    xev_completion *timer = calloc(1, sizeof *timer);
    CHECK(timer != NULL);
    CHECK_EQ(c->server->id, SHARDS - 1);
    xev_timer_run(NULL, xev_shard_loop(xev_shard_current()), timer, 1, c->ask, answer_late);
    return 1;
}

/* Of each key one; the key itself. */
static int run_part(resp_call *c) {
    CHECK_EQ(c->server->id, resp_shard_of(&resp, resp_hash(&resp, c->argv[1])));
    if (c->command->sum == RESP_ARRAY) {
        resp_put_bulk(c->out, c->argv[1]);
    }
    return 1;
}

/* Each shard counts its number; its data is the letter x. */
static int run_all(resp_call *c) {
    if (c->command->arg < 0) {
        return c->server->id == SHARDS - 1 ? c->command->arg : 0;
    }
    if (c->command->sum == RESP_ONE) {
        resp_put(c->out, "x", c->server->id > 0);
    }
    return (int)c->server->id;
}

static const resp_command commands[] = {
    {"get", RESP_KEY, 2, .run = run_get, .value = true},
    {"long", RESP_KEY, 2, .run = run_long},
    {"nomem", RESP_KEY, 2, .run = run_without_memory},
    {"first", RESP_SHARD, 1, .run = run_id},
    {"last", RESP_SHARD, 1, .run = run_id, .shard = last_shard},
    {"later", RESP_LATER, -1, .run = run_later, .shard = last_shard},
    {"end", RESP_HERE, 1, .run = run_end, .arg = -1},
    {"each", RESP_EACH, -2, .one = "get"},
    {"sum", RESP_PARTS, -2, .run = run_part, .step = 1, .sum = RESP_COUNT},
    {"pairs", RESP_PARTS, -3, .run = run_part, .step = 2, .sum = RESP_OK},
    {"list", RESP_PARTS, -2, .run = run_part, .step = 1, .sum = RESP_ARRAY},
    {"count", RESP_ALL, 1, .run = run_all, .sum = RESP_COUNT},
    {"one", RESP_ALL, 1, .run = run_all, .sum = RESP_ONE},
    {"full", RESP_ALL, 1, .run = run_all, .arg = XEV_ENOMEM, .sum = RESP_OK},
};

/* ---- the server ---- */

static int begin(xev_shard *self, void *userdata) {
    resp_attach(&resp, xev_shard_loop(self), xev_shard_id(self));
    return clients_begin(self, userdata);
}

static void run_resp(void (*client)(void)) {
    resp = (resp_service){
        .name = "test", .commands = commands, .commands_len = sizeof commands / sizeof *commands};
    CHECK(resp_init(&resp, SHARDS, 7));
    xev_service_options o = service_options("r", "127.0.0.1:0");
    o.policy = XEV_SERVE_SINGLE; /* shard 0 has all connections */
    o.conns.handlers = &resp_handlers;
    o.conns.user_bytes = sizeof(resp_client);
    service = add_service(&o);
    options.key_seed = 7;
    options.ask_bytes = ASK_BYTES;
    options.init = begin;
    clients_run = client;
    CHECK_EQ(run_services(SHARDS), 0);
    thread_join(clients_thread);
    xev_serve_free(serve);
    for (int i = 0; i < SHARDS; i++) { /* kept to the end of a program, which this is not */
        resp_server *s = &resp.servers[i];
        resp_free(&s->out);
        resp_free(&s->more);
        resp_free(&s->packed);
        resp_free(&s->asked);
        resp_free(&s->read.args);
    }
    free(resp.servers);
}

/* ---- a client ---- */

static void send_text(int fd, const char *text) {
    CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect(int fd, const char *text) {
    static char got[4096];
    size_t len = strlen(text);
    CHECK_LT(len, sizeof got);
    ssize_t n = recv(fd, got, len, MSG_WAITALL);
    got[n > 0 ? n : 0] = '\0';
    CHECK_STR_EQ(got, text);
}

static void expect_end(int fd) {
    char c;
    CHECK_LE(recv(fd, &c, 1, 0), 0);
    CHECK_EQ(close(fd), 0);
}

static void exchange(int fd, const char *request, const char *reply) {
    send_text(fd, request);
    expect(fd, reply);
}

/* A key of a shard. */
static const char *key_of(uint32_t shard) {
    static char keys[SHARDS][16];
    for (int i = 0;; i++) {
        snprintf(keys[shard], sizeof keys[0], "key%d", i);
        if (resp_shard_of(&resp, resp_hash(&resp, resp_text_of(keys[shard]))) == shard) {
            return keys[shard];
        }
    }
}

static const char *printed(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *printed(const char *format, ...) {
    static char texts[4][1024];
    static int next;
    char *text = texts[next++ % 4];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof texts[0], format, args);
    va_end(args);
    return text;
}

/* ---- each kind ---- */

static void use_each_kind(void) {
    int fd = connect_to(service);
    const char *k[] = {key_of(0), key_of(1), key_of(2)};
    for (int i = 0; i < SHARDS; i++) {
        exchange(fd, printed("GET %s\r\n", k[i]),
                 printed("$%d\r\n%d:%s\r\n", (int)strlen(k[i]) + 2, i, k[i]));
    }
    exchange(fd, "FIRST\r\n", ":0\r\n");
    exchange(fd, "LAST\r\n", ":2\r\n");
    exchange(fd, "LATER\r\nLATER x\r\n", "+late\r\n+now\r\n");
    exchange(fd, printed("EACH %s %s %s\r\n", k[2], k[0], k[1]),
             printed("*3\r\n$%d\r\n2:%s\r\n$%d\r\n0:%s\r\n$%d\r\n1:%s\r\n", (int)strlen(k[2]) + 2,
                     k[2], (int)strlen(k[0]) + 2, k[0], (int)strlen(k[1]) + 2, k[1]));
    exchange(fd, printed("SUM %s %s %s %s\r\n", k[2], k[0], k[1], k[1]), ":4\r\n");
    exchange(fd, printed("PAIRS %s v %s w\r\n", k[2], k[0]), "+OK\r\n");
    exchange(fd, printed("LIST %s %s\r\n", k[1], k[1]),
             printed("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", (int)strlen(k[1]), k[1], (int)strlen(k[1]),
                     k[1]));
    exchange(fd, "COUNT\r\n", ":3\r\n");
    exchange(fd, "ONE\r\n", "$1\r\nx\r\n");
    CHECK_EQ(close(fd), 0);
}

TEST_TIMEOUT(each_kind_of_command_reaches_its_shards, 60) { run_resp(use_each_kind); }

/* ---- errors and limits ---- */

#define SAVE_REFUSED "-ERR the server was started without a snapshot\r\n"
#define ARGUMENTS(name) "-ERR wrong number of arguments for '" name "' command\r\n"

static void ask_wrong_things(void) {
    int fd = connect_to(service);
    exchange(fd, "GET\r\n", ARGUMENTS("get"));
    exchange(fd, "GET a b\r\n", ARGUMENTS("get"));
    exchange(fd, "SUM\r\n", ARGUMENTS("sum"));
    exchange(fd, "PAIRS a 1 b\r\n", ARGUMENTS("pairs"));
    exchange(fd, "GOT a\r\n", "-ERR unknown command 'GOT', with args beginning with: 'a' \r\n");
    exchange(fd, "FULL\r\n", "-" RESP_NO_MEMORY "\r\n");
    exchange(fd, printed("NOMEM %s\r\n", key_of(1)), "-" RESP_NO_MEMORY "\r\n");
    exchange(fd, "SAVE x\r\n", ARGUMENTS("save"));
    exchange(fd, "SAVE\r\n", SAVE_REFUSED);
    exchange(fd, "BGSAVE\r\n", SAVE_REFUSED);
    CHECK_EQ(close(fd), 0);
    fd = connect_to(service);
    exchange(fd, "PING\r\n*x\r\nPING\r\n",
             "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n");
    expect_end(fd);
    fd = connect_to(service);
    exchange(fd, "PING\r\nEND\r\nPING\r\n", "+PONG\r\n+last\r\n");
    expect_end(fd);
    fd = connect_to(service);
    exchange(fd, "QUIT\r\nPING\r\n", "+OK\r\n");
    expect_end(fd);
}

TEST_TIMEOUT(what_is_wrong_is_told, 60) { run_resp(ask_wrong_things); }

/* What is longer than ask_bytes is refused where it has to go to another shard, and the connection
 * goes on. */
static void ask_too_much(void) {
    static char request[LONG + 100], reply[LONG + 100];
    int fd = connect_to(service);
    exchange(fd, printed("LONG %s\r\n", key_of(1)),
             "-ERR the request or its reply is too long\r\n");
    send_text(fd, printed("LONG %s\r\n", key_of(0)));
    int head = snprintf(reply, sizeof reply, "$%d\r\n", LONG);
    CHECK_EQ(recv(fd, reply, (size_t)head + LONG + 2, MSG_WAITALL), head + LONG + 2);
    int at = snprintf(request, sizeof request, "LATER ");
    memset(request + at, 'x', LONG);
    memcpy(request + at + LONG, "\r\n", 3);
    send_text(fd, request);
    expect(fd, "-ERR the request or its reply is too long\r\n");
    exchange(fd, "PING\r\n", "+PONG\r\n");
    CHECK_EQ(close(fd), 0);
}

TEST_TIMEOUT(what_is_longer_than_an_ask_is_refused, 60) { run_resp(ask_too_much); }

/* ---- order ---- */

static void pipeline(void) {
    enum { ROUNDS = 200 };
    int fd = connect_to(service);
    const char *k[] = {key_of(0), key_of(1), key_of(2)};
    for (int round = 0; round < ROUNDS; round++) {
        send_text(fd,
                  printed("LATER\r\nGET %s\r\nFIRST\r\nGET %s\r\nCOUNT\r\nPING\r\n", k[1], k[2]));
    }
    for (int round = 0; round < ROUNDS; round++) {
        expect(fd, printed("+late\r\n$%d\r\n1:%s\r\n:0\r\n$%d\r\n2:%s\r\n:3\r\n+PONG\r\n",
                           (int)strlen(k[1]) + 2, k[1], (int)strlen(k[2]) + 2, k[2]));
    }
    CHECK_EQ(close(fd), 0);
}

TEST_TIMEOUT(replies_come_in_the_order_of_the_requests, 60) { run_resp(pipeline); }

TEST(only_a_larger_value_is_noted) {
    static resp_server server;
    resp_note_value(&server, 10);
    resp_note_value(&server, 5);
    CHECK_EQ(atomic_load(&server.value_max), 10);
    resp_note_value(&server, 11);
    CHECK_EQ(atomic_load(&server.value_max), 11);
}
