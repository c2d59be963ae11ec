/* Shard 0 asks every shard for a number and adds the replies up. */
#include <stdio.h>

#include "xev/shard.h"

#define SHARDS 4

struct app {
    xev_runtime runtime;
    xev_completion start;
    xev_request requests[SHARDS];
    int waiting, sum;
    bool failed;
};

/* On the shard that is asked. It may also keep the request and reply later. */
static void on_request(xev_shard *self, xev_request *request, void *arg) {
    (void)arg;
    int square = (int)(xev_shard_id(self) * xev_shard_id(self));
    xev_shard_reply(request, square);
}

/* Back on shard 0: no lock needed. */
static void on_reply(xev_shard *self, xev_request *request, int result, void *arg) {
    struct app *app = arg;
    (void)self;
    (void)request;
    app->sum += result;
    if (--app->waiting == 0) {
        if (!app->failed) {
            printf("sum of squares over %d shards: %d\n", SHARDS, app->sum);
        }
        xev_runtime_stop(&app->runtime); /* once: a second stop would cut the drain short */
    }
}

static xev_cb_action on_start(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct app *app = userdata;
    (void)loop;
    (void)c;
    for (uint32_t i = 0; result == 0 && i < SHARDS; i++) {
        xev_shard *to = xev_runtime_shard(&app->runtime, i);
        int rc = xev_shard_submit_to(to, &app->requests[i], on_request, app, on_reply);
        if (rc < 0) { /* XEV_EAGAIN: its mailbox is full; a server would try again later */
            fprintf(stderr, "submit_to: shard %u: %s\n", i, xev_strerror(rc));
            app->failed = true;
            break;
        }
        app->waiting++;
    }
    if (app->failed && app->waiting == 0) {
        xev_runtime_stop(&app->runtime); /* or else the last reply does it */
    }
    return XEV_DISARM;
}

static int on_init(xev_shard *self, void *userdata) {
    struct app *app = userdata;
    if (xev_shard_id(self) == 0) {
        /* From the loop, so that all shards are there when it runs. */
        xev_timer_run(NULL, xev_shard_loop(self), &app->start, 0, app, on_start);
    }
    return 0;
}

int main(void) {
    struct app app = {.waiting = 0};
    xev_runtime_options options = {.shards = SHARDS, .init = on_init, .userdata = &app};
    int rc = xev_runtime_run(&app.runtime, &options);
    if (rc < 0) {
        xev_runtime_failure failure;
        xev_runtime_failure_get(&app.runtime, &failure);
        fprintf(stderr, "submit_to: %s: %s\n",
                failure.code < 0 ? failure.call : "the drain", /* was cut short */
                xev_strerror(rc));
    }
    return rc < 0 || app.failed;
}
