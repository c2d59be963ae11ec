/* Turns that last: a callback that blocks or computes for long, while the others of its shard wait.
 *
 * The coordinator looks, four times in slow_ms, whether the loop of each shard turns; shards do
 * nothing for it. A loop that is awake, with the same turn and the same number of sleeps as at an
 * earlier look, has not slept in between. So a turn is told when it has lasted for slow_ms, a
 * quarter more at most, and never too early; and once, however long it lasts.
 *
 * The stack is told by the shard's thread itself, in the handler of a signal that the program has
 * left to us (slow_signal). */
#include <ck_pr.h>
#include <stdarg.h>
#include <stdio.h>

#include "shard/internal.h"
#include "xev/log.h"

#define LOOKS 4u /* in slow_ms */
#define FRAMES 12u
#define STACK_WAIT_MS 1000u /* a thread that is in the kernel for longer tells no stack */

/* What is known of a shard. */
struct watched {
    uint64_t turns, sleeps, callbacks, since_ms;
    bool told;
};

/* Of the stack that is asked for. */
enum { NOT_WANTED, WANTED, TELLING, TOLD };

struct xev__slow {
    xev__catcher catcher;
    uint64_t next_look_ms;
    uint32_t stack; /* atomic: one of the above */
    xev_shard *whose;
    struct xev__event news; /* it is told */
    uint32_t frames_len;
    uintptr_t frames[FRAMES];
    struct watched watched[]; /* of each shard */
};

/* ---- the stack of a shard's thread ---- */

static void on_stack_wanted(xev__catcher *c) {
    struct xev__slow *w =
        (struct xev__slow *)(void *)((char *)c - offsetof(struct xev__slow, catcher));
    uint32_t wanted = WANTED;
    if (__atomic_load_n(&w->stack, __ATOMIC_ACQUIRE) == WANTED && w->whose == xev__current_shard &&
        __atomic_compare_exchange_n(&w->stack, &wanted, TELLING, false, __ATOMIC_ACQUIRE,
                                    __ATOMIC_RELAXED)) {
        w->frames_len = xev__stack(w->frames, FRAMES);
        __atomic_store_n(&w->stack, TOLD, __ATOMIC_RELEASE);
        xev__event_signal(&w->news);
    }
}

/* Ask the thread of s for its stack. How many frames there are. */
static uint32_t ask_for_stack(struct xev__slow *w, xev_shard *s) {
    uint64_t now = xev__now_ms(), end = now + STACK_WAIT_MS;
    uint32_t wanted = WANTED;
    w->whose = s;
    __atomic_store_n(&w->stack, WANTED, __ATOMIC_RELEASE);
    if (!w->catcher.catching || !xev__thread_signal(s->thread, w->catcher.number)) {
        end = now;
    }
    for (; __atomic_load_n(&w->stack, __ATOMIC_ACQUIRE) != TOLD; now = xev__now_ms()) {
        if (now < end) {
            xev__event_wait(&w->news, (int)(end - now));
        } else if (__atomic_compare_exchange_n(&w->stack, &wanted, NOT_WANTED, false,
                                               __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            return 0;
        } else {
            wanted = WANTED; /* it is being told */
        }
    }
    __atomic_store_n(&w->stack, NOT_WANTED, __ATOMIC_RELAXED);
    return w->frames_len;
}

/* ---- the report ---- */

/* A growing line, cut where it is full. */
struct line {
    char text[960];
    size_t len;
};

XEV_PRINTF(2, 3) static void add_text(struct line *line, const char *format, ...) {
    size_t room = sizeof line->text - line->len;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line->text + line->len, room, format, args);
    va_end(args);
    line->len += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

/* "on_data, server+0x12ab"; the name where it can be had. */
static void add_code(struct line *line, uintptr_t code) {
    char name[64], place[96];
    xev__os_code_place((const void *)code, place, sizeof place);
    if (xev__os_code_name((const void *)code, name, sizeof name)) {
        add_text(line, "%s, ", name);
    }
    add_text(line, "%s", place);
}

static void report_slow(struct xev__slow *w, xev_shard *s, uint64_t for_ms, bool one_callback) {
    static xev_log_kind kind = {.name = "slow", .level = XEV_LOG_WARN, .period_ms = 10000};
    struct line line = {.len = 0};
    char activity[96];
    uintptr_t code = xev__last_call(&s->loop);
    xev__thread_activity(ck_pr_load_64(&s->thread_number), activity, sizeof activity);
    uint32_t frames = ask_for_stack(w, s);
    bool in_loop = code == XEV__CODE(xev_loop_run);
    if (in_loop) {
        add_text(&line, ", in no callback"); /* such as a system call that lasts */
    } else if (code != 0) {
        add_text(&line, "; last callback at ");
        add_code(&line, code);
    }
    if (activity[0] != '\0') {
        add_text(&line, "; its thread is %s", activity);
    }
    for (uint32_t i = 0; i < frames; i++) {
        add_text(&line, i == 0 ? "; stack: " : " < ");
        add_code(&line, w->frames[i]);
    }
    xev__count_up(&s->slow, 1);
    bool one = one_callback && !in_loop;
    xev_log_write(&kind, "xev: shard %u: slow: for %llu ms in one %s of its loop%s", s->id,
                  (unsigned long long)for_ms, one ? "callback" : "turn", line.text);
}

/* ---- the looks ---- */

static void look_at_shard(struct xev__slow *w, xev_shard *s, uint64_t now) {
    struct watched *seen = &w->watched[s->id];
    xev_loop_metrics m;
    xev_loop_metrics_get(&s->loop, &m);
    bool same = m.turns == seen->turns && m.sleeps == seen->sleeps;
    if (!same || xev__loop_sleeps(&s->loop)) {
        *seen = (struct watched){m.turns, m.sleeps, m.callbacks, 0, false};
    } else if (seen->since_ms == 0) { /* it has woken since the last look, or may have */
        seen->since_ms = now;
        seen->callbacks = m.callbacks;
    } else if (!seen->told && now - seen->since_ms >= s->rt->options.slow_ms) {
        seen->told = true;
        report_slow(w, s, now - seen->since_ms, m.callbacks == seen->callbacks);
    }
}

int xev__slow_look(struct xev__runtime *rt) {
    struct xev__slow *w = rt->slow;
    if (w == NULL) {
        return -1;
    }
    uint64_t now = xev__now_ms();
    if (now >= w->next_look_ms) {
        for (uint32_t i = 0; i < rt->count; i++) {
            look_at_shard(w, &rt->shards[i], now);
        }
        now = xev__now_ms();
        w->next_look_ms = now + rt->options.slow_ms / LOOKS + 1;
    }
    return (int)(w->next_look_ms - now);
}

int xev__slow_open(struct xev__runtime *rt) {
    const xev_runtime_options *o = &rt->options;
    if (o->slow_ms == 0) {
        return 0;
    }
    struct xev__slow *w = calloc(1, sizeof *w + rt->count * sizeof w->watched[0]);
    if (w == NULL) {
        return XEV_ENOMEM;
    }
    xev__event_init(&w->news);
    rt->slow = w;
    if (o->slow_signal != 0) {
        xev__stack_prepare();
        w->catcher.caught = on_stack_wanted;
        return xev__catch(&w->catcher, o->slow_signal, XEV__CATCH_ALWAYS);
    }
    return 0;
}

void xev__slow_close(struct xev__runtime *rt) {
    if (rt->slow != NULL) {
        xev__uncatch(&rt->slow->catcher);
        xev__event_deinit(&rt->slow->news);
        free(rt->slow);
        rt->slow = NULL;
    }
}
