/* Shards that do not come to their end: a callback that blocks or never returns.
 *
 * Nothing can end one thread of a process from outside, so the process is ended, with the shard and
 * the callback named, unless the program decides to wait (options.stuck).
 *
 * The coordinator waits for one step of a shard at a time. From the moment the end was asked for,
 * each step may last stuck_ms, counted from its beginning, but not before the drain is over: its
 * deadline, or the second stop. A third signal means that somebody has lost patience: a step may
 * then last HURRY_MS, which is enough for a shard that is merely ending in order.
 */
#include <assert.h>
#include <ck_pr.h>
#include <stdlib.h>
#include <time.h>

#include "shard/internal.h"
#include "xev/log.h"

#define HURRY_MS 100u

void xev__patience_update(struct xev__runtime *rt, uint64_t now) {
    struct xev__patience *p = &rt->patience;
    uint32_t stops = ck_pr_load_32(&rt->stops), signals = ck_pr_load_32(&rt->stop_signals);
    if (p->ending_ms == 0 && xev__is_to_end(rt)) {
        p->ending_ms = now;
    }
    if (p->cut_ms == 0 && stops > 1) {
        p->cut_ms = now;
    }
    if (signals != p->stop_signals) {
        p->stop_signals = signals;
        p->hurry_ms = signals > 2 ? now : 0;
    }
}

uint64_t xev__now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t xev__now_ms(void) { return xev__now_ns() / 1000000; }

static uint64_t later_of(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Until when the step under way may last; UINT64_MAX: without a limit. */
static uint64_t deadline_ms(const struct xev__runtime *rt) {
    const struct xev__patience *p = &rt->patience;
    assert(p->step_ms != 0 && (p->ending_ms == 0 || p->cut_ms == 0 || p->ending_ms <= p->cut_ms));
    if (p->ending_ms == 0 || rt->options.stuck_ms == XEV__STUCK_NEVER) {
        return UINT64_MAX;
    }
    uint64_t drained = p->cut_ms != 0          ? p->cut_ms
                       : rt->drain_end_ms != 0 ? rt->drain_end_ms
                                               : p->ending_ms + rt->options.drain_ms;
    uint64_t end = later_of(drained, p->step_ms) + rt->options.stuck_ms;
    uint64_t hurried = later_of(p->hurry_ms, p->step_ms) + HURRY_MS;
    return p->hurry_ms != 0 && hurried < end ? hurried : end;
}

/* Under the lock. */
static const char *what_it_does(const xev_shard *s) {
    if (s->command != XEV__NONE) {
        return xev__last_call(&s->loop) == XEV__CODE(xev_loop_run) ? "in its loop, in no callback"
                                                                   : "in a callback of its loop";
    }
    switch (s->last_command) {
    case XEV__INIT:
        return "in its init callback";
    case XEV__DRAIN:
        return "in its drain callback";
    case XEV__STOP:
        return "in its stop callback";
    case XEV__END:
        return "ending its loop";
    case XEV__DEINIT:
        return "in its deinit callback";
    default:
        return "beginning to serve";
    }
}

/* What the end of a loop waits for, which its thread does not show; or "". */
static void pool_activity(xev_shard *s, char *text, size_t room) {
    xev_threadpool_counters c;
    xev_threadpool_stats(&s->rt->pool, &c);
    *text = '\0';
    if (c.running > 0) {
        snprintf(text, room, "; tasks that run on the pool: %u", c.running);
    }
}

/* Tell the program, or stderr, that s is stuck. True: the program wants to wait for it. */
static bool report_shard(xev_shard *s, const char *doing, bool ends, uint64_t since_stop_ms) {
    const xev_runtime_options *o = &s->rt->options;
    char place[96] = "", activity[96], pool[64] = "";
    uintptr_t code = xev__last_call(&s->loop);
    if (code != 0) {
        xev__os_code_place((const void *)code, place, sizeof place);
    }
    xev__thread_activity(ck_pr_load_64(&s->thread_number), activity, sizeof activity);
    if (o->stuck == NULL) {
        if (ends) {
            pool_activity(s, pool, sizeof pool);
        }
        bool named = place[0] != '\0' && code != XEV__CODE(xev_loop_run);
        static xev_log_kind kind = {
            .name = "stuck", .level = XEV_LOG_ERROR, .lines_max = UINT32_MAX};
        xev_log_write(&kind, "xev: shard %u: stuck %s, %llu ms after the stop%s%s%s%s%s", s->id,
                      doing, (unsigned long long)since_stop_ms, named ? "; last callback at " : "",
                      named ? place : "", activity[0] != '\0' ? "; its thread is " : "", activity,
                      pool);
        return false;
    }
    xev_stuck stuck = {
        .shard = s->id,
        .since_stop_ms = since_stop_ms,
        .doing = doing,
        .code = (void (*)(void))code,
        .place = place,
        .activity = activity,
    };
    bool wait = o->stuck(&stuck, o->userdata);
    xev__runtime_check_fork(s->rt, "stuck");
    return wait;
}

static void report_all(struct xev__runtime *rt, uint64_t now) {
    bool wait = true;
    assert(rt->patience.ending_ms != 0 && now >= rt->patience.ending_ms);
    for (uint32_t i = 0; i < rt->count; i++) {
        xev_shard *s = &rt->shards[i];
        pthread_mutex_lock(&rt->lock);
        bool stuck = s->has_thread && !s->done;
        const char *doing = what_it_does(s);
        bool ends = s->command == XEV__NONE && s->last_command == XEV__END;
        pthread_mutex_unlock(&rt->lock);
        if (stuck) {
            wait = report_shard(s, doing, ends, now - rt->patience.ending_ms) && wait;
        }
    }
    if (!wait) {
        abort();
    }
}

void xev__step_begin(struct xev__runtime *rt) {
    assert(xev__current_shard == NULL);
    rt->patience.step_ms = xev__now_ms();
}

int xev__step_wait_ms(struct xev__runtime *rt) {
    uint64_t now = xev__now_ms();
    xev__patience_update(rt, now);
    uint64_t end = deadline_ms(rt);
    if (now >= end) {
        report_all(rt, now);
        rt->patience.step_ms = now;
        rt->patience.hurry_ms = 0;
        end = deadline_ms(rt);
    }
    if (end == UINT64_MAX) {
        return -1;
    }
    assert(end > now);
    return end - now > INT32_MAX ? INT32_MAX : (int)(end - now);
}
