/* Signals that end a runtime.
 *
 * They are caught by the handler of xev_signal (its registry, xev/core/support.h), so it does not
 * matter which thread they land on, and several runtimes and the program's own watchers share
 * them. The handler counts a stop and wakes the coordinator. The coordinator's thread does not
 * block them: at least one thread can take them, even where the program started with all of them
 * blocked.
 */
#include <assert.h>
#include <stddef.h>

#include "shard/internal.h"

/* In a signal handler, on any thread. */
static void on_stop_signal(xev__catcher *c) {
    struct xev__stop_signal *s =
        (struct xev__stop_signal *)(void *)((char *)c - offsetof(struct xev__stop_signal, catcher));
    xev__stops_add(s->rt);
}

int xev__signals_open(struct xev__runtime *rt) {
    static const enum xev__catch_when when[XEV__STOP_SIGNALS] = {
        /* A shell without job control ignores it in what runs in the background. */
        [XEV__SIGINT] = XEV__CATCH_UNLESS_IGNORED,
        [XEV__SIGTERM] = XEV__CATCH_ALWAYS,
    };
    assert(!rt->signals_open && rt->wake >= 0);
    rt->signals_open = true;
    for (int i = 0; i < XEV__STOP_SIGNALS; i++) {
        struct xev__stop_signal *s = &rt->stop_signals[i];
        s->rt = rt;
        s->catcher.caught = on_stop_signal;
        int rc = xev__catch(&s->catcher, xev__signal_number(i), when[i]);
        if (rc < 0) {
            xev__signals_close(rt);
            return rc;
        }
    }
    xev__mask_open(&rt->mask); /* one that was pending comes now */
    rt->mask_open = true;
    return 0;
}

void xev__signals_close(struct xev__runtime *rt) {
    if (!rt->signals_open) {
        return;
    }
    if (rt->mask_open) {
        xev__mask_restore(&rt->mask); /* first: what the program blocked does not end it now */
    }
    for (int i = 0; i < XEV__STOP_SIGNALS; i++) {
        xev__uncatch(&rt->stop_signals[i].catcher);
    }
    rt->signals_open = rt->mask_open = false;
}
