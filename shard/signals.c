/* Signals that end a runtime, have its shards reload, or must not end the process; and the reload.
 *
 * They are caught by the handler of xev_signal (its registry, xev/core/support.h), so it does not
 * matter which thread they land on, and several runtimes and the program's own watchers share
 * them. For a stop the handler counts and wakes the coordinator. The coordinator's thread does not
 * block them: at least one thread can take them, even where the program started with all of them
 * blocked.
 *
 * SIGPIPE has a handler that does nothing, rather than SIG_IGN: what the program executes would
 * inherit that.
 */
#include <assert.h>
#include <ck_pr.h>
#include <stddef.h>
#include <stdlib.h>

#include "shard/internal.h"

#define ONCE_MS 100u

static struct xev__runtime *runtime_of(xev__catcher *c) {
    return ((struct xev__caught *)(void *)((char *)c - offsetof(struct xev__caught, catcher)))->rt;
}

/* These run in a signal handler, on any thread. */

/* One request often arrives as two signals: timeout(1) signals its child and then its process
 * group, and a program that passes Ctrl-C on to its child (npm, sudo) does so beside the terminal,
 * which has sent it to both. So what comes within ONCE_MS of a signal that was counted says nothing
 * new, and must not cut the drain short. Two handlers at one moment: one of them counts. */
static void on_stop(xev__catcher *c) {
    struct xev__runtime *rt = runtime_of(c);
    assert(rt != NULL && c->caught == on_stop);
    uint32_t now = (uint32_t)xev__now_ms() | 1; /* not 0 */
    uint32_t last = ck_pr_load_32(&rt->stop_signal_ms);
    if ((last != 0 && now - last < ONCE_MS) || !ck_pr_cas_32(&rt->stop_signal_ms, last, now)) {
        return;
    }
    ck_pr_inc_32(&rt->stop_signals);
    if (rt->alone && rt->options.stuck_ms != XEV__STUCK_NEVER &&
        ck_pr_load_32(&rt->stop_signals) > 2) {
        static const char text[] = "xev: shard 0: stuck; the third signal ends the process\n";
        xev__put_line(text, sizeof text - 1);
        abort(); /* there is no thread that would give it some time more */
    }
    xev__stops_add(rt);
}

/* A terminal that goes away sends SIGHUP, and so does its shell, and the system may send SIGTERM
 * when the session ends. None of them must cut the drain short that another one has started. */
static void on_hangup(xev__catcher *c) {
    struct xev__runtime *rt = runtime_of(c);
    if (ck_pr_cas_32(&rt->ends, 0, 1)) {
        xev__news(rt);
    }
}

static void on_reload_signal(xev__catcher *c) { xev__reload(runtime_of(c)); }

static void on_nothing(xev__catcher *c) { (void)c; }

static bool is_signal_wanted(const xev_runtime_options *o, int which) {
    return !o->no_signals && !(which == XEV__SIGHUP && o->no_sighup) &&
           !(which == XEV__SIGPIPE && o->no_sigpipe);
}

static int catch_one(struct xev__runtime *rt, int which) {
    static const struct {
        void (*caught)(xev__catcher *c);
        enum xev__catch_when when;
    } how[XEV__CAUGHT_SIGNALS] = {
        /* A shell without job control starts what runs in the background with SIGINT ignored, and
         * nohup starts a program with SIGHUP ignored. */
        [XEV__SIGINT] = {on_stop, XEV__CATCH_UNLESS_IGNORED},
        [XEV__SIGHUP] = {on_hangup, XEV__CATCH_UNLESS_IGNORED},
        [XEV__SIGTERM] = {on_stop, XEV__CATCH_ALWAYS},
        [XEV__SIGPIPE] = {on_nothing, XEV__CATCH_IF_DEFAULT},
    };
    struct xev__caught *c = &rt->caught[which];
    c->rt = rt;
    c->catcher.caught = how[which].caught;
    enum xev__catch_when when = how[which].when;
    if (which == XEV__SIGHUP && rt->options.hangup != NULL) {
        c->catcher.caught = on_reload_signal;
        when = XEV__CATCH_ALWAYS;
    }
    return xev__catch(&c->catcher, xev__signal_number(which), when);
}

int xev__signals_open(struct xev__runtime *rt) {
    uint32_t set = 0;
    for (int i = 0; i < XEV__CAUGHT_SIGNALS; i++) {
        if (!is_signal_wanted(&rt->options, i)) {
            continue;
        }
        int rc = catch_one(rt, i);
        if (rc == XEV_ENOTSUP) {
            continue; /* the system has none, or not this one */
        }
        if (rc < 0) {
            xev__signals_close(rt);
            return rc;
        }
        set |= i != XEV__SIGPIPE ? 1u << i : 0;
    }
    rt->was_blocked = xev__signals_unblock(set); /* a pending one is handled now */
    return 0;
}

void xev__signals_close(struct xev__runtime *rt) {
    /* Before the handlers go: a signal that the program had blocked must not end the process. */
    xev__signals_block(rt->was_blocked);
    for (int i = 0; i < XEV__CAUGHT_SIGNALS; i++) {
        xev__uncatch(&rt->caught[i].catcher);
    }
}

/* ---- reload: the hangup callback, on each shard ---- */

static xev_cb_action on_reload_wanted(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    xev_shard *s = userdata;
    (void)loop;
    (void)c;
    if (result < 0) {
        return XEV_DISARM;
    }
    if (s->serving && !s->draining) {
        xev__note_call(&s->loop, XEV__CODE(s->rt->options.hangup));
        s->rt->options.hangup(s, s->rt->options.userdata);
    }
    return XEV_REARM;
}

void xev__reloads_start(xev_shard *s) {
    if (s->rt->options.hangup != NULL) { /* the wait ends with the loop */
        xev_async_wait(&s->reload, &s->loop, &s->reload_wait, s, on_reload_wanted);
        xev_completion_unref(&s->reload_wait);
    }
}

void xev__reload(struct xev__runtime *rt) {
    for (uint32_t i = 0; i < rt->count && rt->options.hangup != NULL; i++) {
        (void)xev_async_notify(&rt->shards[i].reload);
    }
}
