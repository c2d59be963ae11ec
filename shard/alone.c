/* A runtime without threads: its one shard runs on the coordinator's thread, and the coordinator is
 * inside the shard's loop while it serves. What it would wait for beside the loop has to end the
 * loop's run. */
#include "shard/internal.h"

void xev__leave_loop(struct xev__runtime *rt) {
    if (!xev__shards_have_threads && rt->shards != NULL && rt->shards[0].serving) {
        xev_loop_stop(&rt->shards[0].loop);
    }
}

static xev_cb_action on_drain_end(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    if (result == 0) {
        xev__leave_loop(userdata);
    }
    return XEV_DISARM;
}

void xev__drain_limit(xev_shard *s) {
    if (!xev__shards_have_threads) {
        xev_timer_run(NULL, &s->loop, &s->drain_timer, s->rt->options.drain_ms, s->rt,
                      on_drain_end);
        xev_completion_unref(&s->drain_timer);
    }
}
