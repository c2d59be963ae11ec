/* The runtime: threads, start, drain and end of the shards.
 *
 * The thread in xev_runtime_run is the coordinator. It gives each shard one command at a time and
 * waits until that is done. A shard that serves runs its loop; a command stops the loop, and the
 * shard takes the command. A shard that does not serve waits for a command on its own condition
 * variable. (With one variable for all, each command would wake every shard.)
 *
 * The drain is over when no shard has anything left to do: every shard is idle, and every mailbox
 * is empty, both seen under the lock. That is exact. A shard that handles a message ceases to be
 * idle first, for which it takes the lock, and an idle shard sends nothing. Shards that are not
 * idle are counted, so the coordinator looks through the mailboxes only when that count is 0.
 */
#include <assert.h>
#include <ck_pr.h>
#include <stdlib.h>

#include "shard/internal.h"
#include "xev/log.h"

/* How often a shard whose loop is broken looks for messages. */
#define MESSAGES_LOOK_MS 10u

_Thread_local xev_shard *xev__current_shard;

xev_shard *xev_shard_current(void) { return xev__current_shard; }

uint32_t xev_shard_cpu(const xev_shard *shard) {
    xev__shard_check(shard != NULL, "xev_shard_cpu", "shard is null");
    return shard->cpu;
}

void xev__stops_add(struct xev__runtime *rt) {
    ck_pr_inc_32(&rt->stops);
    xev__news(rt);
}

/* Note the failure that xev_runtime_run will report, if it is the first one. */
static void note_whole_failure(struct xev__runtime *rt, const xev_runtime_failure *failure) {
    assert(failure->code < 0 && failure->call != NULL);
    pthread_mutex_lock(&rt->lock);
    if (rt->failure.code == 0) {
        rt->failure = *failure;
        rt->failure.why = failure->why != NULL ? failure->why : "";
    }
    pthread_mutex_unlock(&rt->lock);
}

/* Returns code. */
static int note_failure(struct xev__runtime *rt, int code, uint32_t shard, const char *call) {
    note_whole_failure(rt, &(xev_runtime_failure){.code = code, .shard = shard, .call = call});
    return code;
}

/* A forked child that comes back from a callback would go on as a shard of its parent's, and wait
 * for ever for threads that the child does not have. */
void xev__runtime_check_fork(const struct xev__runtime *rt, const char *callback) {
    if (rt->forks != xev__os_forks) {
        char what[80];
        snprintf(what, sizeof what, "a forked child came back from its parent's %s callback",
                 callback);
        xev__shard_check(false, "xev_runtime_run", what);
    }
}

/* ---- a shard's side ---- */

/* The kernel refuses to wait for this shard's loop any more: it can serve no descriptor or timer.
 */
static void loop_broke(xev_shard *s, int code) {
    const char *call = xev_loop_failed_call(&s->loop);
    assert(s->broken == 0 && code < 0);
    s->broken = note_failure(s->rt, code, s->id, call != NULL ? call : "xev_loop_run");
    if (s->draining) {
        xev__listeners_cut(s);
    }
}

/* What the options ask for in measurements, and the outboxes. */
static bool make_own_memory(xev_shard *s) {
    const xev_runtime_options *o = &s->rt->options;
    const bool wanted[] = {true, o->loop.time_callbacks, o->sample_messages > 0};
    _Static_assert(sizeof wanted / sizeof wanted[0] == XEV_SHARD_TIMES, "one each");
    for (int i = 0; i < XEV_SHARD_TIMES; i++) {
        xev_histogram *times = wanted[i] ? calloc(1, sizeof *times) : NULL;
        if (wanted[i] && times == NULL) {
            return false;
        }
        __atomic_store_n(&s->times[i], times, __ATOMIC_RELEASE);
    }
    s->outboxes = calloc(s->rt->outboxes, sizeof *s->outboxes);
    return s->outboxes != NULL && xev__delays_make(s);
}

static int set_up_shard(xev_shard *s) {
    const xev_runtime_options *o = &s->rt->options;
    const struct xev__runtime *rt = s->rt;
    s->cpu = rt->bind ? rt->cpus[s->id % rt->cpus_len] : XEV_NO_CPU;
    xev_runtime_failure f;
    int rc = rt->bind ? xev__bind_shard(s, &f) : 0;
    if (rc < 0) {
        note_whole_failure(s->rt, &f);
        return rc;
    }
    /* From here on: what is allocated is on the node of that CPU, which touches it first. */
    assert(!s->has_loop && !s->serving && xev__current_shard == s);
    if (!make_own_memory(s)) {
        return note_failure(s->rt, XEV_ENOMEM, s->id, "calloc");
    }
    xev_loop_options loop = o->loop;
    loop.thread_pool = &s->rt->pool;
    loop.turn_times = s->times[XEV_SHARD_TURNS];
    loop.callback_times = s->times[XEV_SHARD_CALLBACKS];
    rc = xev_loop_init_options(&s->loop, &loop);
    if (rc < 0) {
        f = (xev_runtime_failure){.code = rc, .shard = s->id, .call = "xev_loop_init"};
        f.why = rc == XEV_EINVAL && s->loop.fallback[0] == '\0' ? xev_err_why() : "";
        snprintf(f.object, sizeof f.object, "%.127s", s->loop.fallback); /* what it lacks */
        note_whole_failure(s->rt, &f);
        return rc;
    }
    s->has_loop = true;
    /* There is nothing to run yet; the run makes this thread the owner of the loop. */
    rc = xev_loop_run(&s->loop, XEV_RUN_NO_WAIT);
    if (rc < 0) {
        return note_failure(s->rt, rc, s->id, "xev_loop_run");
    }
    xev__mailbox_start(s);
    xev__watch_news(s);
    xev__reloads_start(s);
    xev__note_call(&s->loop, XEV__CODE(o->init));
    s->init_called = true;
    rc = o->init != NULL ? o->init(s, o->userdata) : 0;
    xev__runtime_check_fork(s->rt, "init");
    if (rc < 0 && s->told.code == rc) {
        note_whole_failure(s->rt, &s->told);
    }
    return rc < 0 ? note_failure(s->rt, rc, s->id, "init") : 0;
}

static void run_shard_callback(xev_shard *s, xev_shard_fn fn, const char *name) {
    assert(xev__current_shard == s);
    if (fn != NULL) {
        xev__note_call(&s->loop, XEV__CODE(fn));
        fn(s, s->rt->options.userdata);
        xev__runtime_check_fork(s->rt, name);
    }
}

static void begin_drain(xev_shard *s) {
    assert(s->serving && !s->draining);
    s->draining = true;
    xev__drain_limit(s);
    if (s->broken == 0) {
        xev__listeners_drain(s);
    } else {
        xev__listeners_cut(s); /* nobody would be served: who waits need not wait for the stop */
    }
    run_shard_callback(s, s->rt->options.drain, "drain");
}

static xev_cb_action on_replies_timer(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    (void)userdata;
    return XEV_REARM;
}

/* An unreferenced timer or a stop callback may have made a request after the drain was over. Run
 * the loop until the replies are there, or until the drain's deadline or a second stop. */
static void wait_for_replies(xev_shard *s) {
    assert(s->has_loop && !s->ending);
    s->ending = true;
    if (xev__replies_wanted(s) == 0) {
        return;
    }
    xev_timer_run(NULL, &s->loop, &s->replies_timer, 10, NULL, on_replies_timer);
    while (xev__replies_wanted(s) > 0 && s->broken == 0 && xev__now_ms() < s->rt->drain_end_ms &&
           ck_pr_load_32(&s->rt->stops) <= 1) {
        int rc = xev_loop_run(&s->loop, XEV_RUN_ONCE);
        if (rc < 0) {
            loop_broke(s, rc);
        }
        xev__mailbox_flush(s);
    }
}

static void end_loop(xev_shard *s) {
    s->serving = false;
    if (s->has_loop) {
        wait_for_replies(s);
        s->unanswered = xev__replies_wanted(s) > 0;
        xev__asks_cancel(s);
        xev__mailbox_close(s);
        xev_loop_deinit(&s->loop);
        xev__mailbox_flush(s);
        xev__listeners_close(s);
    }
}

/* Under the lock, after a change of done or idle. */
static void count_settled(xev_shard *s) {
    bool settled = s->done && s->idle;
    if (settled != s->settled) {
        assert(settled ? s->rt->unsettled > 0 : s->rt->unsettled < s->rt->count);
        s->rt->unsettled += settled ? 0u - 1u : 1u;
        s->settled = settled;
    }
}

static void set_idle(xev_shard *s, bool idle) {
    assert(xev__current_shard == s);
    pthread_mutex_lock(&s->rt->lock);
    s->idle = idle;
    count_settled(s);
    pthread_mutex_unlock(&s->rt->lock);
    if (idle) {
        xev__event_signal(&s->rt->news);
    }
}

void xev__shard_busy(xev_shard *s) {
    if (s->idle) { /* only this thread writes it */
        set_idle(s, false);
    }
}

/* Run the loop until it is stopped for a command or, in the drain, has no referenced operation
 * left. In the second case the shard is idle, and the next call waits for messages: nothing else
 * can bring work. */
static void serve_loop(xev_shard *s) {
    int rc;
    bool alive = true;
    assert(s->serving && s->broken == 0);
    if (s->draining) {
        xev_completion_unref(&s->mail_completion);
        alive = xev_loop_alive(&s->loop);
        if (!alive) {
            xev_completion_ref(&s->mail_completion);
        }
        if (s->idle != (!alive && xev__replies_wanted(s) == 0)) {
            set_idle(s, !s->idle);
        }
        if (s->rt->alone && s->idle && xev__mailbox_depth(s) == 0) {
            return; /* the drain is over, and nothing else can come */
        }
    }
    rc = xev_loop_run(&s->loop, alive ? XEV_RUN_UNTIL_DONE : XEV_RUN_ONCE);
    xev_completion_ref(&s->mail_completion);
    xev__mailbox_flush(s);
    if (rc < 0) {
        loop_broke(s, rc);
        ck_pr_store_32(&s->rt->ends, 1);
        xev__event_signal(&s->rt->news);
    }
}

/* A shard whose loop cannot wait any more goes on handling its messages: a shard that has made it a
 * request is not drained before the reply. */
static void serve_messages(xev_shard *s) {
    assert(s->broken != 0 && s->serving);
    xev__mailbox_deliver(s, XEV__MESSAGES_PER_TURN);
    xev__mailbox_flush(s);
    if (s->idle != (xev__replies_wanted(s) == 0)) {
        set_idle(s, !s->idle);
    }
}

static enum xev__command next_command(xev_shard *s) {
    struct xev__runtime *rt = s->rt;
    pthread_mutex_lock(&rt->lock);
    while (s->command == XEV__NONE) {
        if (!s->serving) {
            pthread_cond_wait(&s->commanded, &rt->lock);
            continue;
        }
        pthread_mutex_unlock(&rt->lock);
        if (s->broken == 0) {
            serve_loop(s);
            pthread_mutex_lock(&rt->lock);
        } else {
            serve_messages(s);
            pthread_mutex_lock(&rt->lock);
            if (s->command == XEV__NONE && xev__mailbox_empty(s)) {
                /* A message wakes the loop's wait, and not this one. */
                xev__cond_wait_ms(&s->commanded, &rt->lock, MESSAGES_LOOK_MS);
            }
        }
    }
    enum xev__command command = s->command;
    s->command = XEV__NONE;
    pthread_mutex_unlock(&rt->lock);
    return command;
}

static void report_done(xev_shard *s, int result) {
    pthread_mutex_lock(&s->rt->lock);
    assert(!s->done && s->command == XEV__NONE);
    s->result = result;
    s->done = true;
    count_settled(s);
    pthread_mutex_unlock(&s->rt->lock);
    xev__event_signal(&s->rt->news);
}

/* False: it was the last command. */
static bool carry_out(xev_shard *s, enum xev__command command) {
    struct xev__runtime *rt = s->rt;
    int result = 0;
    switch (command) {
    case XEV__INIT:
        result = set_up_shard(s);
        s->initialised = result == 0;
        break;
    case XEV__SERVE:
        s->serving = true;
        break;
    case XEV__DRAIN:
        begin_drain(s);
        break;
    case XEV__STOP:
        xev__listeners_cut(s);
        run_shard_callback(s, rt->options.stop, "stop");
        break;
    case XEV__END:
        end_loop(s);
        result = s->broken;
        break;
    default:
        if (s->initialised || (s->init_called && rt->options.deinit_failed)) {
            run_shard_callback(s, rt->options.deinit, "deinit");
            xev__mailbox_flush(s);
        }
        report_done(s, 0);
        return false;
    }
    xev__mailbox_flush(s); /* or its messages would wait for its next command */
    report_done(s, result);
    return true;
}

static void *shard_main(void *arg) {
    xev_shard *s = arg;
    xev__current_shard = s;
    xev__name_thread(s->id);
    ck_pr_store_64(&s->thread_number, xev__thread_number());
    while (carry_out(s, next_command(s))) {
    }
    return NULL;
}

/* Where the runtime is alone: what the shard does until there is news for the coordinator, which is
 * the caller. */
static void run_shard_here(xev_shard *s) {
    assert(s->id == 0 && xev__current_shard == NULL);
    xev__current_shard = s;
    if (s->command != XEV__NONE) {
        (void)carry_out(s, next_command(s));
    } else if (s->broken == 0) {
        serve_loop(s);
    } else {
        serve_messages(s);
        xev__sleep_ms(MESSAGES_LOOK_MS);
    }
    xev__current_shard = NULL;
}

/* ---- the coordinator's side ---- */

static void give_command(xev_shard *s, enum xev__command command) {
    pthread_mutex_lock(&s->rt->lock);
    assert(s->has_thread && command != XEV__NONE);
    s->command = s->last_command = command;
    s->done = false;
    count_settled(s);
    pthread_cond_signal(&s->commanded);
    s->woken_for_command = s->told_to_serve;
    if (s->woken_for_command) {
        /* Under the lock: a shard that has taken XEV__END may end its loop at once. */
        xev_loop_stop(&s->loop);
    }
    pthread_mutex_unlock(&s->rt->lock);
    s->told_to_serve = command < XEV__END && (s->told_to_serve || command == XEV__SERVE);
}

/* Where the system refused to wake a shard's loop, the shard sleeps on and does not see its
 * command. Wake it again. */
static void wake_again(struct xev__runtime *rt) {
    pthread_mutex_lock(&rt->lock);
    for (uint32_t i = 0; i < rt->count; i++) {
        xev_shard *s = &rt->shards[i];
        if (s->command != XEV__NONE && s->woken_for_command) {
            xev_loop_stop(&s->loop); /* under the lock, as in give */
        }
    }
    pthread_mutex_unlock(&rt->lock);
}

/* Until a shard has something to say, or somebody asks for a stop. */
static void wait_for_news(struct xev__runtime *rt, int timeout_ms) {
    enum { WAKE_AGAIN_MS = 10 };
    if (rt->alone) {
        run_shard_here(&rt->shards[0]);
        return;
    }
    if (xev__wakes_refused()) {
        wake_again(rt);
        timeout_ms = timeout_ms < 0 || timeout_ms > WAKE_AGAIN_MS ? WAKE_AGAIN_MS : timeout_ms;
    }
    xev__event_wait(&rt->news, timeout_ms);
}

static int wait_done(xev_shard *s) {
    xev__step_begin(s->rt);
    for (;;) {
        pthread_mutex_lock(&s->rt->lock);
        bool done = s->done;
        int result = s->result;
        pthread_mutex_unlock(&s->rt->lock);
        if (done) {
            return result;
        }
        wait_for_news(s->rt, xev__step_wait_ms(s->rt));
    }
}

static bool quiescent(struct xev__runtime *rt) {
    pthread_mutex_lock(&rt->lock);
    bool yes = rt->unsettled == 0;
    for (uint32_t i = 0; yes && i < rt->count; i++) {
        xev_shard *s = &rt->shards[i];
        assert(s->done && s->idle);
        yes = xev__mailbox_depth(s) == 0;
    }
    pthread_mutex_unlock(&rt->lock);
    return yes;
}

static int serve_and_drain(struct xev__runtime *rt) {
    static xev_log_kind kind = {.name = "runtime", .level = XEV_LOG_INFO};
    for (uint32_t i = 0; i < rt->count; i++) {
        give_command(&rt->shards[i], XEV__SERVE);
        (void)wait_done(&rt->shards[i]);
    }
    xev_log_write(&kind, "xev: %u shards serve", rt->count);
    while (!xev__is_to_end(rt)) {
        wait_for_news(rt, xev__slow_look(rt));
    }
    xev_log_write(&kind, "xev: the drain begins, for %u ms at most", rt->options.drain_ms);
    uint64_t begun = xev__now_ms();
    xev__patience_update(rt, begun);
    rt->drain_end_ms = begun + rt->options.drain_ms;
    for (uint32_t i = 0; i < rt->count; i++) {
        give_command(&rt->shards[i], XEV__DRAIN);
    }
    int rc = 0;
    while (!quiescent(rt)) {
        uint64_t now = xev__now_ms();
        if (ck_pr_load_32(&rt->stops) > 1 || now >= rt->drain_end_ms) {
            rc = now >= rt->drain_end_ms ? XEV_ETIMEDOUT : XEV_EINTR;
            break;
        }
        uint64_t left = rt->drain_end_ms - now;
        wait_for_news(rt, left > INT32_MAX ? INT32_MAX : (int)left);
    }
    xev_log_write(&kind, "xev: the drain is over%s", rc == 0 ? "" : "; what is left is cancelled");
    for (uint32_t i = 0; i < rt->count; i++) {
        (void)wait_done(&rt->shards[i]);
    }
    for (uint32_t i = rt->count; i-- > 0;) {
        give_command(&rt->shards[i], XEV__STOP);
        (void)wait_done(&rt->shards[i]);
    }
    return rc;
}

static int start_shard(xev_shard *s) {
    int rc = s->rt->alone ? 0 : pthread_create(&s->thread, NULL, shard_main, s);
    if (rc != 0) {
        return note_failure(s->rt, -rc, s->id, "pthread_create");
    }
    s->has_thread = true;
    give_command(s, XEV__INIT);
    return wait_done(s);
}

/* End the shards that were begun: first the loops of all, then the deinit callbacks. So every
 * message has been handled when a deinit callback frees the memory of messages. */
static int end_shards(struct xev__runtime *rt, int rc) {
    for (enum xev__command command = XEV__END; command <= XEV__DEINIT; command++) {
        for (uint32_t i = rt->count; i-- > 0;) {
            xev_shard *s = &rt->shards[i];
            if (s->has_thread) {
                give_command(s, command);
                (void)wait_done(s);
            }
        }
    }
    bool unanswered = false;
    for (uint32_t i = rt->count; i-- > 0;) {
        if (rt->shards[i].has_thread) {
            if (!rt->alone) {
                (void)pthread_join(rt->shards[i].thread, NULL);
            }
            unanswered |= rt->shards[i].unanswered || xev__replies_wanted(&rt->shards[i]) > 0;
        }
    }
    if (rc == 0 && unanswered) { /* a request that was made after the drain */
        rc = ck_pr_load_32(&rt->stops) > 1 ? XEV_EINTR : XEV_ETIMEDOUT;
    }
    return rc;
}

static int run_shards(struct xev__runtime *rt) {
    int rc = 0;
    for (uint32_t i = 0; i < rt->count && rc >= 0; i++) {
        rc = start_shard(&rt->shards[i]);
    }
    if (rc >= 0) {
        rc = serve_and_drain(rt);
    } else {
        ck_pr_store_32(&rt->ends, 1);
    }
    return end_shards(rt, rc);
}

static int make_shards(xev_runtime *handle, struct xev__runtime *rt) {
    /* Zero, and yet not written to where it comes fresh from the system: each shard's thread is the
     * first to touch its own pages. */
    rt->shards_memory = calloc(1, rt->count * sizeof *rt->shards + XEV__SHARD_PAGE - 1);
    if (rt->shards_memory == NULL) {
        return note_failure(rt, XEV_ENOMEM, XEV_NO_SHARD, "calloc");
    }
    uintptr_t misaligned = (uintptr_t)rt->shards_memory % XEV__SHARD_PAGE;
    rt->shards = (xev_shard *)(void *)((char *)rt->shards_memory +
                                       (misaligned > 0 ? XEV__SHARD_PAGE - misaligned : 0));
    rt->unsettled = rt->count;
    rt->outboxes = 1;
    while (rt->outboxes < rt->count && rt->outboxes < XEV__OUTBOXES_MAX) {
        rt->outboxes *= 2;
    }
    for (uint32_t i = 0; i < rt->count; i++) {
        int rc = xev__cond_init(&rt->shards[i].commanded);
        assert(rc == 0); /* it takes nothing of the system */
        (void)rc;
    }
    for (uint32_t i = 0; i < rt->count; i++) {
        xev_shard *s = &rt->shards[i];
        s->rt = rt;
        s->handle = handle;
        s->id = i;
        xev_mpsc_init(&s->mail);
        xev_mpsc_init(&s->urgent);
        (void)xev_async_init(&s->mail_async);
        (void)xev_async_init(&s->reload);
    }
    return 0;
}

static int run_with_pool(xev_runtime *handle, struct xev__runtime *rt) {
    xev_threadpool_config config;
    xev_threadpool_config_init(&config);
    xev_threadpool_config_set_max_threads(&config, rt->options.pool_threads);
    if (rt->options.pool_threads > 1) { /* the pool does so by itself only by its own default */
        xev_threadpool_config_set_lane_cap(&config, XEV_LANE_CPU, rt->options.pool_threads - 1);
    }
    for (int lane = 0; lane < XEV_LANE_COUNT; lane++) {
        if (rt->options.pool_lane_caps[lane] != 0) {
            xev_threadpool_config_set_lane_cap(&config, (xev_threadpool_lane)lane,
                                               rt->options.pool_lane_caps[lane]);
        }
    }
    int rc = xev_threadpool_init(&rt->pool, &config);
    if (rc < 0) {
        return note_failure(rt, rc, XEV_NO_SHARD, "xev_threadpool_init");
    }
    rc = make_shards(handle, rt); /* before the signals, which reach them */
    if (rc == 0 && (rc = xev__signals_open(rt)) < 0) {
        (void)note_failure(rt, rc, XEV_NO_SHARD, "sigaction");
    } else if (rc == 0) {
        rc = xev__slow_open(rt);
        if (rc < 0) {
            (void)note_failure(rt, rc, XEV_NO_SHARD, "slow_signal");
        } else {
            xev__visits_open(handle, rt);
            rc = run_shards(rt);
        }
        xev__slow_close(rt);
        xev__signals_close(rt);
    }
    xev_threadpool_deinit(&rt->pool);
    return rc;
}

int xev_runtime_run(xev_runtime *handle, const xev_runtime_options *options) {
    xev__shard_check(handle != NULL && options != NULL, "xev_runtime_run",
                     "runtime or options are null");
    xev__shard_check(xev_shard_current() == NULL, "xev_runtime_run", "called on a shard");
    struct xev__runtime *rt = calloc(1, sizeof *rt);
    if (rt == NULL) {
        *handle = (xev_runtime){.failure = {.code = XEV_ENOMEM, .shard = XEV_NO_SHARD}};
        handle->failure.call = "calloc";
        handle->failure.why = "";
        return XEV_ENOMEM;
    }
    rt->failure = (xev_runtime_failure){.shard = XEV_NO_SHARD, .call = "", .why = ""};
    rt->refs = 1;
    int rc = xev__visits_watch_forks();
    const char *option, *why;
    rt->forks = xev__os_forks;
    ck_pr_store_ptr(&handle->impl, NULL);
    pthread_mutex_init(&rt->lock, NULL);
    xev__event_init(&rt->news);
    (void)xev_async_init(&rt->news_async);
    if (rc < 0) {
        (void)note_failure(rt, rc, XEV_NO_SHARD, "pthread_atfork");
    } else if ((rc = xev__options_fill(rt, options, &option, &why)) < 0) {
        xev_runtime_failure f = {.code = rc, .shard = XEV_NO_SHARD, .call = "options", .why = why};
        snprintf(f.object, sizeof f.object, "%s", option);
        note_whole_failure(rt, &f);
    } else {
        rc = run_with_pool(handle, rt);
    }
    handle->failure = rt->failure;
    rc = rt->failure.code < 0 ? rt->failure.code : rc;
    /* Each code but those of a drain that was cut short has a failure noted. */
    assert(rc == rt->failure.code || rc == XEV_ETIMEDOUT || rc == XEV_EINTR);
    for (uint32_t i = 0; rt->shards != NULL && i < rt->count; i++) {
        ck_pr_or_32(&rt->shards[i].depth,
                    XEV__MAILBOX_CLOSED); /* of shards that never began, too */
    }
    xev__visits_close(handle, rt);
    xev__event_deinit(&rt->news);
    for (uint32_t i = 0; rt->shards != NULL && i < rt->count; i++) {
        xev__asks_give_back(&rt->shards[i]);
    }
    for (uint32_t i = 0; rt->shards != NULL && i < rt->count; i++) {
        xev__asks_free(&rt->shards[i]);
        for (int which = 0; which < XEV_SHARD_TIMES; which++) {
            free(rt->shards[i].times[which]);
        }
        free(rt->shards[i].delays);
        free(rt->shards[i].outboxes);
        pthread_cond_destroy(&rt->shards[i].commanded);
    }
    pthread_mutex_destroy(&rt->lock);
    xev__runtime_unref(rt); /* senders may still look at mailboxes, which are closed */
    return rc;
}

void xev_runtime_failure_get(const xev_runtime *handle, xev_runtime_failure *out) {
    xev__shard_check(handle != NULL && out != NULL && handle->impl == NULL,
                     "xev_runtime_failure_get", "runtime or room is null, or it is running");
    *out = handle->failure;
}

/* ---- the rest of shard.h ---- */

#if !defined(NDEBUG)
void xev__shard_check_thread(const char *call, const xev_shard *s) {
    const xev_shard *self = xev_shard_current();
    if (self == s) {
        return;
    }
    char what[80], where[32] = "a thread that is no shard's";
    if (self != NULL) {
        snprintf(where, sizeof where, "shard %u", self->id);
    }
    snprintf(what, sizeof what, "called on %s, of shard %u", where, s->id);
    xev__shard_check(false, call, what);
}
#endif

static struct xev__visit visit_running(const char *call, const xev_runtime *handle) {
    xev__shard_check(handle != NULL, call, "runtime is null");
    struct xev__visit visit = xev__visit_runtime(handle);
    xev__shard_check(visit.rt != NULL, call, "runtime is not running");
    return visit;
}

static void check_shard(const char *call, const xev_shard *s) {
    xev__shard_check(s != NULL, call, "shard is null");
}

static int shard_fail(const char *name, xev_shard *s, const xev_runtime_failure *f,
                      const char *part, const char *object) {
    check_shard(name, s);
    xev__shard_check(f->call != NULL && part != NULL && object != NULL && f->why != NULL, name,
                     "call, part, object or why is null");
    xev__shard_check_thread(name, s);
    xev__shard_check(f->code < 0, name, "code is not below 0");
    s->told = *f;
    s->told.shard = s->id;
    snprintf(s->told.part, sizeof s->told.part, "%s", part);
    snprintf(s->told.object, sizeof s->told.object, "%s", object);
    return f->code;
}

int xev_shard_fail(xev_shard *s, int code, const char *call, const char *part, const char *object) {
    const xev_runtime_failure f = {.code = code, .call = call, .why = ""};
    return shard_fail("xev_shard_fail", s, &f, part, object);
}

int xev_shard_fail_why(xev_shard *s, int code, const char *call, const char *part,
                       const char *object, const char *why) {
    const xev_runtime_failure f = {.code = code, .call = call, .why = why};
    return shard_fail("xev_shard_fail_why", s, &f, part, object);
}

void xev_runtime_stop(xev_runtime *handle) {
    xev__shard_check(handle != NULL, "xev_runtime_stop", "runtime is null");
    struct xev__visit visit = xev__visit_runtime(handle);
    if (visit.rt != NULL) {
        xev__stops_add(visit.rt);
        xev__visit_leave(visit);
    }
}

void xev_runtime_reload(xev_runtime *handle) {
    xev__shard_check(handle != NULL, "xev_runtime_reload", "runtime is null");
    struct xev__visit visit = xev__visit_runtime(handle);
    if (visit.rt != NULL) {
        xev__reload(visit.rt);
        xev__visit_leave(visit);
    }
}

uint32_t xev_runtime_shards(const xev_runtime *handle) {
    struct xev__visit visit = visit_running("xev_runtime_shards", handle);
    uint32_t count = visit.rt->count;
    xev__visit_leave(visit);
    return count;
}

xev_shard *xev_runtime_shard(xev_runtime *handle, uint32_t id) {
    struct xev__visit visit = visit_running("xev_runtime_shard", handle);
    xev_shard *shard = id < visit.rt->count ? &visit.rt->shards[id] : NULL;
    xev__visit_leave(visit);
    return shard;
}

void xev_shard_times(const xev_shard *s, xev_shard_time which, xev_histogram *into) {
    check_shard("xev_shard_times", s);
    xev__shard_check((unsigned)which < XEV_SHARD_TIMES && into != NULL, "xev_shard_times",
                     "no such time, or histogram is null");
    const xev_histogram *times = __atomic_load_n(&s->times[which], __ATOMIC_ACQUIRE);
    if (times != NULL) {
        xev_histogram_merge(into, times);
    }
}

uint32_t xev_shard_id(const xev_shard *s) {
    check_shard("xev_shard_id", s);
    return s->id;
}

xev_runtime *xev_shard_runtime(const xev_shard *s) {
    check_shard("xev_shard_runtime", s);
    return s->handle;
}

xev_loop *xev_shard_loop(xev_shard *s) {
    check_shard("xev_shard_loop", s);
    return &s->loop;
}

void xev_shard_count(xev_shard *s, xev_shard_counters *out) {
    xev__shard_check(s != NULL && out != NULL, "xev_shard_count", "shard or counters are null");
    xev_loop_metrics loop;
    xev_loop_metrics_get(&s->loop, &loop);
    *out = (xev_shard_counters){
        .accepted = ck_pr_load_64(&s->accepted),
        .messages_sent = ck_pr_load_64(&s->sent),
        .messages_received = ck_pr_load_64(&s->received),
        .messages_refused = ck_pr_load_64(&s->refused),
        .asks = ck_pr_load_64(&s->asked),
        .asks_waited = ck_pr_load_64(&s->asks_waited),
        .asks_timed_out = ck_pr_load_64(&s->asks_timed_out),
        .asks_cancelled = ck_pr_load_64(&s->asks_cancelled),
        .asks_now = ck_pr_load_32(&s->asks_now),
        .slow = ck_pr_load_64(&s->slow),
        .sleeps = loop.sleeps,
        .wakes = loop.wakes,
    };
}
