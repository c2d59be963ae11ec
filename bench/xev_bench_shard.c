/* The micro-benchmarks of messages between shards. */
#include "bench/xev_bench.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "xev/ask.h"

/* Two shards: the first begins when both are there, and counts. */
struct scene {
    struct loop_bench_run *run;
    xev_runtime runtime;
    xev_completion start;
    xev_timer_cb begin;
    int64_t sent, arrived; /* arrived: of messages, the second shard's; of requests, the first's */
    struct slot *slots;
    xev_message *messages;
    atomic_llong freed;    /* how many messages have arrived */
    uint64_t waits, wakes; /* of both shards, when the measured part begins */
};

static int on_init(xev_shard *self, void *userdata) {
    struct scene *scene = userdata;
    if (xev_shard_id(self) == 0) {
        scene->run->backend = xev_loop_backend(xev_shard_loop(self));
        xev_timer_run(NULL, xev_shard_loop(self), &scene->start, 0, scene, scene->begin);
    }
    return 0;
}

static void run_scene(struct scene *scene) {
    xev_runtime_options options = {
        .shards = 2,
        .no_signals = true,
        .loop = xev_bench_options(scene->run, NULL),
        .init = on_init,
        .userdata = scene,
    };
    xev_bench_ok("runtime", xev_runtime_run(&scene->runtime, &options));
    loop_bench_expect("sent", scene->sent, scene->run->count);
    loop_bench_expect("arrived", scene->arrived, scene->run->count);
}

/* ---- what the kernel was asked for ---- */

static void sum_of_loops(struct scene *scene, uint64_t *waits, uint64_t *wakes) {
    *waits = *wakes = 0;
    for (uint32_t i = 0; i < 2; i++) {
        xev_loop_metrics m;
        xev_loop_metrics_get(xev_shard_loop(xev_runtime_shard(&scene->runtime, i)), &m);
        *waits += m.syscalls;
        *wakes += m.wakes;
    }
}

static void begin_measuring(struct scene *scene) {
    sum_of_loops(scene, &scene->waits, &scene->wakes);
    loop_bench_begin(scene->run);
}

static void end_measuring(struct scene *scene) {
    uint64_t waits, wakes;
    loop_bench_end(scene->run);
    sum_of_loops(scene, &waits, &wakes);
    double n = (double)scene->run->count;
    loop_bench_figure(scene->run, "waits", (double)(waits - scene->waits) / n);
    loop_bench_figure(scene->run, "wakes", (double)(wakes - scene->wakes) / n);
}

/* ---- shard_request ---- */

struct slot {
    xev_request request;
    struct scene *scene;
    int asked;
};

static void on_request(xev_shard *self, xev_request *request, void *arg) {
    struct slot *slot = arg;
    (void)self;
    xev_shard_reply(request, slot->asked + 1);
}

static void on_reply(xev_shard *self, xev_request *request, int result, void *arg);

static void ask(struct slot *slot) {
    struct scene *scene = slot->scene;
    slot->asked = (int)scene->sent++;
    xev_bench_ok("submit_to", xev_shard_submit_to(xev_runtime_shard(&scene->runtime, 1),
                                                  &slot->request, on_request, slot, on_reply));
}

static void on_reply(xev_shard *self, xev_request *request, int result, void *arg) {
    struct slot *slot = arg;
    struct scene *scene = slot->scene;
    (void)self;
    (void)request;
    loop_bench_expect("reply", result, slot->asked + 1);
    if (++scene->arrived == scene->run->count) {
        end_measuring(scene);
        xev_runtime_stop(&scene->runtime);
    } else if (scene->sent < scene->run->count) {
        ask(slot);
    }
}

static xev_cb_action begin_requests(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct scene *scene = userdata;
    (void)loop;
    (void)c;
    xev_bench_ok("timer", result);
    begin_measuring(scene);
    for (int i = 0; i < scene->run->window && scene->sent < scene->run->count; i++) {
        scene->slots[i].scene = scene;
        ask(&scene->slots[i]);
    }
    return XEV_DISARM;
}

void bench_shard_request(struct loop_bench_run *run) {
    struct scene scene = {.run = run, .begin = begin_requests};
    scene.slots = loop_bench_memory((size_t)run->window, sizeof *scene.slots);
    run_scene(&scene);
    free(scene.slots);
}

/* ---- shard_ask ---- */

enum { ASK_BYTES = 16 };

static void on_ask(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    xev_ask_answer(ask, 0, argument, len);
}

static void on_answer(xev_shard *self, int result, const void *answer, size_t len, void *userdata);

static void ask_with_copy(struct scene *scene) {
    static char text[ASK_BYTES] = "0123456789abcde";
    const xev_vec vec = {text, sizeof text};
    scene->sent++;
    xev_bench_ok("ask", xev_shard_ask(xev_runtime_shard(&scene->runtime, 1), &vec, 1, 1000, on_ask,
                                      scene, on_answer));
}

static void on_answer(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    struct scene *scene = userdata;
    (void)self;
    (void)answer;
    xev_bench_ok("answer", result);
    loop_bench_expect("bytes", (int64_t)len, ASK_BYTES);
    if (++scene->arrived == scene->run->count) {
        end_measuring(scene);
        xev_runtime_stop(&scene->runtime);
    } else if (scene->sent < scene->run->count) {
        ask_with_copy(scene);
    }
}

static xev_cb_action begin_asks(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct scene *scene = userdata;
    (void)loop;
    (void)c;
    xev_bench_ok("timer", result);
    begin_measuring(scene);
    for (int i = 0; (i < scene->run->window || i == 0) && scene->sent < scene->run->count; i++) {
        ask_with_copy(scene);
    }
    return XEV_DISARM;
}

void bench_shard_ask(struct loop_bench_run *run) {
    struct scene scene = {.run = run, .begin = begin_asks};
    run_scene(&scene);
}

void bench_shard_ask_one(struct loop_bench_run *run) { bench_shard_ask(run); }

/* ---- shard_send ---- */

/* On the second shard: the memory of a message is its sender's again when `freed` says so. */
static void on_message(xev_shard *self, xev_message *message, void *arg) {
    struct scene *scene = arg;
    (void)self;
    if (message != &scene->messages[scene->arrived % scene->run->window]) {
        loop_bench_fail("message %lld out of order", (long long)scene->arrived);
    }
    scene->arrived++;
    atomic_store_explicit(&scene->freed, scene->arrived, memory_order_release);
    if (scene->arrived == scene->run->count) {
        loop_bench_end(scene->run);
        xev_runtime_stop(&scene->runtime);
    }
}

/* A timer of 0: once per turn it sends as much as there is memory for. */
static xev_cb_action send_messages(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct scene *scene = userdata;
    (void)loop;
    (void)c;
    xev_bench_ok("timer", result);
    int64_t freed = atomic_load_explicit(&scene->freed, memory_order_acquire);
    int64_t room = scene->run->window - (scene->sent - freed);
    xev_shard *to = xev_runtime_shard(&scene->runtime, 1);
    for (; room > 0 && scene->sent < scene->run->count; room--, scene->sent++) {
        xev_message *message = &scene->messages[scene->sent % scene->run->window];
        xev_bench_ok("send", xev_shard_send(to, message, on_message, scene));
    }
    return scene->sent < scene->run->count ? XEV_REARM : XEV_DISARM;
}

static xev_cb_action begin_messages(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct scene *scene = userdata;
    xev_bench_ok("timer", result);
    loop_bench_begin(scene->run);
    xev_timer_run(NULL, loop, c, 0, scene, send_messages);
    return XEV_DISARM;
}

void bench_shard_send(struct loop_bench_run *run) {
    struct scene scene = {.run = run, .begin = begin_messages};
    scene.messages = loop_bench_memory((size_t)run->window, sizeof *scene.messages);
    run_scene(&scene);
    free(scene.messages);
}
