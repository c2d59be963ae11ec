/* Random programs of shards that send each other messages, requests and notifications.
 *
 * Each shard has a budget of things to do, which it spends in its callbacks: message and request
 * handlers, replies, timers, hooks before and after the poll, init, drain and stop. So messages
 * leave from every place of a turn. The model: what was accepted is handled once, on its shard, in
 * the order of its sender; what was refused never is; each request gets its reply once, where it
 * was asked; each client of a listener is accepted once, by some shard; init, drain, stop and
 * deinit come in their order. A program is over when nothing is on its way: one message that stays
 * behind while its shard sleeps makes it hang.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "tests/random.h"
#include "xev/shard.h"

enum { SHARDS = 3, MESSAGES = 64, ASKS = 32, CASTS = 16, TIMERS = 64, CLIENTS = 64 };
enum { STRANGER = SHARDS, SENDERS }; /* a thread that is no shard */

struct letter {
    xev_message m;
    uint32_t from, to, seq;
    bool sent; /* taken by the runtime */
    uint32_t handled;
};

struct ask {
    xev_request r;
    struct letter info; /* its message is not used */
    uint32_t replied;
    int answer;
    struct ask *next; /* to be answered later */
};

struct cast {
    xev_message m[SHARDS];
    uint32_t from, seq[SHARDS];
    bool sent;
    uint32_t handled[SHARDS];
};

struct clock {
    xev_completion c;
    struct shard *s;
    bool active, resumes;
};

struct client {
    struct shard *s;
    xev_completion c;
    int fd;
    uint32_t id;
};

struct shard {
    struct world *w;
    xev_shard *self; /* NULL: a stranger */
    uint64_t rng;
    uint32_t id, budget;
    uint32_t next_seq[SHARDS], seen[SENDERS];
    struct letter letters[MESSAGES];
    struct ask asks[ASKS];
    struct cast casts[CASTS];
    struct clock clocks[TIMERS];
    struct client clients[CLIENTS];
    uint32_t letters_len, asks_len, casts_len, clocks_len, clients_len;
    struct ask *unanswered;
    xev_hook before, after, flush;
    xev_watcher bell;
    xev_completion bell_wait;
    atomic_bool owed; /* a notification */
    xev_listener listener;
    bool listens, paused, stopped, waits;
    xev_message begin;
};

struct world {
    uint64_t seed, rng;
    bool trace;
    xev_runtime rt;
    uint32_t shards, mailbox;
    int fails_at; /* -1: no init fails */
    bool early;   /* is stopped in the middle */
    atomic_bool stop_asked;
    atomic_int work; /* on its way, or being done */
    atomic_uint inits, drains, stops, deinits;
    xev_addr at; /* of the listeners */
    bool listens;
    atomic_uint clients, accepted[SENDERS * CLIENTS];
    struct shard s[SENDERS];
};

static struct world world;

static struct shard *state_of(xev_shard *self) {
    struct shard *s = &world.s[xev_shard_id(self)];
    HOLDS(&world, s->self == self && xev_shard_current() == self);
    return s;
}

static void ask_to_stop(struct world *w) {
    if (!atomic_exchange(&w->stop_asked, true)) {
        TRACE(w, "stop\n");
        xev_runtime_stop(&w->rt);
    }
}

static void add_work(struct world *w) { atomic_fetch_add(&w->work, 1); }

static void work_done(struct world *w) {
    if (atomic_fetch_sub(&w->work, 1) == 1 && w->fails_at < 0) {
        ask_to_stop(w);
    }
}

static void act(struct shard *s, bool works);

/* ---- messages ---- */

static void check_refused(struct shard *s, int rc) {
    struct world *w = s->w;
    bool full = rc == XEV_EAGAIN && w->mailbox != 0;
    bool ended = rc == XEV_ECANCELED && (atomic_load(&w->stop_asked) || w->fails_at >= 0);
    HOLDS(w, full || ended);
    work_done(w);
}

/* The next in order of its sender, the first time. */
static void check_arrival(struct shard *s, uint32_t from, uint32_t seq, uint32_t *handled) {
    HOLDS(s->w, seq == s->seen[from]);
    s->seen[from]++;
    HOLDS(s->w, ++*handled == 1);
}

static void got_letter(xev_shard *self, xev_message *m, void *arg) {
    struct shard *s = state_of(self);
    struct letter *l = arg;
    HOLDS(s->w, m == &l->m && l->to == s->id);
    TRACE(s->w, "%u: letter %u of %u\n", s->id, l->seq, l->from);
    check_arrival(s, l->from, l->seq, &l->handled);
    memset(m, 0xa5, sizeof *m);
    for (uint32_t i = below(s, 3); i > 0; i--) {
        act(s, true);
    }
    work_done(s->w);
}

static void address(struct shard *s, struct letter *l) {
    l->from = s->id;
    l->to = below(s, s->w->shards);
    l->seq = s->next_seq[l->to];
    add_work(s->w);
}

static void send_letter(struct shard *s) {
    struct world *w = s->w;
    if (s->letters_len == MESSAGES) {
        return;
    }
    struct letter *l = &s->letters[s->letters_len++];
    address(s, l);
    TRACE(w, "%u: sends letter %u to %u\n", s->id, l->seq, l->to);
    l->sent = true;
    s->next_seq[l->to]++;
    int rc = xev_shard_send(xev_runtime_shard(&w->rt, l->to), &l->m, got_letter, l);
    if (rc < 0) {
        l->sent = false;
        s->next_seq[l->to]--;
        check_refused(s, rc);
    }
}

static void got_cast(xev_shard *self, xev_message *m, void *arg) {
    struct shard *s = state_of(self);
    struct cast *c = arg;
    HOLDS(s->w, m == &c->m[s->id]);
    check_arrival(s, c->from, c->seq[s->id], &c->handled[s->id]);
    memset(m, 0xa5, sizeof *m);
    act(s, true);
    work_done(s->w);
}

static void broadcast(struct shard *s) {
    struct world *w = s->w;
    if (s->casts_len == CASTS) {
        return;
    }
    struct cast *c = &s->casts[s->casts_len++];
    c->from = s->id;
    for (uint32_t i = 0; i < w->shards; i++) {
        c->seq[i] = s->next_seq[i]++;
        add_work(w);
    }
    c->sent = true;
    TRACE(w, "%u: broadcasts\n", s->id);
    int rc = xev_shard_broadcast(&w->rt, c->m, got_cast, c);
    for (uint32_t i = 0; rc < 0 && i < w->shards; i++) {
        c->sent = false;
        s->next_seq[i]--;
        check_refused(s, rc);
    }
}

/* ---- requests ---- */

static void answer_all(struct shard *s) {
    while (s->unanswered != NULL) {
        struct ask *a = s->unanswered;
        s->unanswered = a->next;
        TRACE(s->w, "%u: answers %u of %u\n", s->id, a->info.seq, a->info.from);
        xev_shard_reply(&a->r, a->answer);
    }
}

static bool start_clock(struct shard *s, bool resumes);

static void got_request(xev_shard *self, xev_request *r, void *arg) {
    struct shard *s = state_of(self);
    struct ask *a = arg;
    HOLDS(s->w, r == &a->r && a->info.to == s->id);
    check_arrival(s, a->info.from, a->info.seq, &a->info.handled);
    a->answer = (int)below(s, 1000) - 500;
    if (one_in(s, 2) && start_clock(s, false)) {
        a->next = s->unanswered;
        s->unanswered = a;
    } else {
        xev_shard_reply(r, a->answer);
    }
    act(s, true);
}

static void got_reply(xev_shard *self, xev_request *r, int result, void *arg) {
    struct shard *s = state_of(self);
    struct ask *a = arg;
    HOLDS(s->w, r == &a->r && a->info.from == s->id && a->info.handled == 1);
    HOLDS(s->w, ++a->replied == 1 && result == a->answer);
    memset(r, 0xa5, sizeof *r);
    act(s, true);
    work_done(s->w);
}

static void send_request(struct shard *s) {
    struct world *w = s->w;
    if (s->asks_len == ASKS || s->self == NULL || w->fails_at >= 0) {
        return;
    }
    struct ask *a = &s->asks[s->asks_len++];
    address(s, &a->info);
    a->info.sent = true;
    s->next_seq[a->info.to]++;
    TRACE(w, "%u: asks %u, as %u\n", s->id, a->info.to, a->info.seq);
    xev_shard *to = xev_runtime_shard(&w->rt, a->info.to);
    int rc = xev_shard_submit_to(to, &a->r, got_request, a, got_reply);
    if (rc < 0) {
        a->info.sent = false;
        s->next_seq[a->info.to]--;
        check_refused(s, rc);
    }
}

/* ---- timers and notifications ---- */

static xev_cb_action clock_struck(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct clock *k = userdata;
    struct shard *s = k->s;
    HOLDS(s->w, c == &k->c && k->active && loop == xev_shard_loop(s->self));
    HOLDS(s->w, result == 0 || (result == XEV_ECANCELED && (s->stopped || s->w->fails_at >= 0)));
    k->active = false;
    if (k->resumes) {
        s->paused = false;
        xev_listener_resume(&s->listener);
    }
    if (result < 0 || one_in(s, 2)) {
        answer_all(s);
    } else if (s->unanswered != NULL && !start_clock(s, false)) {
        answer_all(s);
    }
    act(s, true);
    work_done(s->w);
    return XEV_DISARM;
}

static bool start_clock(struct shard *s, bool resumes) {
    static const uint64_t times[] = {0, 1, 20000, 100000};
    if (s->clocks_len == TIMERS || s->self == NULL) {
        return false;
    }
    struct clock *k = &s->clocks[s->clocks_len++];
    *k = (struct clock){.s = s, .active = true, .resumes = resumes};
    add_work(s->w);
    xev_timer_run_ns(NULL, xev_shard_loop(s->self), &k->c, times[below(s, 4)], k, clock_struck);
    return true;
}

static xev_cb_action bell_rang(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct shard *s = userdata;
    (void)loop;
    HOLDS(s->w, c == &s->bell_wait && s->waits);
    if (result < 0) {
        HOLDS(s->w, result == XEV_ECANCELED && (s->stopped || s->w->fails_at >= 0));
        s->waits = false;
        return XEV_DISARM;
    }
    bool owed = atomic_exchange(&s->owed, false);
    act(s, owed);
    if (owed) {
        work_done(s->w);
    }
    return XEV_REARM;
}

static void ring(struct shard *s) {
    struct world *w = s->w;
    struct shard *to = &w->s[below(s, w->shards)];
    if (atomic_load(&w->inits) < w->shards || atomic_load(&w->stop_asked)) {
        return; /* what comes too early or too late for its loop is nobody's */
    }
    add_work(w);
    if (atomic_exchange(&to->owed, true)) {
        work_done(w);
    }
    (void)xev_async_notify(&to->bell);
}

/* ---- clients ---- */

static xev_cb_action client_closed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct client *l = userdata;
    (void)loop;
    (void)c;
    HOLDS(l->s->w, result == 0);
    act(l->s, true);
    work_done(l->s->w);
    return XEV_DISARM;
}

static xev_cb_action client_spoke(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct client *l = userdata;
    struct world *w = l->s->w;
    HOLDS(w, result == (int)sizeof l->id && l->id < SENDERS * CLIENTS);
    HOLDS(w, atomic_fetch_add(&w->accepted[l->id], 1) == 0);
    xev_tcp_close(xev_tcp_from_fd(l->fd), loop, c, l, client_closed);
    return XEV_DISARM;
}

static void client_came(xev_listener *listener, int result, void *userdata) {
    struct shard *s = userdata;
    HOLDS(s->w, listener == &s->listener && xev_shard_current() == s->self);
    HOLDS(s->w, result >= 0 && s->clients_len < CLIENTS);
    struct client *l = &s->clients[s->clients_len++];
    l->s = s;
    l->fd = result;
    xev_tcp_recv(xev_tcp_from_fd(result), xev_shard_loop(s->self), &l->c, &l->id, sizeof l->id, l,
                 client_spoke);
}

static void be_client(struct shard *s) {
    struct world *w = s->w;
    uint32_t id = atomic_fetch_add(&w->clients, 1);
    if (id >= CLIENTS) {
        return;
    }
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)xev_addr_port(&w->at)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    add_work(w);
    CHECK_EQ(connect(fd, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    CHECK_EQ(send(fd, &id, sizeof id, MSG_NOSIGNAL), (ssize_t)sizeof id);
    CHECK_EQ(close(fd), 0);
}

static void start_listening(struct shard *s) {
    struct world *w = s->w;
    if (s->id == 0) {
        CHECK_EQ(xev_addr_parse(&w->at, "127.0.0.1", 0), 0);
    }
    HOLDS(w, xev_shard_listen(s->self, &s->listener, &w->at, 0, s, client_came) == 0);
    HOLDS(w, xev_listener_addr(&s->listener, &w->at) == 0);
    s->listens = true;
}

/* ---- what a shard does ---- */

/* works: the caller has something to do that is not over yet, so that the program goes on. */
static void act(struct shard *s, bool works) {
    struct world *w = s->w;
    if (s->budget == 0) {
        return;
    }
    s->budget--;
    uint32_t n = below(s, 32);
    if (n < 14) {
        send_letter(s);
    } else if (n < 20) {
        send_request(s);
    } else if (n < 22) {
        broadcast(s);
    } else if (n < 26) {
        (void)start_clock(s, false);
    } else if (n < 28) {
        ring(s);
    } else if (n < 30 && s->listens && works && !w->early && !atomic_load(&w->stop_asked) &&
               atomic_load(&w->inits) == w->shards) {
        be_client(s);
    } else if (n < 31 && s->listens && !s->paused && !s->stopped) {
        s->paused = start_clock(s, true);
        if (s->paused) {
            xev_listener_pause(&s->listener);
        }
    } else if (w->early && one_in(s, 2)) {
        ask_to_stop(w);
    }
}

static void hook_called(struct shard *s) {
    HOLDS(s->w, xev_shard_current() == s->self);
    if (s->unanswered != NULL && one_in(s, 3)) {
        answer_all(s);
    }
    if (one_in(s, 3)) {
        act(s, false);
    }
}

static void before_poll(xev_loop *loop, xev_hook *hook) {
    struct shard *s = (struct shard *)(void *)((char *)hook - offsetof(struct shard, before));
    HOLDS(s->w, loop == xev_shard_loop(s->self));
    hook_called(s);
}

static void after_poll(xev_loop *loop, xev_hook *hook) {
    struct shard *s = (struct shard *)(void *)((char *)hook - offsetof(struct shard, after));
    HOLDS(s->w, loop == xev_shard_loop(s->self));
    hook_called(s);
}

static void last_thing(xev_loop *loop, xev_hook *hook) {
    struct shard *s = (struct shard *)(void *)((char *)hook - offsetof(struct shard, flush));
    HOLDS(s->w, loop == xev_shard_loop(s->self));
    hook_called(s);
}

static void begins(xev_shard *self, xev_message *m, void *arg) {
    struct shard *s = state_of(self);
    HOLDS(s->w, m == &s->begin && arg == s);
    for (int i = 0; i < 3; i++) {
        act(s, true);
    }
    work_done(s->w);
}

static int shard_init(xev_shard *self, void *userdata) {
    struct world *w = userdata;
    uint32_t id = xev_shard_id(self);
    struct shard *s = &w->s[id];
    xev_loop *loop = xev_shard_loop(self);
    const char *wanted = getenv("XEV_BACKEND");
    if (wanted != NULL) {
        CHECK_STR_EQ(xev_loop_backend(loop), wanted);
    }
    s->self = self;
    s->before.callback = before_poll;
    s->after.callback = after_poll;
    s->flush.callback = last_thing;
    xev_loop_hook_add(loop, XEV_HOOK_BEFORE_POLL, &s->before);
    xev_loop_hook_add(loop, XEV_HOOK_AFTER_POLL, &s->after);
    xev_loop_hook_add(loop, XEV_HOOK_FLUSH, &s->flush);
    s->waits = true;
    xev_async_wait(&s->bell, loop, &s->bell_wait, s, bell_rang);
    xev_completion_unref(&s->bell_wait);
    if (w->listens) {
        start_listening(s);
    }
    int rc = xev_shard_send(self, &s->begin, begins, s);
    if (rc < 0) {
        check_refused(s, rc);
    }
    if (one_in(s, 2)) {
        act(s, true);
    }
    HOLDS(w, atomic_fetch_add(&w->inits, 1) == id);
    return (int)id == w->fails_at ? XEV_ENOSPC : 0;
}

static void shard_drain(xev_shard *self, void *userdata) {
    struct world *w = userdata;
    HOLDS(w, atomic_load(&w->inits) == w->shards && w->fails_at < 0);
    HOLDS(w, atomic_fetch_add(&w->drains, 1) < w->shards);
    act(state_of(self), false);
}

static void shard_stop(xev_shard *self, void *userdata) {
    struct world *w = userdata;
    struct shard *s = state_of(self);
    HOLDS(w, atomic_load(&w->drains) == w->shards);
    HOLDS(w, atomic_fetch_add(&w->stops, 1) == w->shards - 1 - s->id);
    s->stopped = true;
    s->budget += 2;
    act(s, false);
    act(s, false);
}

static void shard_deinit(xev_shard *self, void *userdata) {
    struct world *w = userdata;
    struct shard *s = state_of(self);
    uint32_t begun = w->fails_at < 0 ? w->shards : (uint32_t)w->fails_at;
    HOLDS(w, atomic_load(&w->stops) == (w->fails_at < 0 ? w->shards : 0));
    HOLDS(w, atomic_fetch_add(&w->deinits, 1) == begun - 1 - s->id);
    HOLDS(w, !s->waits);
}

/* ---- programs ---- */

static void *stranger_runs(void *arg) {
    struct shard *s = arg;
    for (int i = 0; i < 8; i++) {
        send_letter(s);
        if (one_in(s, 3)) {
            broadcast(s);
        }
        if (one_in(s, 3)) {
            sched_yield();
        }
    }
    work_done(s->w);
    return NULL;
}

static bool arrives(const struct world *w, bool sent, uint32_t to) {
    return sent && (w->fails_at < 0 || (int)to <= w->fails_at);
}

/* What was accepted was handled, and nothing else. */
static void check_mail(struct world *w, struct shard *s) {
    for (uint32_t i = 0; i < s->letters_len; i++) {
        const struct letter *l = &s->letters[i];
        HOLDS(w, l->handled == arrives(w, l->sent, l->to));
    }
    for (uint32_t i = 0; i < s->asks_len; i++) {
        const struct ask *a = &s->asks[i];
        HOLDS(w, a->info.handled == a->info.sent && a->replied == a->info.sent);
    }
    for (uint32_t i = 0; i < s->casts_len; i++) {
        for (uint32_t to = 0; to < w->shards; to++) {
            const struct cast *c = &s->casts[i];
            HOLDS(w, c->handled[to] == arrives(w, c->sent, to));
        }
    }
    for (uint32_t i = 0; i < s->clocks_len; i++) {
        HOLDS(w, !s->clocks[i].active);
    }
    HOLDS(w, s->unanswered == NULL);
}

static void check_end(struct world *w) {
    for (uint32_t i = 0; i < SENDERS; i++) {
        check_mail(w, &w->s[i]);
    }
    uint32_t clients = atomic_load(&w->clients);
    for (uint32_t i = 0; i < clients && i < CLIENTS; i++) {
        HOLDS(w, atomic_load(&w->accepted[i]) == 1);
    }
    uint32_t begun = w->fails_at < 0 ? w->shards : (uint32_t)w->fails_at + 1;
    HOLDS(w, atomic_load(&w->inits) == begun);
    HOLDS(w, atomic_load(&w->deinits) == (w->fails_at < 0 ? begun : begun - 1));
    int owed = 0; /* notifications that came too late for their loop */
    for (uint32_t i = 0; i < w->shards; i++) {
        owed += atomic_load(&w->s[i].owed);
    }
    HOLDS(w, w->fails_at >= 0 || atomic_load(&w->work) == owed);
}

static void choose(struct world *w, xev_runtime_options *o) {
    w->shards = 2 + below(w, SHARDS - 1);
    w->early = one_in(w, 3);
    w->fails_at = one_in(w, 30) ? (int)below(w, w->shards) : -1;
    w->listens = one_in(w, 6) && w->fails_at < 0;
    w->mailbox = one_in(w, 4) ? 2 + below(w, 8) : 0;
    *o = (xev_runtime_options){
        .shards = w->shards,
        .no_pin = true,
        .no_signals = true,
        .drain_ms = 3600 * 1000,
        .mailbox = w->mailbox,
        .pool_threads = 1,
        .loop = {.entries = 8, .buffers = 1, .buffers_max = 1, .buffer_bytes = 64},
        .init = shard_init,
        .drain = shard_drain,
        .stop = shard_stop,
        .deinit = shard_deinit,
        .userdata = w,
    };
    o->loop.spin_ns = one_in(w, 4) ? 20000 : 0;
}

static void *watch_start(void *arg) {
    struct world *w = arg;
    while (atomic_load(&w->inits) < w->shards) {
        sched_yield();
    }
    return stranger_runs(&w->s[STRANGER]);
}

static void one_program(uint64_t seed) {
    struct world *w = &world;
    xev_runtime_options o;
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->rng = mix(seed);
    w->trace = getenv("XEV_TEST_TRACE") != NULL;
    choose(w, &o);
    uint32_t budget = 4 + below(w, 28);
    for (uint32_t i = 0; i < SENDERS; i++) {
        struct shard *s = &w->s[i];
        s->w = w;
        s->id = i;
        s->rng = mix(seed ^ mix(i + 1));
        s->budget = budget;
        (void)xev_async_init(&s->bell);
    }
    pthread_t thread;
    bool stranger = one_in(w, 6) && !w->early && w->fails_at < 0;
    atomic_store(&w->work, (int)(w->shards + stranger));
    if (stranger) {
        CHECK_EQ(pthread_create(&thread, NULL, watch_start, w), 0);
    }
    int rc = xev_runtime_run(&w->rt, &o);
    HOLDS(w, rc == (w->fails_at < 0 ? 0 : XEV_ENOSPC));
    if (stranger) {
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    check_end(w);
    for (uint32_t i = 0; i < SENDERS; i++) {
        xev_async_deinit(&w->s[i].bell);
    }
}

TEST_TIMEOUT(random_programs_of_shards_keep_the_contract, 60) {
    for_seeds(400 / (uint32_t)test_slowdown(), one_program);
}
