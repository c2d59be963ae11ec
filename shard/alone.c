/* A runtime without threads of its own, because the system has none, or by the option alone: its
 * one shard runs on the coordinator's thread, and the coordinator is inside the shard's loop while
 * it serves. What the coordinator has to look at, such as a stop, ends the loop's run. */
#include "shard/internal.h"

static xev_cb_action on_news(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)userdata;
    if (result == 0) {
        xev_loop_stop(loop);
    }
    return result == 0 ? XEV_REARM : XEV_DISARM;
}

void xev__watch_news(xev_shard *s) {
    if (s->rt->alone) {
        xev_async_wait(&s->rt->news_async, &s->loop, &s->news_wait, NULL, on_news);
        xev_completion_unref(&s->news_wait);
    }
}

void xev__news(struct xev__runtime *rt) {
    xev__event_signal(&rt->news);
    if (rt->alone) {
        (void)xev_async_notify(&rt->news_async);
    }
}

static xev_cb_action on_drain_end(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)userdata;
    if (result == 0) {
        xev_loop_stop(loop);
    }
    return XEV_DISARM;
}

void xev__drain_limit(xev_shard *s) {
    if (s->rt->alone) {
        xev_timer_run(NULL, &s->loop, &s->drain_timer, s->rt->options.drain_ms, NULL, on_drain_end);
        xev_completion_unref(&s->drain_timer);
    }
}
