/* The loop: set-up, one turn, run modes, teardown. A turn is drawn in ARCHITECTURE.md. */
#include "xev/loop.h"

#include <assert.h>
#include <ck_pr.h>
#include <stdio.h>
#include <string.h>

#include "mpsc/visit.h"
#include "xev/core/core.h"
#include "xev/core/support.h"
#include "xev/log.h"
#include "xev/os/clock.h"
#include "xev/os/probe.h"
#include "xev/os/thread.h"

static bool power_of_two(uint32_t v) { return v != 0 && (v & (v - 1)) == 0; }

static int fill_defaults(xev_loop_options *o) {
    o->entries = o->entries != 0 ? o->entries : 256;
    o->cq_entries = o->cq_entries != 0 ? o->cq_entries : 8 * o->entries;
    o->buffer_bytes = o->buffer_bytes != 0 ? o->buffer_bytes : 32 * 1024;
    o->buffers = o->buffers != 0 ? o->buffers : 256;
    o->buffers_max = o->buffers_max != 0 ? o->buffers_max : 2048;
    o->time_callbacks = o->time_callbacks || o->callback_times != NULL;
    if (o->buffers_max < o->buffers) {
        o->buffers_max = o->buffers;
    }
    const char *why = !power_of_two(o->entries) || o->entries > 4096
                          ? "entries is no power of two to 4096"
                      : !power_of_two(o->cq_entries) || o->cq_entries < o->entries
                          ? "cq_entries is no power of two, or below entries"
                      : o->buffer_bytes < 64 || o->buffer_bytes > 1024 * 1024
                          ? "buffer_bytes is below 64 or above 1 MiB"
                      : !power_of_two(o->buffers)     ? "buffers is no power of two"
                      : o->buffers_max > 32768        ? "buffers or buffers_max is above 32768"
                      : o->backend > XEV_BACKEND_LAST ? "backend is none that there is"
                      : (o->allocator.allocate == NULL) != (o->allocator.release == NULL)
                          ? "allocator has one function without the other"
                          : NULL;
    return why != NULL ? xev__refuse(why, NULL) : 0;
}

static void free_parts(xev_loop *loop) {
    xev__fds_free(loop->fds);
    xev__buffers_free(loop->buffers);
    xev__free(&loop->options.allocator, loop->inbox, sizeof *loop->inbox);
    xev__starts_free(loop);
    xev__actives_free(loop);
    loop->ops = NULL; /* says "not initialised" */
}

int xev_loop_init(xev_loop *loop) {
    xev__check_pointer("xev_loop_init", "loop is null", loop);
    return xev_loop_init_options(loop, NULL);
}

int xev_loop_init_options(xev_loop *loop, const xev_loop_options *options) {
    xev__check_pointer("xev_loop_init_options", "loop is null", loop);
    memset(loop, 0, sizeof *loop);
    if (options != NULL) {
        loop->options = *options;
    }
    int rc = fill_defaults(&loop->options);
    if (rc < 0) {
        return rc;
    }
    rc = xev__os_watch_forks();
    if (rc < 0) {
        return rc;
    }
    loop->forks = xev__os_forks;
    for (int i = 0; i < XEV_HOOK_TIMES; i++) {
        loop->hooks[i].next = loop->hooks[i].prev = &loop->hooks[i];
    }
    loop->now_ns = xev__os_now_ns();
    const xev_allocator *a = &loop->options.allocator;
    loop->fds = xev__fds_new(loop);
    loop->buffers = xev__buffers_new(loop, loop->options.buffer_bytes, loop->options.buffers_max);
    loop->inbox = xev__alloc(a, sizeof *loop->inbox, XEV_MPSC_CACHE_LINE);
    if (loop->fds == NULL || loop->buffers == NULL || loop->inbox == NULL ||
        xev__actives_init(loop) < 0) {
        free_parts(loop);
        return XEV_ENOMEM;
    }
    xev_mpsc_init(loop->inbox);
    xev__starts_init(loop);
    rc = xev__backend_choose(loop);
    if (rc < 0) {
        rc = rc == XEV_EINVAL ? xev__refuse("backend", loop->fallback) : rc;
        free_parts(loop);
    } else if (loop->fallback[0] != '\0') {
        static xev_log_kind kind = {.name = "backend", .level = XEV_LOG_INFO};
        xev_log_write(&kind, "xev: a loop is on %s; %s", loop->ops->name, loop->fallback);
    }
    return rc;
}

/* ---- polls that fail ---- */

#define LOOK_AGAIN_NS 100000000u   /* the longest sleep once the system has refused a wake */
#define FAILING_MAX_NS 1000000000u /* how long a shortage may last */
#define FAILING_MIN_TRIES 10u      /* polls before that, however slow the machine is */
#define NAP_MAX_MS 64u
#define INTERRUPTS_IN_A_ROW 16u /* so many are not signals that come by chance */

/* Whether code names a shortage of memory, which may pass. */
static bool is_shortage(int code) {
    return code == XEV_ENOMEM || code == XEV_ENOBUFS || code == XEV_EAGAIN || code == XEV_EBUSY;
}

static uint32_t nap_ms(const xev_loop *loop, int code) {
    uint32_t first = code == XEV_EINTR ? INTERRUPTS_IN_A_ROW : 1;
    if (loop->failing_tries <= first) {
        return 0;
    }
    uint32_t doubled = loop->failing_tries - first - 1;
    return doubled < 6 ? 1u << doubled : NAP_MAX_MS;
}

/* The backend's poll has failed with rc; timeout_ns is its time limit. Returns 0 if the next turn
 * is to poll again, else the code with which the run ends. */
static int poll_failed(xev_loop *loop, int rc, uint64_t timeout_ns) {
    assert(rc < 0 && loop->failed_call != NULL);
    if (!is_shortage(rc) && rc != XEV_EINTR) {
        return rc;
    }
    uint64_t now = xev__os_now_ns();
    if (loop->failing_tries++ == 0) {
        loop->failing_since_ns = now;
    }
    if (rc != XEV_EINTR && loop->failing_tries > FAILING_MIN_TRIES &&
        now - loop->failing_since_ns >= FAILING_MAX_NS) {
        loop->failing_tries = 0;
        return rc;
    }
    if (rc != XEV_EINTR) {
        static xev_log_kind kind = {.name = "poll", .level = XEV_LOG_WARN};
        xev_log_write(&kind, "xev: %s: %s; it is repeated", loop->failed_call, xev_strerror(rc));
    }
    uint32_t ms = nap_ms(loop, rc);
    assert(ms <= NAP_MAX_MS);
    uint64_t limit_ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    if (timeout_ns > 0 && ms > 0) { /* the inbox is parked, so a wake ends the nap */
        loop->ops->nap(loop, ms < limit_ms ? ms : (uint32_t)limit_ms);
    }
    return 0;
}

static int poll_backend(xev_loop *loop, uint64_t timeout_ns) {
    uint64_t events = loop->count.events;
    loop->failed_call = NULL;
    int rc = loop->ops->poll(loop, timeout_ns);
    if (rc == 0 || loop->count.events != events) {
        loop->failing_tries = 0;
    }
    return rc < 0 ? poll_failed(loop, rc, timeout_ns) : rc;
}

/* ---- one turn ---- */

static uint64_t until_next_timer(xev_loop *loop, uint64_t now_ns) {
    const xev_completion *first = xev__timers_first(&loop->timers);
    if (first == NULL) {
        return UINT64_MAX;
    }
    return first->deadline_ns > now_ns ? first->deadline_ns - now_ns : 0;
}

static void own_loop_thread(xev_loop *loop) {
    uint64_t me = xev__os_thread_id();
    if (loop->thread != me) {
        loop->thread = me;
        loop->thread_number = xev__os_thread_number();
        xev__loops_set_thread(loop);
    }
}

static _Noreturn void foreign_thread(const char *call, const xev_loop *loop) {
    char what[192], owner[48], caller[48];
    xev__os_thread_text(loop->thread_number, owner, sizeof owner);
    xev__os_thread_text(xev__os_thread_number(), caller, sizeof caller);
    snprintf(what, sizeof what, "the loop belongs to another thread: called on %s, of %s", caller,
             owner);
    xev__misuse(call, what, loop);
}

#if !defined(NDEBUG)
void xev__check_other_thread(const char *call, const xev_loop *loop) {
    if (xev__forked(loop)) {
        return; /* the call reports it, or serves the child to get rid of the loop */
    }
    /* A join may return a moment before the kernel has forgotten the thread. */
    for (int tries = 0; !xev__os_thread_has_ended(loop->thread_number); tries++) {
        if (tries == 20) {
            foreign_thread(call, loop);
        }
        xev__os_sleep_ms(5);
    }
}
#endif

/* The calling thread becomes the loop's thread, unless the loop has another one. */
static void check_thread(const char *call, xev_loop *loop) {
    if (loop->thread != 0 && loop->thread != xev__os_thread_id()) {
        foreign_thread(call, loop);
    }
    own_loop_thread(loop);
}

static bool loop_stop_wanted(xev_loop *loop) { return ck_pr_load_32(&loop->stop) != 0; }

/* Look for work for a while, without sleeping. True: the backend was polled and found some, or
 * failed with *rc. */
static bool spin_for_work(xev_loop *loop, uint64_t timeout_ns, int *rc) {
    uint64_t now = xev__os_now_ns();
    uint64_t limit = timeout_ns < loop->options.spin_ns ? timeout_ns : loop->options.spin_ns;
    uint64_t end = now + limit;
    uint64_t callbacks = loop->count.callbacks;
    for (; now < end; now = xev__os_now_ns()) {
        if (!xev_mpsc_empty(loop->inbox) || loop_stop_wanted(loop)) {
            return false; /* the turn polls as well, since a busy inbox must not keep I/O waiting */
        }
        if (loop->ops->peek == NULL || loop->ops->peek(loop)) {
            *rc = poll_backend(loop, 0);
            if (*rc < 0 || loop->count.callbacks != callbacks || loop->pending.head != NULL) {
                return true;
            }
        }
        ck_pr_stall();
    }
    return false;
}

/* A turn has taken so long. */
static void count_turn(xev_loop *loop, uint64_t took_ns) {
    XEV__PROBE2(turn__end, loop, took_ns);
    xev__count_longest(&loop->count.longest_turn_ns, took_ns);
    if (loop->options.turn_times != NULL) {
        xev_histogram_record(loop->options.turn_times, took_ns);
    }
}

void xev__woke(xev_loop *loop) {
    loop->now_ns = xev__os_now_ns();
    uint64_t worked_until_ns = loop->now_ns;
    if (loop->sleeping_since_ns != 0) {
        xev__count(&loop->count.asleep_ns, loop->now_ns - loop->sleeping_since_ns);
        worked_until_ns = loop->sleeping_since_ns;
        ck_pr_store_64(&loop->sleeping_since_ns, 0);
        loop->awake_since_ns = loop->now_ns;
    }
    if (loop->looked_ns != 0) {
        count_turn(loop, worked_until_ns - loop->looked_ns);
    }
    loop->looked_ns = loop->now_ns;
    XEV__PROBE1(turn__begin, loop);
}

static void call_each_hook(xev_loop *loop, xev_hook_when when) {
    const xev_hook *end = &loop->hooks[when];
    for (xev_hook *h = end->next; h != end; h = loop->next_hook) {
        loop->next_hook = h->next;
        xev__note_call(loop, XEV__CODE(h->callback));
        h->callback(loop, h);
        xev__check_fork(loop);
    }
}

static inline void call_hooks(xev_loop *loop, xev_hook_when when) {
    if (loop->hooks[when].next != &loop->hooks[when]) {
        call_each_hook(loop, when);
    }
}

/* Whether a timer may be due, when the poll's callbacks have returned. The time is that at which
 * the poll's wait ended: most turns need not read the clock again. A later timer that comes due
 * while they run is found by the next turn, which does not wait then. */
#define NEAR_NS 1000000u
static bool timer_is_near(xev_loop *loop) {
    const xev_completion *first = xev__timers_first(&loop->timers);
    return first != NULL && first->deadline_ns <= xev__deadline(loop->now_ns, NEAR_NS);
}

/* What a turn does behind its poll and the inbox. */
static void run_due(xev_loop *loop) {
    loop->now_ns = xev__os_now_ns();
    xev__run_timers(loop);
    xev__deliver_pending(loop);
    if (loop->tries.head != NULL) {
        xev__run_tries(loop);
    }
}

static int run_turn(xev_loop *loop, bool block) {
    xev__count(&loop->count.turns, 1);
    if (loop->actives_used > loop->actives_peak) {
        loop->actives_peak = loop->actives_used;
    }
    call_hooks(loop, XEV_HOOK_BEFORE_POLL);
    call_hooks(loop, XEV_HOOK_FLUSH);
    xev__note_call(loop, XEV__CODE(xev_loop_run)); /* no callback, until the poll delivers one */
    xev__hand_over(loop);
    int rc = 0;
    uint64_t looked_ns = loop->looked_ns;
    bool polled = false, parked = false;
    /* A hook may have ended, or unreferenced, the last operation that the run is for. */
    block = block && loop->referenced > 0;
    bool hurry = xev__fds_feed(loop) || loop->pending.head != NULL || loop->tries.head != NULL;
    uint64_t timeout = 0, now = 0;
    if (block && !hurry) {
        now = xev__os_now_ns();
        timeout = until_next_timer(loop, now);
    }
    if (timeout > 0 && loop->options.spin_ns > 0) {
        polled = spin_for_work(loop, timeout, &rc);
        now = xev__os_now_ns();
        timeout = until_next_timer(loop, now);
    }
    if (!polled) {
        if (timeout > 0) {
            parked = xev_mpsc_park(loop->inbox);
            if (!parked || loop_stop_wanted(loop)) {
                timeout = 0;
            } else if (timeout > LOOK_AGAIN_NS && xev__wakes_refused()) {
                timeout = LOOK_AGAIN_NS; /* the next wake may be refused, too */
            }
        }
        if (timeout > 0) {
            xev__count(&loop->count.sleeps, 1);
            ck_pr_store_64(&loop->sleeping_since_ns, now);
            xev__count(&loop->count.awake_ns, now - loop->awake_since_ns);
        }
        rc = poll_backend(loop, timeout);
        if (parked) {
            xev_mpsc_unpark(loop->inbox);
        }
    }
    xev__drain_inbox(loop);
    bool blind = loop->looked_ns == looked_ns; /* the poll has failed, and read no clock */
    if (blind || timer_is_near(loop) || loop->pending.head != NULL || loop->tries.head != NULL) {
        run_due(loop);
    }
    call_hooks(loop, XEV_HOOK_AFTER_POLL);
    if (loop->actives_used < loop->actives_low) {
        xev__trim_soon(loop, &loop->actives_trimmer);
    }
    if (loop->buffers->free_len >= loop->buffers->trim_at) {
        xev__buffers_trim_soon(loop);
    }
    return rc;
}

/* A host that embeds the loop has ended its wait. */
static void end_host_wait(xev_loop *loop) {
    if (loop->waited_for) {
        loop->waited_for = false;
        xev_mpsc_unpark(loop->inbox);
    }
}

uint64_t xev_loop_prepare_wait_ns(xev_loop *loop) {
    xev__check_loop("xev_loop_prepare_wait_ns", loop);
    if (loop->running || loop->deinit) {
        xev__misuse("xev_loop_prepare_wait_ns", "the loop is running or being deinitialised", loop);
    }
    end_host_wait(loop);
    if (xev__forked(loop)) {
        return 0; /* xev_loop_run will report it */
    }
    check_thread("xev_loop_prepare_wait_ns", loop);
    loop->hosted = true;
    loop->running = true; /* a hook must not run the loop */
    call_hooks(loop, XEV_HOOK_FLUSH);
    xev__hand_over(loop);
    loop->running = false;
    bool hurry = xev__fds_feed(loop) || loop->pending.head != NULL || loop->tries.head != NULL ||
                 loop->ops->prepare(loop);
    uint64_t timeout = hurry ? 0 : until_next_timer(loop, xev__os_now_ns());
    if (timeout > 0) {
        loop->waited_for = xev_mpsc_park(loop->inbox);
        timeout = loop->waited_for && !loop_stop_wanted(loop) ? timeout : 0;
    }
    if (timeout > 0) {
        xev__count(&loop->count.sleeps, 1);
    }
    return timeout;
}

xev_fd xev_loop_backend_fd(xev_loop *loop) {
    xev__check_loop("xev_loop_backend_fd", loop);
    if (xev__forked(loop)) {
        return XEV_EFORKED;
    }
    check_thread("xev_loop_backend_fd", loop);
    return loop->ops->descriptor(loop);
}

int xev_loop_run(xev_loop *loop, xev_run_mode_t mode) {
    xev__check_loop("xev_loop_run", loop);
    if ((unsigned)mode > XEV_RUN_UNTIL_DONE) {
        return XEV_EINVAL;
    }
    if (xev__forked(loop)) { /* first: in a child made by a callback the run seems to go on */
        return XEV_EFORKED;
    }
    if (loop->running || loop->deinit) {
        xev__check_thread("xev_loop_run", loop);
        return XEV_EBUSY;
    }
    check_thread("xev_loop_run", loop);
    end_host_wait(loop);
    int rc = 0;
    uint64_t callbacks = loop->count.callbacks;
    loop->running = true;
    loop->failed_call = NULL;
    loop->now_ns = loop->awake_since_ns = loop->looked_ns = xev__os_now_ns();
    if (loop->write_signals_thread != 0) {
        xev__block_write_signals(loop);
    }
    /* A hosted loop takes in every event, even without active operations. Else the event that woke
     * the host would wake it again. */
    bool looks = mode == XEV_RUN_NO_WAIT && (loop->active > 0 || loop->hosted);
    while (!loop_stop_wanted(loop) && (loop->referenced > 0 || looks)) {
        rc = run_turn(loop, mode != XEV_RUN_NO_WAIT);
        if (rc != 0 || mode == XEV_RUN_NO_WAIT ||
            (mode == XEV_RUN_ONCE && loop->count.callbacks != callbacks)) {
            break;
        }
    }
    xev__settle(loop, NULL);
    if (rc == 0) {
        loop->failed_call = NULL; /* a failed poll that was repeated is no failure of the run */
    }
    xev__hand_over(loop);
    ck_pr_store_32(&loop->stop, 0); /* it was for this run, whatever ended it */
    loop->running = false;
    uint64_t now = xev__os_now_ns();
    count_turn(loop, now - loop->looked_ns);
    xev__count(&loop->count.awake_ns, now - loop->awake_since_ns);
    loop->looked_ns = 0;
    return rc;
}

const char *xev_loop_failed_call(const xev_loop *loop) {
    xev__check_loop("xev_loop_failed_call", loop);
    return loop->failed_call;
}

uint32_t xev__signals_refused;

bool xev__wakes_refused(void) { return ck_pr_load_32(&xev__signals_refused) != 0; }

void xev__signal(xev_loop *loop) {
    if (!xev__forked(loop)) { /* else the wake descriptor is the parent's */
        ck_pr_inc_64(&loop->wakes);
        if (loop->ops->wake(loop) < 0) {
            xev_mpsc_not_woken(loop->inbox);
            if (ck_pr_fas_32(&xev__signals_refused, 1) == 0) {
                static xev_log_kind kind = {.name = "wake", .level = XEV_LOG_WARN};
                xev_log_write(&kind, "xev: the system has refused to wake a loop; loops look "
                                     "for work more often from now on");
            }
        }
    }
}

void xev_loop_stop(xev_loop *loop) {
    xev__check_loop("xev_loop_stop", loop);
    /* The run may end and deinit the loop while this call still uses it. Deinit waits until the
     * count is zero. */
    xev__visit_begin(&loop->notifiers);
    ck_pr_store_32(&loop->stop, 1);
    if (xev_mpsc_wake(loop->inbox)) {
        xev__signal(loop);
    }
    xev__visit_end(&loop->notifiers);
}

void xev__watchers_unbind(xev_loop *loop) {
    for (int op = 0; op < XEV__OP_COUNT; op++) {
        if (xev__kinds[op].loop_gone != NULL) {
            xev__kinds[op].loop_gone(loop);
        }
    }
}

void xev__block_write_signals(xev_loop *loop) {
    uint64_t me = xev__os_thread_id();
    if (loop->write_signals_thread != me) {
        xev__os_block_write_signals();
        loop->write_signals_thread = me;
    }
}

void xev__hold(xev_loop *loop) { loop->referenced++; }

void xev__unhold(xev_loop *loop) {
    assert(loop->referenced > 0);
    loop->referenced--;
}

/* ---- teardown ---- */

static void stop_one(const xev_loop *loop, xev_completion *c, void *arg) {
    assert(loop == arg);
    (void)loop;
    (void)xev__stop(arg, c);
}

static void stop_everything(xev_loop *loop) {
    for (xev_completion *c; (c = xev__timers_first(&loop->timers)) != NULL;) {
        if (c->op == XEV__OP_TIMER || c->state == XEV__LINGERING) {
            (void)xev__stop(loop, c);
            continue;
        }
        xev_completion_set_timeout(loop, c, 0); /* leaves the heap, and is found below */
    }
    for (xev_completion *c = loop->works, *next; c != NULL; c = next) {
        next = c->heap.next;
        (void)xev__stop(loop, c);
    }
    while (loop->to_pool.head != NULL) {
        (void)xev__stop(loop, loop->to_pool.head);
    }
    while (loop->tries.head != NULL) {
        (void)xev__stop(loop, loop->tries.head);
    }
    for (int op = 0; op < XEV__OP_COUNT; op++) {
        if (xev__kinds[op].each != NULL) {
            xev__kinds[op].each(loop, stop_one, loop);
        }
    }
    for (uint32_t i = 0; i < xev__chunks_end(&loop->fds->entries); i++) {
        struct xev__fd *e = xev__fds_known(loop->fds, i);
        for (int d = 0; e != NULL && d < XEV__DIRS; d++) {
            /* From the tail on: stopping the head first would start the next operation. */
            xev_completion *c = e->head[d] != NULL ? e->head[d]->at.link.prev : NULL;
            for (xev_completion *prev; c != NULL; c = prev) {
                prev = c != e->head[d] ? c->at.link.prev : NULL;
                (void)xev__stop(loop, c);
            }
        }
    }
}

void xev_loop_deinit(xev_loop *loop) {
    xev__check_loop("xev_loop_deinit", loop);
    if ((loop->running && !xev__forked(loop)) || loop->deinit) {
        xev__misuse("xev_loop_deinit", "the loop is running or being deinitialised", loop);
    }
    xev__check_thread("xev_loop_deinit", loop);
    loop->deinit = true;
    own_loop_thread(loop); /* for the callbacks from here on */
    if (xev__forked(loop)) {
        xev__forget_everything(loop);
        loop->ops->deinit(loop);
        free_parts(loop);
        return;
    }
    end_host_wait(loop);
    xev__settle(loop, NULL); /* a host has prepared a wait, and has not run the loop since */
    stop_everything(loop);
    while (loop->active > 0) {
        if (loop->ops->abandon != NULL) {
            loop->ops->abandon(loop);
        }
        /* No callback is running: a long wait here is a wait for the pool. */
        xev__note_call(loop, XEV__CODE(xev_loop_deinit));
        bool parked = loop->pending.head == NULL && xev_mpsc_park(loop->inbox);
        /* The time limit is for a failing kernel, which may never report an event. */
        int rc = poll_backend(loop, parked ? 10 * 1000 * 1000 : 0);
        if (rc < 0 && loop->ops->give_up != NULL) {
            loop->ops->give_up(loop);
        }
        if (rc < 0 && parked) {
            loop->ops->nap(loop, 10); /* work on the pool may be left */
        }
        if (parked) {
            xev_mpsc_unpark(loop->inbox);
        }
        xev__drain_inbox(loop);
        xev__deliver_pending(loop);
    }
    xev__watchers_unbind(loop);
    xev__visits_wait(&loop->notifiers);
    loop->ops->deinit(loop);
    free_parts(loop);
}

/* ---- the rest of loop.h ---- */

int64_t xev_loop_now(xev_loop *loop) {
    xev__check_own_loop("xev_loop_now", loop);
    return (int64_t)(loop->now_ns / 1000000);
}

uint64_t xev_loop_now_ns(xev_loop *loop) {
    xev__check_own_loop("xev_loop_now_ns", loop);
    return loop->now_ns;
}

void xev_loop_update_now(xev_loop *loop) {
    xev__check_own_loop("xev_loop_update_now", loop);
    loop->now_ns = xev__os_now_ns();
}

void xev_loop_metrics_get(const xev_loop *loop, xev_loop_metrics *out) {
    if (loop == NULL || out == NULL) {
        xev__misuse("xev_loop_metrics_get", "loop or room for the metrics is null", loop);
    }
    *out = (xev_loop_metrics){
        .turns = ck_pr_load_64(&loop->count.turns),
        .callbacks = ck_pr_load_64(&loop->count.callbacks),
        .events = ck_pr_load_64(&loop->count.events),
        .syscalls = ck_pr_load_64(&loop->count.syscalls),
        .sleeps = ck_pr_load_64(&loop->count.sleeps),
        .wakes = ck_pr_load_64(&loop->wakes),
        .buffers_taken = ck_pr_load_64(&loop->count.buffers_taken),
        .starved = ck_pr_load_64(&loop->count.starved),
        .paused = ck_pr_load_64(&loop->count.paused),
        .asleep_ns = ck_pr_load_64(&loop->count.asleep_ns),
        .awake_ns = ck_pr_load_64(&loop->count.awake_ns),
        .longest_turn_ns = ck_pr_load_64(&loop->count.longest_turn_ns),
        .longest_callback_ns = ck_pr_load_64(&loop->count.longest_callback_ns),
    };
    for (int i = 0; i < XEV_OPS; i++) {
        out->ops[i].name = xev__op_name(i);
        out->ops[i].count = ck_pr_load_64(&loop->count.ops[i]);
        out->submissions += out->ops[i].count;
    }
}

bool xev_loop_alive(const xev_loop *loop) {
    xev__check_own_loop("xev_loop_alive", loop);
    return loop->referenced > 0;
}

uint32_t xev_loop_active(const xev_loop *loop) {
    xev__check_own_loop("xev_loop_active", loop);
    return loop->active - loop->internal;
}

const char *xev_loop_backend(const xev_loop *loop) {
    xev__check_loop("xev_loop_backend", loop);
    return loop->ops->name;
}

uint32_t xev_loop_features(const xev_loop *loop) {
    xev__check_loop("xev_loop_features", loop);
    return loop->ops->features(loop);
}

const char *xev_loop_fallback_reason(const xev_loop *loop) {
    xev__check_loop("xev_loop_fallback_reason", loop);
    return loop->fallback[0] != '\0' ? loop->fallback : NULL;
}

xev_threadpool *xev_loop_thread_pool(const xev_loop *loop) {
    xev__check_loop("xev_loop_thread_pool", loop);
    return loop->options.thread_pool;
}

static bool is_added(const xev_loop *loop, const xev_hook *hook) {
    for (int when = XEV_HOOK_BEFORE_POLL; when < XEV_HOOK_TIMES; when++) {
        const xev_hook *end = &loop->hooks[when];
        for (const xev_hook *h = end->next; h != end; h = h->next) {
            if (h == hook) {
                return true;
            }
        }
    }
    return false;
}

void xev_loop_hook_add(xev_loop *loop, xev_hook_when when, xev_hook *hook) {
    xev__check_own_loop("xev_loop_hook_add", loop);
    if ((unsigned)when >= XEV_HOOK_TIMES) {
        xev__misuse("xev_loop_hook_add", "no such time", hook);
    }
    if (hook == NULL || hook->callback == NULL || is_added(loop, hook)) {
        xev__misuse("xev_loop_hook_add", "hook or its callback is null, or it is added", hook);
    }
    xev_hook *head = &loop->hooks[when];
    xev_hook *next = when == XEV_HOOK_FLUSH ? head->next : head; /* first; other hooks last */
    hook->next = next;
    hook->prev = next->prev;
    hook->prev->next = hook;
    next->prev = hook;
}

void xev_loop_hook_remove(xev_loop *loop, xev_hook *hook) {
    xev__check_own_loop("xev_loop_hook_remove", loop);
    if (hook == NULL || !is_added(loop, hook)) {
        xev__misuse("xev_loop_hook_remove", "hook is null or not added", hook);
    }
    if (loop->next_hook == hook) {
        loop->next_hook = hook->next;
    }
    hook->prev->next = hook->next;
    hook->next->prev = hook->prev;
}
