/* Random programs against the contract of completion.h, checked by the model of random_scene.h.
 *
 * Each seed makes a program: operations of all kinds on sockets, pipes, timers and asyncs, begun,
 * cancelled, limited in time, repeated and closed at random, from inside callbacks and outside,
 * while peers send, read, stall and go away. XEV_TEST_SEED=N runs the program of one seed, and
 * XEV_TEST_TRACE=1 prints what it does. The kernel's results may differ from run to run.
 */
#include <pthread.h>

#include "tests/random_ops.h"

/* Turns within which all that is active must have ended, once peers do their part. */
#define QUIET_TURNS 20000

/* ---- worlds ---- */

static void choose_options(struct world *w) {
    xev_loop_options *o = &w->options;
    static const uint32_t bytes[] = {64, 128, 192, 512, 4096, 32768};
    if (one_in(w, 3)) {
        o->buffer_bytes = 32768;
        return; /* and for the rest the defaults */
    }
    o->entries = one_in(w, 2) ? 8 : 1u << below(w, 7);
    o->cq_entries = one_in(w, 2) ? 2 * o->entries : o->entries < 8 ? 8 : o->entries;
    o->buffer_bytes = bytes[below(w, 6)];
    o->buffers = 1u << below(w, 3);
    o->buffers_max = o->buffers > 2 || one_in(w, 2) ? 4 : o->buffers;
    o->spin_ns = one_in(w, 3) ? below(w, 20000) : 0;
}

static struct world *open_world(uint64_t seed, struct async *asyncs) {
    struct world *w = calloc(1, sizeof *w);
    CHECK(w != NULL);
    w->seed = seed;
    w->rng = mix(seed);
    w->trace = getenv("XEV_TEST_TRACE") != NULL;
    w->budget = 20;
    w->asyncs = asyncs;
    w->hosted = one_in(w, 4);
    choose_options(w);
    HOLDS(w, xev_loop_init_options(&w->loop, &w->options) == 0);
    w->loop.userdata = w;
    const char *wanted = getenv("XEV_BACKEND");
    if (wanted != NULL) {
        CHECK_STR_EQ(xev_loop_backend(&w->loop), wanted);
    }
    for (int i = 0; i < OPS + SPARE_OPS; i++) {
        w->ops[i].w = w;
    }
    w->plain = plain_listener(64);
    CHECK_EQ(fcntl(w->plain, F_SETFL, O_NONBLOCK), 0);
    CHECK_EQ(xev_addr_parse(&w->plain_addr, "127.0.0.1", ntohs(address_of(w->plain).sin_port)), 0);
    w->deaf = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(w->deaf, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK_EQ(bind(w->deaf, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    CHECK_EQ(xev_addr_parse(&w->deaf_addr, "127.0.0.1", ntohs(address_of(w->deaf).sin_port)), 0);
    return w;
}

/* What the loop says of itself, outside callbacks. */
static void check_counts(struct world *w) {
    uint32_t active = 0;
    bool alive = false;
    for (int i = 0; i < OPS + SPARE_OPS; i++) {
        struct job *op = &w->ops[i];
        active += op->active;
        alive |= op->active && !op->unref;
        OP_HOLDS(op, op->c == NULL ||
                         (xev_completion_state(op->c) == XEV_COMPLETION_ACTIVE) == op->active);
        bool waits = op->active && op->what == ASYNC && !op->stopped;
        op->owed += waits && op->async->owed;
        /* Another thread may have been stopped in the middle of its notify: until it goes on, the
         * loop sees nothing that was pushed behind it. */
        OP_HOLDS(op, !waits || w->threads || op->owed < 8);
    }
    HOLDS(w, active == w->active);
    for (int i = 0; i < CHANS; i++) {
        active += w->chans[i] != NULL && w->chans[i]->reqs != NULL;
        alive |= w->chans[i] != NULL && w->chans[i]->reqs != NULL;
    }
    HOLDS(w, xev_loop_active(&w->loop) == active);
    HOLDS(w, xev_loop_alive(&w->loop) == alive);
    check_walk(&w->loop);
    check_queues(w);
}

static void run(struct world *w, xev_run_mode_t mode) {
    check_counts(w);
    TRACE(w, "run %d\n", (int)mode);
    w->running = true;
    w->run_began = clock_ns();
    HOLDS(w, xev_loop_run(&w->loop, mode) == 0);
    w->running = false;
    check_counts(w);
}

/* As a host's loop does it. */
static void host_turn(struct world *w) {
    uint64_t ns;
    int fd = xev_loop_backend_fd(&w->loop);
    HOLDS(w, fd >= 0);
    w->preparing = true;
    w->hook_turn[XEV_HOOK_FLUSH] = UINT64_MAX; /* a turn of its own */
    CALL(w, ns = xev_loop_prepare_wait_ns(&w->loop));
    w->preparing = false;
    w->hook_turn[XEV_HOOK_FLUSH] = UINT64_MAX; /* a turn of its own */
    struct pollfd p = {.fd = fd, .events = POLLIN};
    (void)poll(&p, 1, ns > 0 && one_in(w, 4));
    run(w, XEV_RUN_NO_WAIT);
}

/* Some turns without a descriptor to be had by anybody. */
static void starve(struct world *w) {
    struct rlimit limit, low;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int fd = dup(w->plain);
    CHECK_GE(fd, 0);
    CHECK_EQ(close(fd), 0);
    low = limit;
    low.rlim_cur = (rlim_t)fd;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    w->few = w->was_few = true;
    TRACE(w, "few descriptors\n");
    for (uint32_t i = 0; i < 4; i++) {
        act(w);
        run(w, XEV_RUN_NO_WAIT);
    }
    w->few = false;
    TRACE(w, "enough descriptors\n");
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* A turn, or a run that something ends soon. */
static void take_turn(struct world *w) {
    uint32_t n = below(w, w->brief ? 32 : 8);
    if (n == 2 && w->hosted) {
        host_turn(w);
        return;
    }
    if (n > 1) {
        run(w, XEV_RUN_NO_WAIT);
        return;
    }
    struct job *guard = &w->ops[0];
    w->stop = n == 1;
    if (!guard->active) {
        guard->timeout = 1 + below(w, w->brief ? 20000 : 500000);
        set_up(w, guard, TIMER, NULL);
        uint64_t before = clock_ns();
        CALL(w, xev_timer_run_ns(NULL, &w->loop, guard->c, guard->timeout, guard, called));
        arm(guard, before);
    }
    uint64_t callbacks = w->callbacks;
    run(w, w->stop ? XEV_RUN_UNTIL_DONE : XEV_RUN_ONCE);
    HOLDS(w, w->callbacks > callbacks);
    HOLDS(w, !w->stop || !guard->active);
}

/* Descriptors that are closed, and whose peers have seen all of it, go. */
static void sweep(struct world *w) {
    accept_plain(w);
    for (int i = 0; i < CHANS; i++) {
        struct chan *ch = w->chans[i];
        if (ch == NULL || ch->ops > 0 || ch->reqs != NULL) {
            continue;
        }
        if (ch->kind == FOREIGN && one_in(w, w->quiet ? 1 : 40)) {
            CHECK_EQ(close(ch->fd), 0); /* which the loop is not told */
            ch->closed = true;
        }
        if (!ch->closed) {
            continue;
        }
        for (int tries = 0; tries < 16 && peer_read(ch); tries++) {
        }
        bool ends = ch->peer >= 0 && ch->kind != PIPE_IN && ch->kind != UDP && ch->kind != FOREIGN;
        if (!ends || ch->peer_eof) {
            check_all_sent(ch);
            free_chan_at(&w->chans[i]);
        }
    }
}

/* ---- the end ---- */

static struct job *spare_op(struct world *w) {
    for (int i = OPS; i < OPS + SPARE_OPS; i++) {
        if (!w->ops[i].active) {
            return &w->ops[i];
        }
    }
    return NULL;
}

/* Give each operation what it waits for. */
static void satisfy(struct world *w, uint32_t round) {
    for (int i = 0; i < ASYNCS; i++) {
        atomic_fetch_add(&w->asyncs[i].notifies, 1);
        CALL(w, xev_async_notify(&w->asyncs[i].watcher));
    }
    for (int i = 0; i < OPS; i++) {
        struct job *op = &w->ops[i], *with = spare_op(w);
        /* A poll on and on may have told all there is to tell. */
        bool lasts = (op->what == TIMER && op->timeout > (w->brief ? 0 : 100 * MS)) ||
                     (op->what == POLL_MULTI && round > 20);
        if (op->active && lasts && !op->stopped && with != NULL) {
            cancel(w, with, op);
        }
    }
    for (int i = 0; i < CHANS; i++) {
        struct chan *ch = w->chans[i];
        if (ch == NULL) {
            continue;
        }
        for (int tries = 0; tries < 16 && peer_read(ch); tries++) {
        }
        if (ch->kind == LISTENER) {
            call_listener(ch);
        } else if (ch->closing) {
            continue;
        } else if (round < 3 || ch->kind == UDP) {
            peer_feed(ch);
        } else if (round == 6) {
            peer_shut(ch);
        } else if (round > 10 && ch->ops > 0) {
            peer_close(ch);
        }
    }
}

static bool all_closed(struct world *w) {
    bool all = true;
    for (int i = 0; i < CHANS; i++) {
        struct chan *ch = w->chans[i];
        struct job *with = spare_op(w);
        /* What was sent arrives before the close, too, by and by. */
        bool sent_all = ch != NULL && (ch->seg_head == ch->seg_len || ch->reset || ch->peer_gone ||
                                       ch->reqs != NULL);
        if (sent_all && ch->kind != FOREIGN && !ch->closing && with != NULL) {
            close_chan(w, with, ch);
        }
        all &= ch == NULL;
    }
    return all;
}

/* Whether op is the first of its direction on its descriptor, and may go on by itself. */
static bool is_next(struct world *w, const struct job *op) {
    if (!op->active || op->ch == NULL || op->what < RECV || op->stopped || op->invalid) {
        return false;
    }
    for (int i = 0; i < OPS + SPARE_OPS; i++) {
        const struct job *o = &w->ops[i];
        if (o->active && o->ch == op->ch && o->what >= RECV && o->order < op->order &&
            is_write(o->what) == is_write(op->what)) {
            return false;
        }
    }
    return true;
}

/* Whether the kernel has, at this moment, what something waits for. */
static bool is_left_undone(struct world *w) {
    for (int i = 0; i < OPS + SPARE_OPS; i++) {
        const struct job *op = &w->ops[i];
        if (!is_next(w, op) || op->ch->closing || op->ch->connecting || !op->ch->connected) {
            continue;
        }
        struct pollfd p = {.fd = op->ch->fd, .events = is_write(op->what) ? POLLOUT : POLLIN};
        if (poll(&p, 1, 0) > 0) {
            return true;
        }
    }
    for (int i = 0; i < CHANS; i++) {
        const struct chan *ch = w->chans[i];
        if (ch != NULL && ch->reqs != NULL && !ch->closing && ch->connected && !ch->connecting) {
            struct pollfd p = {.fd = ch->fd, .events = POLLOUT};
            if (poll(&p, 1, 0) > 0 || is_behind(ch)) {
                return true;
            }
        }
    }
    return false;
}

/* Before peers do anything, all is done that can be done without them. */
static void finish_what_is_ready(struct world *w) {
    for (uint32_t turns = 0; is_left_undone(w); turns++) {
        HOLDS(w, turns < QUIET_TURNS); /* a second at least: no retry comes later */
        run(w, XEV_RUN_NO_WAIT);
        if (turns > 100) {
            usleep(50); /* what has found no descriptors looks again in a while */
        }
    }
}

/* Peers do what is waited for, and everything that is active ends. */
static void quiesce(struct world *w) {
    uint32_t closing = 0;
    w->quiet = true;
    while (w->held_len > 0) {
        release_held(w);
    }
    finish_what_is_ready(w);
    for (uint32_t round = 0;; round++) {
        if (round == QUIET_TURNS) {
            xev_loop_print_active(&w->loop, stderr);
            CHECK_FAIL("seed %" PRIu64 ": something does not end", w->seed);
        }
        bool busy = w->active > 0;
        for (int i = 0; i < CHANS; i++) {
            busy |= w->chans[i] != NULL && w->chans[i]->reqs != NULL;
        }
        if (!busy || closing > 0) {
            closing++;
            if (all_closed(w) && w->active == 0) {
                return;
            }
        }
        satisfy(w, round);
        take_turn(w);
        sweep(w);
    }
}

static void close_world(struct world *w) {
    check_counts(w);
    while (w->held_len > 0) {
        release_held(w);
    }
    TRACE(w, "deinit\n");
    w->deinit = w->running = true;
    for (int i = 0; i < OPS + SPARE_OPS; i++) {
        w->ops[i].stopped |= w->ops[i].active;
    }
    xev_loop_deinit(&w->loop);
    w->running = false;
    HOLDS(w, w->active == 0);
    accept_plain(w);
    for (int i = 0; i < CHANS; i++) {
        struct chan *ch = w->chans[i];
        if (ch == NULL) {
            continue;
        }
        HOLDS(w, ch->ops == 0 && ch->reqs == NULL);
        HOLDS(w, ch->closed == ch->closing);
        if (!ch->closed) {
            CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(ch->fd)), 0);
        }
        free_chan_at(&w->chans[i]);
    }
    for (int i = 0; i < OPS + SPARE_OPS; i++) {
        struct job *op = &w->ops[i];
        OP_HOLDS(op, op->c == NULL || xev_completion_state(op->c) == XEV_COMPLETION_DEAD);
        free(op->buf);
        free(op->c);
    }
    CHECK_EQ(close(w->plain), 0);
    CHECK_EQ(close(w->deaf), 0);
    free(w);
}

/* ---- programs ---- */

static void run_program(struct world *w, uint32_t steps) {
    for (uint32_t i = 0; i < 4; i++) {
        new_chan(w);
    }
    for (uint32_t i = 0; i < steps; i++) {
        act(w);
        if (one_in(w, 4)) {
            take_turn(w);
            sweep(w);
        }
        if (!w->threads && one_in(w, 300)) {
            starve(w);
        }
    }
    if (!one_in(w, 3)) {
        quiesce(w);
    }
    close_world(w);
}

static void async_open(struct async asyncs[ASYNCS]) {
    memset(asyncs, 0, ASYNCS * sizeof *asyncs);
    for (int i = 0; i < ASYNCS; i++) {
        (void)xev_async_init(&asyncs[i].watcher);
    }
}

static void async_close(struct async asyncs[ASYNCS]) {
    for (int i = 0; i < ASYNCS; i++) {
        xev_async_deinit(&asyncs[i].watcher);
    }
}

static void one_loop(uint64_t seed) {
    struct async asyncs[ASYNCS];
    async_open(asyncs);
    run_program(open_world(seed, asyncs), 2000);
    async_close(asyncs);
}

TEST_TIMEOUT(random_programs_keep_the_contract, 120) {
    for_seeds(36 / (uint32_t)test_slowdown(), one_loop);
}

/* Many more of them, with less going on at a time. */
static void short_program(uint64_t seed) {
    struct async asyncs[ASYNCS];
    async_open(asyncs);
    struct world *w = open_world(seed, asyncs);
    w->brief = true;
    w->mostly_streams = one_in(w, 2);
    run_program(w, 10 + below(w, 70));
    async_close(asyncs);
}

TEST_TIMEOUT(short_random_programs_keep_the_contract, 120) {
    for_seeds(400 / (uint32_t)test_slowdown(), short_program);
}

/* ---- two loops in two threads, which notify each other ---- */

struct side {
    uint64_t seed;
    struct async *asyncs, *their_asyncs;
};

static void *side_runs(void *arg) {
    const struct side *side = arg;
    struct world *w = open_world(side->seed, side->asyncs);
    w->their_asyncs = side->their_asyncs;
    w->threads = true;
    run_program(w, 1000);
    return NULL;
}

static void two_loops(uint64_t seed) {
    struct async asyncs[2][ASYNCS];
    struct side sides[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        async_open(asyncs[i]);
    }
    for (int i = 0; i < 2; i++) {
        sides[i] = (struct side){mix(seed) + (uint64_t)i, asyncs[i], asyncs[1 - i]};
        CHECK_EQ(pthread_create(&threads[i], NULL, side_runs, &sides[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        /* Its loop is gone, and notifies do nothing. */
    }
    for (int i = 0; i < 2; i++) {
        async_close(asyncs[i]);
    }
}

TEST_TIMEOUT(random_programs_in_two_threads_keep_the_contract, 120) {
    for_seeds(12 / (uint32_t)test_slowdown(), two_loops);
}
