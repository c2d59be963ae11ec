/* Signals: the registry that the handler walks.
 *
 * The handler may interrupt any thread at any point, so it takes no lock. It walks a list whose
 * links are written one at a time under the registry's lock; who takes a watcher out waits until no
 * handler is running that may have seen it. Either the handler counts itself before that look, and
 * is waited for, or its walk begins after the unlinking (a full fence on both sides).
 *
 * For each watcher it calls xev_async_notify, which is safe there: it is lock-free (exchange, link,
 * eventfd write), and to the code it interrupted, a push into the same queue included, it is one
 * more producer. With all signals blocked meanwhile it is not itself interrupted by another. Nor
 * can the waits for it hang: in the waiting thread a handler runs from its beginning to its end.
 */
#include "xev/signal.h"

#include <ck_pr.h>
#include <errno.h>

#include "mpsc/visit.h"
#include "xev/core/core.h"
#include "xev/os/signal.h"
#include "xev/os/thread.h"

static xev_signal *watchers[XEV__SIGNALS + 1]; /* atomic; by number */
static uint32_t handlers;                      /* atomic: threads in the handler */

static void handler(int number) {
    int error = errno;
    xev__visit_begin(&handlers);
    for (xev_signal *s = ck_pr_load_ptr(&watchers[number]); s != NULL;
         s = ck_pr_load_ptr(&s->next)) {
        (void)xev_async_notify(&s->async);
    }
    xev__visit_end(&handlers);
    errno = error;
}

static void unlink_watcher(xev_signal *s) {
    xev_signal **link = &watchers[s->async.result];
    while (*link != s) {
        link = &(*link)->next;
    }
    ck_pr_store_ptr(link, s->next);
    xev__visits_wait(&handlers);
}

/* In a forked child, which has one thread: its watchers are dead, and catch nothing. */
static void forget_all(void) {
    xev__os_signals_forked();
    ck_pr_store_32(&handlers, 0);
    for (int number = 1; number <= XEV__SIGNALS; number++) {
        if (watchers[number] != NULL) {
            xev__os_signal_restore(number, handler);
        }
        for (; watchers[number] != NULL; watchers[number] = watchers[number]->next) {
            watchers[number]->watching = false;
        }
    }
}

int xev_signal_init(xev_signal *s, int signal_number) {
    if (s == NULL) {
        xev__misuse("xev_signal_init", "watcher is null", s);
    }
    (void)xev_async_init(&s->async);
    s->async.result = signal_number;
    s->watching = false;
    if (!xev__os_signal_valid(signal_number)) {
        return XEV_EINVAL;
    }
    if (xev__os_in_forked_child(forget_all) < 0) { /* before the lock is held for the first time */
        return XEV_ENOMEM;
    }
    xev__os_signals_lock();
    /* Into the list before the handler is there: what it catches finds somebody. */
    bool first = watchers[signal_number] == NULL;
    s->next = watchers[signal_number];
    ck_pr_fence_memory();
    ck_pr_store_ptr(&watchers[signal_number], s);
    int rc = first ? xev__os_signal_catch(signal_number, handler) : 0;
    s->watching = rc == 0;
    if (rc < 0) {
        unlink_watcher(s);
    }
    xev__os_signals_unlock();
    return rc;
}

void xev__signal_unwatch(xev_watcher *w) {
    xev_signal *s = (xev_signal *)(void *)w; /* its first member */
    xev__os_signals_lock();
    if (s->watching) {
        s->watching = false;
        if (watchers[w->result] == s && s->next == NULL) {
            /* Before it leaves the list: what the handler no longer catches is not lost. */
            xev__os_signal_restore(w->result, handler);
        }
        unlink_watcher(s);
    }
    xev__os_signals_unlock();
}

void xev_signal_deinit(xev_signal *s) {
    if (s == NULL) {
        xev__misuse("xev_signal_deinit", "watcher is null", s);
    }
    xev__signal_unwatch(&s->async);
    xev_async_deinit(&s->async);
}

void xev_signal_wait(xev_signal *s, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb) {
    if (s == NULL) {
        xev__misuse("xev_signal_wait", "watcher is null", s);
    }
    bool begun = xev__begin(XEV__CALL("xev_signal_wait"), loop, c, XEV__OP_ASYNC, userdata, cb);
    c->arg.async.watcher = &s->async;
    c->arg.async.at = NULL;
    if (!begun) {
        return;
    }
    if (!s->watching) {
        xev__async_due(c);
        xev__pend(loop, c, XEV_EINVAL);
        return;
    }
    xev__async_start(loop, c);
}
