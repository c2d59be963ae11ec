/* Random programs of shards that ask each other and cancel what they have asked, reduce over all
 * shards, send urgent messages and wait for room, through mailboxes that are often full.
 *
 * Each shard has a budget of things to do, which it spends in its callbacks. The model: an ask that
 * was taken gets its callback once, on its shard, not inside the call: with the whole answer, or
 * with XEV_ETIMEDOUT where it had a deadline, or with XEV_ECANCELED where it was cancelled or a
 * stop was asked for. It can be cancelled once, until its callback. It is handled at most once,
 * with its whole argument, and asks of one shard to another one in the order in which they were
 * made. A shard that watches an ask is told once that it is over, unless it has answered by then. A
 * reduction folds each shard's answer once, then is done. Urgent
 * messages arrive once, in the order of their sender. A program is over when nothing is under way:
 * one ask that stays behind makes it hang.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/random.h"
#include "xev/ask.h"

enum { SHARDS = 3, ASKS = 128, REDUCTIONS = 16, LETTERS = 32, ROOMS = 16, TIMERS = 64 };

enum mode { AT_ONCE, IN_ROOM, LATER, NEVER, MODES };

struct shard;

/* Written by its shard before the ask, then read by both. */
struct asked {
    struct shard *s;
    uint32_t to, number, id, argument_len, answer_len, timeout_ms;
    enum mode mode;
    /* The asked shard's. */
    uint32_t handled, told;
    bool watched, replied;
    /* The asking one's. */
    xev_ask_handle handle;
    uint32_t answered;
    bool taken, named, cancelled, last; /* last: asked when the drain was over */
};

struct reduction {
    struct shard *s;
    uint32_t timeout_ms, folded[SHARDS], done;
    atomic_uint ran[SHARDS];
    bool taken;
};

struct letter {
    xev_message m;
    struct shard *s;
    uint32_t to, number, handled;
    bool taken;
};

struct room {
    xev_request r;
    struct shard *s;
    uint32_t told;
    bool taken;
};

struct timer {
    xev_completion c;
    struct shard *s;
};

struct kept {
    xev_ask *ask;
    struct asked *a;
};

struct shard {
    struct world *w;
    xev_shard *self;
    uint64_t rng;
    uint32_t id, budget;
    uint32_t next_ask[SHARDS], ask_seen[SHARDS];       /* to, from */
    uint32_t next_letter[SHARDS], letter_seen[SHARDS]; /* likewise */
    struct asked asks[ASKS];
    struct reduction reductions[REDUCTIONS];
    struct letter letters[LETTERS];
    struct room rooms[ROOMS];
    struct timer timers[TIMERS];
    uint32_t asks_len, reductions_len, letters_len, rooms_len, timers_len;
    struct kept kept[SHARDS * ASKS];
    uint32_t kept_len;
    uint32_t cancelled, timed_out; /* asks whose callback was told so */
    uint32_t in_call;
    xev_message begin;
};

struct world {
    uint64_t seed, rng;
    bool trace;
    xev_runtime rt;
    uint32_t shards, asks;
    bool early, cut; /* is stopped in the middle; twice */
    atomic_bool stop_asked, drained;
    atomic_int work; /* under way */
    struct shard s[SHARDS];
};

static struct world world;

static struct shard *state_of(xev_shard *self) {
    struct shard *s = &world.s[xev_shard_id(self)];
    HOLDS(&world, s->self == self && xev_shard_current() == self && s->in_call == 0);
    return s;
}

static void ask_to_stop(struct world *w) {
    if (!atomic_exchange(&w->stop_asked, true)) {
        TRACE(w, "stop\n");
        xev_runtime_stop(&w->rt);
        if (w->cut) {
            xev_runtime_stop(&w->rt);
        }
    }
}

static void work_done(struct world *w) {
    if (atomic_fetch_sub(&w->work, 1) == 1) {
        ask_to_stop(w);
    }
}

/* The result of a call that begins something. */
static bool taken(struct shard *s, int rc, bool limited) {
    HOLDS(s->w, rc == 0 || (rc == XEV_EAGAIN && limited) ||
                    (rc == XEV_ECANCELED && atomic_load(&s->w->stop_asked)));
    if (rc < 0) {
        work_done(s->w);
    }
    return rc == 0;
}

static void act(struct shard *s);

/* ---- asks ---- */

static const uint32_t lengths[] = {0, 1, 30, 64, 100, 1000, 20000, 70000};
static uint8_t bytes[SHARDS][70000]; /* of each shard's thread */

static void answer_ask(struct shard *s, xev_ask *ask, struct asked *a) {
    uint8_t *to = bytes[s->id];
    if (a->mode == IN_ROOM && a->answer_len > 0) {
        to = xev_ask_room(ask, a->answer_len);
        HOLDS(s->w, to != NULL);
    }
    pattern_fill(to, a->answer_len, a->id, 7);
    HOLDS(s->w, !a->replied);
    a->replied = true;
    xev_ask_answer(ask, (int)a->id, to, a->answer_len);
}

static void answer_kept(struct shard *s) {
    while (s->kept_len > 0) {
        struct kept k = s->kept[--s->kept_len];
        answer_ask(s, k.ask, k.a);
    }
}

static xev_cb_action on_timer(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct timer *t = userdata;
    HOLDS(t->s->w, c == &t->c && loop == xev_shard_loop(t->s->self));
    HOLDS(t->s->w, result == 0 || (result == XEV_ECANCELED && atomic_load(&t->s->w->stop_asked)));
    answer_kept(t->s);
    act(t->s);
    work_done(t->s->w);
    return XEV_DISARM;
}

static bool start_timer(struct shard *s) {
    static const uint64_t times[] = {0, 20000, 500000, 3000000};
    if (s->timers_len == TIMERS) {
        return false;
    }
    struct timer *t = &s->timers[s->timers_len++];
    t->s = s;
    atomic_fetch_add(&s->w->work, 1);
    xev_timer_run_ns(NULL, xev_shard_loop(s->self), &t->c, times[below(s, 4)], t, on_timer);
    return true;
}

static void keep(struct shard *s, xev_ask *ask, struct asked *a) {
    HOLDS(s->w, s->kept_len < SHARDS * ASKS);
    s->kept[s->kept_len++] = (struct kept){ask, a};
}

static void on_over(xev_shard *self, xev_ask *ask, void *userdata) {
    struct shard *s = state_of(self);
    struct asked *a = userdata;
    HOLDS(s->w, a->to == s->id && a->watched && !a->replied && ++a->told == 1);
    HOLDS(s->w, xev_ask_is_over(ask) && !xev_ask_watch(ask, a, on_over));
    act(s);
    uint32_t i = 0;
    while (i < s->kept_len && s->kept[i].a != a) {
        i++;
    }
    bool is_kept = i < s->kept_len;
    if (is_kept && one_in(s, 2)) {
        return; /* it is answered later all the same */
    }
    if (is_kept) {
        s->kept[i] = s->kept[--s->kept_len];
    }
    if (!a->replied) { /* by what act has begun */
        answer_ask(s, ask, a);
    }
}

static void watch(struct shard *s, xev_ask *ask, struct asked *a) {
    for (uint32_t i = below(s, 3); i > 0; i--) { /* a second call changes nothing */
        bool watched;
        CALL(s, watched = xev_ask_watch(ask, a, on_over));
        HOLDS(s->w, watched || (xev_ask_is_over(ask) && (!a->watched || a->told == 1)));
        a->watched |= watched;
    }
}

static void watch_kept(struct shard *s) {
    if (s->kept_len > 0) {
        const struct kept *k = &s->kept[below(s, s->kept_len)];
        watch(s, k->ask, k->a);
    }
}

static void on_ask(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    struct shard *s = state_of(self);
    struct asked *a;
    HOLDS(s->w, len >= sizeof(void *));
    memcpy(&a, argument, sizeof(void *));
    HOLDS(s->w, a->to == s->id && len == sizeof(void *) + a->argument_len && ++a->handled == 1);
    HOLDS(s->w, pattern_is((const uint8_t *)argument + sizeof(void *), a->argument_len, a->id, 3));
    uint32_t *seen = &s->ask_seen[a->s->id];
    /* Those that were over before they were sent are left out. */
    HOLDS(s->w, a->number >= *seen);
    *seen = a->number + 1;
    HOLDS(s->w, a->s != s || !a->cancelled);
    watch(s, ask, a);
    act(s);
    if (a->mode == LATER && start_timer(s)) {
        keep(s, ask, a);
    } else if (a->mode != NEVER) {
        answer_ask(s, ask, a);
    }
    act(s);
}

/* What there may be instead of an answer. */
static bool is_end(const struct world *w, int result, uint32_t timeout_ms) {
    return (result == XEV_ETIMEDOUT && timeout_ms > 0 && timeout_ms < 1000) ||
           (result == XEV_ECANCELED && atomic_load(&w->stop_asked));
}

static void on_answer(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    struct shard *s = state_of(self);
    struct asked *a = userdata;
    HOLDS(s->w, a->s == s && ++a->answered == 1);
    TRACE(s->w, "%u: ask %u: %d\n", s->id, a->id, result);
    if (result == (int)a->id) {
        HOLDS(s->w, a->mode != NEVER && len == a->answer_len);
        HOLDS(s->w, (answer == NULL) == (len == 0) && pattern_is(answer, len, a->id, 7));
    } else {
        HOLDS(s->w,
              is_end(s->w, result, a->timeout_ms) || (result == XEV_ECANCELED && a->cancelled));
        HOLDS(s->w, answer == NULL && len == 0);
        s->cancelled += result == XEV_ECANCELED && a->cancelled;
        s->timed_out += result == XEV_ETIMEDOUT;
    }
    act(s);
    act(s);
    work_done(s->w);
}

static void ask(struct shard *s) {
    static const uint32_t timeouts[] = {0, 0, 1, 10, 3600 * 1000};
    struct world *w = s->w;
    if (s->asks_len == ASKS) {
        return;
    }
    struct asked *a = &s->asks[s->asks_len++];
    *a = (struct asked){
        .s = s,
        .to = below(s, w->shards),
        .id = s->id * ASKS + s->asks_len,
        .argument_len = lengths[below(s, one_in(s, 8) ? 8 : 5)],
        .answer_len = lengths[below(s, one_in(s, 8) ? 8 : 5)],
        .timeout_ms = timeouts[below(s, 5)],
        .mode = (enum mode)below(s, MODES),
        .named = one_in(s, 2),
        .last = atomic_load(&w->drained),
    };
    if (a->mode == NEVER && (a->timeout_ms == 0 || a->timeout_ms > 1000)) {
        a->mode = AT_ONCE;
    }
    a->number = s->next_ask[a->to];
    pattern_fill(bytes[s->id], a->argument_len, a->id, 3);
    const void *pointer = a;
    const xev_vec vec[] = {{&pointer, sizeof pointer}, {bytes[s->id], a->argument_len}};
    TRACE(w, "%u: asks %u: %u, mode %d, %u ms\n", s->id, a->to, a->id, a->mode, a->timeout_ms);
    atomic_fetch_add(&w->work, 1);
    int rc;
    xev_shard *to = xev_runtime_shard(&w->rt, a->to);
    CALL(s, rc = a->named ? xev_shard_ask_with_handle(to, vec, 2, a->timeout_ms, &a->handle, on_ask,
                                                      a, on_answer)
                          : xev_shard_ask(to, vec, 2, a->timeout_ms, on_ask, a, on_answer));
    a->taken = taken(s, rc, w->asks != 0);
    HOLDS(w, (a->handle != 0) == (a->named && a->taken));
    s->next_ask[a->to] += a->taken;
}

static void cancel(struct shard *s) {
    if (s->asks_len == 0) {
        return;
    }
    struct asked *a = &s->asks[below(s, s->asks_len)];
    bool open = a->taken && a->named && a->answered == 0 && !a->cancelled, was_open;
    CALL(s, was_open = xev_ask_cancel(a->handle));
    TRACE(s->w, "%u: cancels %u: %d\n", s->id, a->id, was_open);
    HOLDS(s->w, was_open == open);
    a->cancelled |= was_open;
}

/* ---- reductions ---- */

static void on_map(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    struct shard *s = state_of(self);
    struct reduction *r;
    HOLDS(s->w, len == sizeof(void *));
    memcpy(&r, argument, sizeof(void *));
    HOLDS(s->w, atomic_fetch_add(&r->ran[s->id], 1) == 0);
    act(s);
    xev_ask_answer(ask, 0, &s->id, sizeof s->id);
}

static void on_fold(xev_shard *self, uint32_t shard, int result, const void *answer, size_t len,
                    void *userdata) {
    struct shard *s = state_of(self);
    struct reduction *r = userdata;
    HOLDS(s->w, r->s == s && r->done == 0 && shard < s->w->shards && ++r->folded[shard] == 1);
    if (result == 0) {
        HOLDS(s->w, len == sizeof shard && memcmp(answer, &shard, len) == 0);
    } else {
        HOLDS(s->w, is_end(s->w, result, r->timeout_ms) && len == 0);
        s->timed_out += result == XEV_ETIMEDOUT;
    }
    act(s);
}

static void on_reduced(xev_shard *self, int result, void *userdata) {
    struct shard *s = state_of(self);
    struct reduction *r = userdata;
    HOLDS(s->w, r->s == s && ++r->done == 1);
    HOLDS(s->w, result == 0 || is_end(s->w, result, r->timeout_ms));
    for (uint32_t i = 0; i < s->w->shards; i++) {
        HOLDS(s->w, r->folded[i] == 1);
    }
    act(s);
    work_done(s->w);
}

static void reduce(struct shard *s) {
    static const xev_map map = {on_map, on_fold};
    if (s->reductions_len == REDUCTIONS) {
        return;
    }
    struct reduction *r = &s->reductions[s->reductions_len++];
    r->s = s;
    r->timeout_ms = one_in(s, 3) ? 1 : 0;
    const void *pointer = r;
    const xev_vec vec = {&pointer, sizeof pointer};
    TRACE(s->w, "%u: reduces, %u ms\n", s->id, r->timeout_ms);
    atomic_fetch_add(&s->w->work, 1);
    int rc;
    CALL(s, rc = xev_shard_map_reduce(&s->w->rt, &vec, 1, r->timeout_ms, &map, r, on_reduced));
    r->taken = taken(s, rc, s->w->asks != 0);
}

/* ---- urgent messages, and room ---- */

static void on_letter(xev_shard *self, xev_message *m, void *arg) {
    struct shard *s = state_of(self);
    struct letter *l = arg;
    HOLDS(s->w, m == &l->m && l->to == s->id && ++l->handled == 1);
    HOLDS(s->w, l->number == s->letter_seen[l->s->id]++);
    act(s);
    work_done(s->w);
}

static void send_urgent(struct shard *s) {
    if (s->letters_len == LETTERS) {
        return;
    }
    struct letter *l = &s->letters[s->letters_len++];
    l->s = s;
    l->to = below(s, s->w->shards);
    l->number = s->next_letter[l->to];
    atomic_fetch_add(&s->w->work, 1);
    int rc;
    CALL(s, rc = xev_shard_send_urgent(xev_runtime_shard(&s->w->rt, l->to), &l->m, on_letter, l));
    l->taken = taken(s, rc, true);
    s->next_letter[l->to] += l->taken;
}

static void on_room(xev_shard *self, xev_request *request, int result, void *arg) {
    struct shard *s = state_of(self);
    struct room *r = arg;
    HOLDS(s->w, request == &r->r && r->s == s && ++r->told == 1);
    HOLDS(s->w, result == 0 || is_end(s->w, result, 0));
    act(s);
    work_done(s->w);
}

static void await_room(struct shard *s) {
    if (s->rooms_len == ROOMS) {
        return;
    }
    struct room *r = &s->rooms[s->rooms_len++];
    r->s = s;
    atomic_fetch_add(&s->w->work, 1);
    int rc;
    xev_shard *to = xev_runtime_shard(&s->w->rt, below(s, s->w->shards));
    CALL(s, rc = xev_shard_await_room(to, &r->r, r, on_room));
    r->taken = taken(s, rc, false);
}

/* ---- programs ---- */

static void act(struct shard *s) {
    if (s->budget == 0) {
        return;
    }
    s->budget--;
    uint32_t n = below(s, 32);
    if (n < 14) {
        ask(s);
    } else if (n < 20) {
        cancel(s);
    } else if (n < 22) {
        reduce(s);
    } else if (n < 26) {
        send_urgent(s);
    } else if (n < 28) {
        await_room(s);
    } else if (n < 29) {
        (void)start_timer(s);
    } else if (n < 30) {
        watch_kept(s);
    } else if (s->w->early && one_in(s, 4)) {
        ask_to_stop(s->w);
    }
}

static void begins(xev_shard *self, xev_message *m, void *arg) {
    struct shard *s = state_of(self);
    HOLDS(s->w, m == &s->begin && arg == s);
    for (uint32_t i = below(s, 12) + 1; i > 0; i--) {
        act(s);
    }
    work_done(s->w);
}

static int ask_init(xev_shard *self, void *userdata) {
    struct world *w = userdata;
    struct shard *s = &w->s[xev_shard_id(self)];
    const char *wanted = getenv("XEV_BACKEND");
    if (wanted != NULL) {
        CHECK_STR_EQ(xev_loop_backend(xev_shard_loop(self)), wanted);
    }
    s->self = self;
    CHECK_EQ(xev_shard_send(self, &s->begin, begins, s), 0);
    return 0;
}

static void ask_stop(xev_shard *self, void *userdata) {
    struct shard *s = state_of(self);
    (void)userdata;
    atomic_store(&s->w->drained, true);
    s->budget += 2;
    act(s);
    act(s);
}

static void ask_deinit(xev_shard *self, void *userdata) {
    struct shard *s = state_of(self);
    xev_shard_counters c;
    (void)userdata;
    xev_shard_count(self, &c);
    HOLDS(s->w, c.asks_cancelled == s->cancelled && c.asks_timed_out == s->timed_out);
    if (one_in(s, 2)) {
        answer_kept(s); /* of a drain that was cut short; else they are never answered */
    }
}

static void check_end(struct world *w) {
    for (uint32_t i = 0; i < w->shards; i++) {
        const struct shard *s = &w->s[i];
        for (uint32_t k = 0; k < s->asks_len; k++) {
            HOLDS(w, s->asks[k].answered == s->asks[k].taken);
            HOLDS(w, s->asks[k].handled <= s->asks[k].taken);
            HOLDS(w, w->cut || s->asks[k].last || !s->asks[k].watched || s->asks[k].replied);
        }
        for (uint32_t k = 0; k < s->reductions_len; k++) {
            HOLDS(w, s->reductions[k].done == s->reductions[k].taken);
        }
        for (uint32_t k = 0; k < s->letters_len; k++) {
            HOLDS(w, s->letters[k].handled == s->letters[k].taken);
        }
        for (uint32_t k = 0; k < s->rooms_len && !w->cut; k++) {
            HOLDS(w, s->rooms[k].told == s->rooms[k].taken);
        }
    }
}

static void one_program(uint64_t seed) {
    struct world *w = &world;
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->rng = mix(seed);
    w->trace = getenv("XEV_TEST_TRACE") != NULL;
    w->shards = 1 + below(w, SHARDS);
    w->early = one_in(w, 3);
    w->cut = one_in(w, 3);
    w->asks = one_in(w, 4) ? 1 + below(w, 12) : 0;
    xev_runtime_options o = {
        .shards = w->shards,
        .no_pin = true,
        .no_signals = true,
        .drain_ms = 3600 * 1000,
        .mailbox = one_in(w, 4) ? 0 : 1 + below(w, 6),
        .urgent = 1 + below(w, 4),
        .asks = w->asks,
        .ask_bytes = 80000,
        .pool_threads = 1,
        .alone = w->shards == 1 && one_in(w, 2),
        .sample_messages = one_in(w, 3) ? 1 + below(w, 3) : 0,
        .loop = {.entries = 8, .buffers = 1, .buffers_max = 1, .buffer_bytes = 64},
        .init = ask_init,
        .stop = ask_stop,
        .deinit = ask_deinit,
        .userdata = w,
    };
    uint32_t budget = 4 + below(w, 60);
    for (uint32_t i = 0; i < w->shards; i++) {
        w->s[i] = (struct shard){.w = w, .id = i, .rng = mix(seed ^ mix(i + 1)), .budget = budget};
    }
    atomic_store(&w->work, (int)w->shards);
    int rc = xev_runtime_run(&w->rt, &o);
    HOLDS(w, rc == 0 || (rc == XEV_EINTR && w->cut));
    check_end(w);
}

TEST_TIMEOUT(random_asks_keep_the_contract, 60) {
    for_seeds(300 / (uint32_t)test_slowdown(), one_program);
}
