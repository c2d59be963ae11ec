/* Misuse of the runtime ends the program, as in misuse_test.c. Bad numbers and addresses are codes.
 */
#include "tests/death.h"
#include "tests/shard_scene.h"
#include "xev/ask.h"

/* Of calls that must not return. */
#pragma GCC diagnostic ignored "-Wunused-result"

#define DIES(function, argument, ...) DIES_AFTER((void)0, function, argument, __VA_ARGS__)
#define REFUSES(function, argument, code, ...) CHECK_EQ(function(__VA_ARGS__), code)
#define TAKES(function, argument, ...) function(__VA_ARGS__)

static xev_runtime ended; /* runs not */
static const xev_runtime_options options;
static _Alignas(XEV_MPSC_CACHE_LINE) char memory[4096];
static xev_shard *const shard = (xev_shard *)(void *)memory; /* not looked at */
static xev_shard_counters counters;
static xev_histogram histogram;
static xev_shard_delays delay;
static xev_runtime_failure failure;
static xev_listener listener;
static xev_listener_status status;
static xev_message message;
static xev_request request;
static xev_addr addr;

static void on_connection(xev_listener *l, int result, void *userdata) {
    (void)l;
    (void)result;
    (void)userdata;
}

static void on_message(xev_shard *self, xev_message *m, void *arg) {
    (void)self;
    (void)m;
    (void)arg;
}

static void on_request(xev_shard *self, xev_request *r, void *arg) {
    (void)self;
    (void)arg;
    TAKES(xev_shard_reply, result, r, INT32_MIN);
}

static void on_reply(xev_shard *self, xev_request *r, int result, void *arg) {
    (void)r;
    (void)arg;
    CHECK_EQ(result, INT32_MIN);
    stop_all(self);
}

TEST(misuse_of_a_runtime_is_caught) {
    DIES(xev_runtime_run, rt, NULL, &options);
    DIES(xev_runtime_run, options, &ended, NULL);
    DIES(xev_runtime_failure_get, rt, NULL, &failure);
    DIES(xev_runtime_failure_get, out, &ended, NULL);
    DIES(xev_runtime_stop, rt, NULL);
    TAKES(xev_runtime_stop, rt, &ended);
    DIES(xev_runtime_reload, rt, NULL);
    TAKES(xev_runtime_reload, rt, &ended);
    DIES(xev_runtime_shards, rt, NULL);
    DIES(xev_runtime_shards, rt, &ended);
    DIES(xev_runtime_shard, rt, NULL, 0);
    DIES(xev_runtime_shard, rt, &ended, 0);
    DIES(xev_shard_of_key, rt, NULL, "", 0);
    DIES(xev_shard_of_key, rt, &ended, "", 0);
    DIES(xev_shard_of_key, key, &ended, NULL, 1);
    DIES(xev_key_hash, key, NULL, 1, 0);
    TAKES(xev_key_hash, seed, "", 0, UINT64_MAX);
    TAKES(xev_key_hash, len_bytes, NULL, 0, 0);
}

static void run_on_a_shard(xev_shard *self) {
    (void)self;
    xev_runtime_run(&ended, &options);
}

static void run_and_run_on_a_shard(void) {
    sc.body = run_on_a_shard;
    (void)!scene_run(1);
}

TEST(a_runtime_run_on_a_shard_is_caught) { check_dies(run_and_run_on_a_shard, "xev_runtime_run"); }

TEST(misuse_of_shards_is_caught) {
    DIES(xev_shard_id, shard, NULL);
    DIES(xev_shard_runtime, shard, NULL);
    DIES(xev_shard_loop, shard, NULL);
    DIES(xev_shard_cpu, shard, NULL);
    DIES(xev_cpu_order, order, NULL, 1);
    CHECK_GE(TAKES(xev_cpu_order, max, NULL, 0), 1);
    DIES(xev_shard_count, shard, NULL, &counters);
    DIES(xev_shard_count, out, shard, NULL);
    DIES(xev_shard_delays_get, to, NULL, 0, &delay);
    DIES(xev_shard_delays_get, out, shard, 0, NULL);
    DIES(xev_shard_times, shard, NULL, XEV_SHARD_TURNS, &histogram);
    DIES(xev_shard_times, which, shard, XEV_SHARD_TIMES, &histogram);
    DIES(xev_shard_times, into, shard, XEV_SHARD_TURNS, NULL);
    DIES(xev_shard_listen, shard, NULL, &listener, &addr, 0, NULL, on_connection);
    DIES(xev_shard_listen, listener, shard, NULL, &addr, 0, NULL, on_connection);
    DIES(xev_shard_listen, callback, shard, &listener, &addr, 0, NULL, NULL);
    DIES(xev_shard_listen_fd, shard, NULL, &listener, 0, false, NULL, on_connection);
    DIES(xev_shard_listen_fd, listener, shard, NULL, 0, false, NULL, on_connection);
    DIES(xev_shard_listen_fd, callback, shard, &listener, 0, false, NULL, NULL);
    DIES(xev_shard_fail, shard, NULL, XEV_EIO, "", "", "");
    DIES(xev_shard_fail, call, shard, XEV_EIO, NULL, "", "");
    DIES(xev_shard_fail, part, shard, XEV_EIO, "", NULL, "");
    DIES(xev_shard_fail, object, shard, XEV_EIO, "", "", NULL);
    DIES(xev_shard_fail_why, shard, NULL, XEV_EIO, "", "", "", "");
    DIES(xev_shard_fail_why, call, shard, XEV_EIO, NULL, "", "", "");
    DIES(xev_shard_fail_why, part, shard, XEV_EIO, "", NULL, "", "");
    DIES(xev_shard_fail_why, object, shard, XEV_EIO, "", "", NULL, "");
    DIES(xev_shard_fail_why, why, shard, XEV_EIO, "", "", "", NULL);
    DIES(xev_listener_tcp, listener, NULL);
    DIES(xev_listener_addr, listener, NULL, &addr);
    DIES(xev_listener_addr, addr, &listener, NULL);
    DIES(xev_listener_shard, listener, NULL);
    DIES(xev_listener_status_get, listener, NULL, &status);
    DIES(xev_listener_status_get, out, &listener, NULL);
    DIES(xev_listener_pause, listener, NULL);
    DIES(xev_listener_resume, listener, NULL);
}

TEST(misuse_of_senders_is_caught) {
    static xev_sender closed;
    DIES(xev_sender_open, sender, NULL, &ended);
    DIES(xev_sender_open, rt, &closed, NULL);
    REFUSES(xev_sender_open, rt, XEV_ECANCELED, &closed, &ended);
    DIES(xev_sender_shards, sender, NULL);
    DIES(xev_sender_shards, sender, &closed);
    DIES(xev_sender_shard, sender, NULL, 0);
    DIES(xev_sender_shard, sender, &closed, 0);
    DIES(xev_sender_broadcast, sender, NULL, &message, on_message, NULL);
    DIES(xev_sender_broadcast, sender, &closed, &message, on_message, NULL);
    DIES(xev_sender_close, sender, NULL);
    DIES(xev_sender_close, sender, &closed);
}

static int misuse_sender(xev_shard *self) {
    xev_sender sender;
    CHECK_EQ(xev_sender_open(&sender, &sc.rt), 0);
    TAKES(xev_sender_shard, id, &sender, UINT32_MAX);
    TAKES(xev_shard_delays_get, from, self, UINT32_MAX, &delay);
    DIES(xev_sender_broadcast, messages, &sender, NULL, on_message, NULL);
    DIES(xev_sender_broadcast, handler, &sender, &message, NULL, NULL);
    xev_sender_close(&sender);
    stop_all(self);
    return 0;
}

TEST(misuse_of_an_open_sender_is_caught) {
    sc.init = misuse_sender;
    CHECK_EQ(scene_run(1), 0);
}

TEST(misuse_of_messages_is_caught) {
    DIES(xev_shard_send, to, NULL, &message, on_message, NULL);
    DIES(xev_shard_send, message, shard, NULL, on_message, NULL);
    DIES(xev_shard_send, handler, shard, &message, NULL, NULL);
    DIES(xev_shard_send_urgent, to, NULL, &message, on_message, NULL);
    DIES(xev_shard_send_urgent, message, shard, NULL, on_message, NULL);
    DIES(xev_shard_send_urgent, handler, shard, &message, NULL, NULL);
    DIES(xev_shard_await_room, to, NULL, &request, NULL, on_reply);
    DIES(xev_shard_await_room, request, shard, NULL, NULL, on_reply);
    DIES(xev_shard_await_room, reply, shard, &request, NULL, NULL);
    DIES(xev_shard_broadcast, rt, NULL, &message, on_message, NULL);
    REFUSES(xev_shard_broadcast, rt, XEV_ECANCELED, &ended, &message, on_message, NULL);
    DIES(xev_shard_broadcast, messages, &ended, NULL, on_message, NULL);
    DIES(xev_shard_broadcast, handler, &ended, &message, NULL, NULL);
    DIES(xev_shard_submit_to, to, NULL, &request, on_request, NULL, on_reply);
    DIES(xev_shard_submit_to, request, shard, NULL, on_request, NULL, on_reply);
    DIES(xev_shard_submit_to, handler, shard, &request, NULL, NULL, on_reply);
    DIES(xev_shard_submit_to, reply, shard, &request, on_request, NULL, NULL);
    DIES(xev_shard_reply, request, NULL, 0);
}

static const xev_vec piece = {memory, 1};

static void on_ask(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    DIES(xev_ask_answer, data, ask, 0, NULL, 1);
    DIES(xev_ask_watch, over, ask, NULL, NULL);
    CHECK(TAKES(xev_ask_room, len_bytes, ask, SIZE_MAX) == NULL);
    CHECK(TAKES(xev_ask_room, len_bytes, ask, XEV_ASK_BYTES_MAX) == NULL);
    char *room = xev_ask_room(ask, 100);
    CHECK(room != NULL);
    DIES(xev_ask_answer, len_bytes, ask, 0, room, 200000);
    DIES(xev_ask_answer, data, ask, 0, room + 1, 1);
    DIES(xev_ask_answer, data, ask, 0, room + 99, 1);
    CHECK_EQ(len, 1);
    TAKES(xev_ask_answer, result, ask, INT32_MIN, NULL, 0);
    DIES(xev_ask_answer, ask, ask, 0, NULL, 0);
}

static void on_answer(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    (void)answer;
    (void)len;
    (void)userdata;
    static int left = 2;
    CHECK_EQ(result, INT32_MIN);
    if (--left == 0) {
        stop_all(self);
    }
}

static void on_over(xev_shard *self, xev_ask *ask, void *userdata) {
    (void)self;
    (void)ask;
    (void)userdata;
}

static void on_mapped(xev_shard *self, int result, void *userdata) {
    (void)self;
    (void)userdata;
    CHECK_EQ(result, INT32_MIN);
}

static void misuse_of_an_ask(xev_shard *self) {
    xev_ask_handle handle;
    static const xev_map map = {on_ask, NULL};
    const xev_vec endless[] = {{memory, 1}, {memory, SIZE_MAX}};
    REFUSES(xev_shard_map_reduce, count, XEV_EMSGSIZE, &sc.rt, endless, 2, 0, &map, NULL,
            on_mapped);
    CHECK_EQ(TAKES(xev_shard_map_reduce, timeout_ms, &sc.rt, &piece, 1, UINT32_MAX, &map, NULL,
                   on_mapped),
             0);
    REFUSES(xev_shard_ask, count, XEV_EMSGSIZE, self, endless, 2, 0, on_ask, NULL, on_answer);
    REFUSES(xev_shard_ask_with_handle, count, XEV_EMSGSIZE, self, endless, 2, 0, &handle, on_ask,
            NULL, on_answer);
    CHECK_EQ(TAKES(xev_shard_ask_with_handle, timeout_ms, self, &piece, 1, UINT32_MAX, &handle,
                   on_ask, NULL, on_answer),
             0);
    CHECK(!TAKES(xev_ask_cancel, handle, UINT64_MAX));
    CHECK_EQ(TAKES(xev_shard_ask, timeout_ms, self, &piece, 1, UINT32_MAX, on_ask, NULL, on_answer),
             0);
}

TEST(misuse_of_asks_is_caught) {
    DIES(xev_shard_ask, to, NULL, &piece, 1, 0, on_ask, NULL, on_answer);
    DIES(xev_shard_ask, vec, shard, NULL, 1, 0, on_ask, NULL, on_answer);
    DIES(xev_shard_ask, fn, shard, &piece, 1, 0, NULL, NULL, on_answer);
    DIES(xev_shard_ask, answered, shard, &piece, 1, 0, on_ask, NULL, NULL);
    xev_ask_handle handle;
    DIES(xev_shard_ask_with_handle, to, NULL, &piece, 1, 0, &handle, on_ask, NULL, on_answer);
    DIES(xev_shard_ask_with_handle, vec, shard, NULL, 1, 0, &handle, on_ask, NULL, on_answer);
    DIES(xev_shard_ask_with_handle, handle, shard, &piece, 1, 0, NULL, on_ask, NULL, on_answer);
    DIES(xev_shard_ask_with_handle, fn, shard, &piece, 1, 0, &handle, NULL, NULL, on_answer);
    DIES(xev_shard_ask_with_handle, answered, shard, &piece, 1, 0, &handle, on_ask, NULL, NULL);
    DIES(xev_ask_watch, ask, NULL, NULL, on_over);
    DIES(xev_ask_room, ask, NULL, 1);
    DIES(xev_ask_is_over, ask, NULL);
    DIES(xev_ask_answer, ask, NULL, 0, NULL, 0);
    static const xev_map map = {on_ask, NULL}, none = {NULL, NULL};
    DIES(xev_shard_map_reduce, rt, NULL, &piece, 1, 0, &map, NULL, on_mapped);
    REFUSES(xev_shard_map_reduce, rt, XEV_EINVAL, &ended, &piece, 1, 0, &map, NULL, on_mapped);
    DIES(xev_shard_map_reduce, vec, &ended, NULL, 1, 0, &map, NULL, on_mapped);
    DIES(xev_shard_map_reduce, map, &ended, &piece, 1, 0, NULL, NULL, on_mapped);
    DIES(xev_shard_map_reduce, map, &ended, &piece, 1, 0, &none, NULL, on_mapped);
    DIES(xev_shard_map_reduce, done, &ended, &piece, 1, 0, &map, NULL, NULL);
    sc.body = misuse_of_an_ask;
    CHECK_EQ(scene_run(1), 0);
}

static void on_request_reply_twice(xev_shard *self, xev_request *r, void *arg) {
    (void)self;
    (void)arg;
    xev_shard_reply(r, 0);
    xev_shard_reply(r, 0);
}

static void ask_for_two_replies(xev_shard *self) {
    CHECK_EQ(xev_shard_submit_to(self, &request, on_request_reply_twice, NULL, on_reply), 0);
}

TEST(a_second_reply_is_caught) {
    struct death death;
    if (death_begins(&death)) {
        sc.body = ask_for_two_replies;
        CHECK_EQ(scene_run(1), 0);
        death_missed();
    }
    death_check(&death, "xev_shard_reply", "twice");
}

static void bad_arguments(xev_shard *self) {
    xev_addr bad;
    memset(&bad, 0xff, sizeof bad);
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 0), 0);
    CHECK(TAKES(xev_runtime_shard, id, &sc.rt, 1) == NULL);
    CHECK(TAKES(xev_runtime_shard, id, &sc.rt, UINT32_MAX) == NULL);
    CHECK(TAKES(xev_shard_of_key, len_bytes, &sc.rt, "", 0) == self);
    uint32_t before = descriptors();
    REFUSES(xev_shard_listen, addr, XEV_EAFNOSUPPORT, self, &listener, NULL, 0, NULL,
            on_connection);
    REFUSES(xev_shard_listen, addr, XEV_EAFNOSUPPORT, self, &listener, &bad, 0, NULL,
            on_connection);
    REFUSES(xev_shard_listen, backlog, XEV_EINVAL, self, &listener, &addr, -1, NULL, on_connection);
    REFUSES(xev_shard_listen_fd, fd, XEV_EBADF, self, &listener, XEV_INVALID_FD, false, NULL,
            on_connection);
    DIES(xev_shard_fail, code, self, 0, "", "", "");
    DIES(xev_shard_fail_why, code, self, 0, "", "", "", "");
    CHECK_EQ(descriptors(), before);
    CHECK_EQ(xev_shard_submit_to(self, &request, on_request, NULL, on_reply), 0);
}

TEST(bad_arguments_of_shards_are_refused) {
    sc.body = bad_arguments;
    CHECK_EQ(scene_run(1), 0);
}

TEST(bad_options_of_a_runtime_are_refused) {
    xev_runtime rt;
    const xev_runtime_options bad[] = {
        {.shards = XEV_SHARDS_MAX + 1},
        {.shards = UINT32_MAX},
        {.mailbox = UINT32_MAX},
        {.urgent = UINT32_MAX},
        {.pool_threads = XEV_THREADPOOL_MAX_THREADS + 1},
        {.loop = {.entries = 3}},
        {.ask_bytes = XEV_ASK_BYTES_MAX + 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSES(xev_runtime_run, options, XEV_EINVAL, &rt, &bad[i]);
    }
}

TEST(a_request_from_outside_is_refused) {
    REFUSES(xev_shard_await_room, to, XEV_EINVAL, shard, &request, NULL, on_reply);
    REFUSES(xev_shard_ask, to, XEV_EINVAL, shard, &piece, 1, 0, on_ask, NULL, on_answer);
    REFUSES(xev_shard_submit_to, to, XEV_EINVAL, shard, &request, on_request, NULL, on_reply);
}

#if !defined(NDEBUG)

static xev_completion mistaken;
static void (*mistake)(xev_shard *zero);

static xev_cb_action on_any(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    (void)userdata;
    return XEV_DISARM;
}

static void arm_there(xev_shard *zero) {
    xev_timer_run(NULL, xev_shard_loop(zero), &mistaken, 1, NULL, on_any);
}

static void close_there(xev_shard *zero) {
    xev_tcp_close((xev_tcp){XEV_INVALID_FD}, xev_shard_loop(zero), &mistaken, NULL, on_any);
}

static void listen_there(xev_shard *zero) {
    (void)xev_shard_listen(zero, &listener, &addr, 0, NULL, on_connection);
}

static void listen_fd_there(xev_shard *zero) {
    (void)xev_shard_listen_fd(zero, &listener, XEV_INVALID_FD, false, NULL, on_connection);
}

static void fail_there(xev_shard *zero) { (void)xev_shard_fail(zero, XEV_EIO, "", "", ""); }

static void pause_there(xev_shard *zero) {
    (void)zero;
    xev_listener_pause(&listener);
}

static void resume_there(xev_shard *zero) {
    (void)zero;
    xev_listener_resume(&listener);
}

static void socket_there(xev_shard *zero) {
    (void)zero;
    (void)xev_listener_tcp(&listener);
}

static void status_there(xev_shard *zero) {
    xev_listener_status there;
    (void)zero;
    xev_listener_status_get(&listener, &there);
}

/* Shard 0 has been set up, and its loop not been run. */
static int init_mistaken(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 0), 0);
        CHECK_EQ(xev_shard_listen(self, &listener, &addr, 0, NULL, on_connection), 0);
    } else {
        mistake(xev_runtime_shard(&sc.rt, 0));
    }
    return 0;
}

static void check_mistake(void (*fn)(xev_shard *zero), const char *call, const char *words) {
    struct death death;
    if (death_begins(&death)) {
        mistake = fn;
        sc.init = init_mistaken;
        (void)scene_run(2);
        death_missed();
    }
    death_check_words(&death, call, "thread", words);
}

TEST(a_call_on_what_is_another_shard_s_is_caught) {
    static const char both[] = "called on shard 1, of shard 0";
    check_mistake(listen_there, "xev_shard_listen", both);
    check_mistake(listen_fd_there, "xev_shard_listen_fd", both);
    check_mistake(fail_there, "xev_shard_fail", both);
    check_mistake(pause_there, "xev_listener_pause", both);
    check_mistake(resume_there, "xev_listener_resume", both);
    check_mistake(socket_there, "xev_listener_tcp", both);
    check_mistake(status_there, "xev_listener_status_get", both);
}

/* Also of a loop that no shard has run yet. The names of the threads say which shards they are. */
TEST(a_call_on_another_shard_s_loop_is_caught) {
    check_mistake(arm_there, "xev_timer_run", "called on xev-shard-1 (");
    check_mistake(arm_there, "xev_timer_run", ", of xev-shard-0 (");
    check_mistake(close_there, "xev_tcp_close", ", of xev-shard-0 (");
}

static xev_request *asked;

static void on_message_reply(xev_shard *self, xev_message *m, void *arg) {
    (void)self;
    (void)m;
    (void)arg;
    xev_shard_reply(asked, 0);
}

static void on_late_request(xev_shard *self, xev_request *r, void *arg) {
    (void)arg;
    (void)self;
    asked = r;
    CHECK_EQ(xev_shard_send(xev_runtime_shard(&sc.rt, 0), &message, on_message_reply, NULL), 0);
}

static void ask_shard_1(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        xev_shard *one = xev_runtime_shard(&sc.rt, 1);
        CHECK_EQ(xev_shard_submit_to(one, &request, on_late_request, NULL, on_reply), 0);
    }
}

TEST(a_reply_from_another_shard_than_the_asked_one_is_caught) {
    struct death death;
    if (death_begins(&death)) {
        sc.body = ask_shard_1;
        (void)scene_run(2);
        death_missed();
    }
    death_check_words(&death, "xev_shard_reply", "thread", "called on shard 0, of shard 1");
}

#endif
