/* Signals: the registry that the handler walks, and the watchers.
 *
 * The handler may interrupt any thread at any point, so it takes no lock. It walks a list of
 * catchers whose links are written one at a time under the registry's lock; whoever takes a catcher
 * out waits until no handler is running that may have seen it. Either the handler counts itself
 * before that look, and is waited for, or its walk begins after the unlinking (a full fence on both
 * sides).
 *
 * For a watcher the handler calls xev_async_notify, which is safe there: it is lock-free (exchange,
 * link, eventfd write), and to the code it interrupted, a push into the same queue included, it is
 * one more producer. With all signals blocked meanwhile it is not itself interrupted by another.
 * Nor can the waits for it hang: in the waiting thread a handler runs from its beginning to its
 * end.
 */
#include "xev/signal.h"

#include <assert.h>
#include <ck_pr.h>
#include <errno.h>
#include <stddef.h>

#include "mpsc/handoff.h"
#include "mpsc/visit.h"
#include "xev/core/support.h"
#include "xev/os/signal.h"
#include "xev/os/thread.h"
#include "xev/watchers/watchers.h"

static xev__catcher *catchers[XEV__SIGNALS + 1]; /* atomic; by number */
static uint32_t handlers;                        /* atomic: threads in the handler */

static void handler(int number) {
    int error = errno;
    xev__visit_begin(&handlers);
    for (xev__catcher *c = ck_pr_load_ptr(&catchers[number]); c != NULL;
         c = ck_pr_load_ptr(&c->next)) {
        XEV_HANDOFF_ACQUIRE(c);
        c->caught(c);
    }
    xev__visit_end(&handlers);
    errno = error;
}

static void unlink_catcher(xev__catcher *c) {
    xev__catcher **link = &catchers[c->number];
    while (*link != c) {
        link = &(*link)->next;
    }
    ck_pr_store_ptr(link, c->next);
    xev__visits_wait(&handlers);
}

/* In a forked child, which has one thread: its catchers are dead, and catch nothing. */
static void forget_all(void) {
    xev__os_signals_forked();
    ck_pr_store_32(&handlers, 0);
    for (int number = 1; number <= XEV__SIGNALS; number++) {
        if (catchers[number] != NULL) {
            xev__os_signal_restore(number, handler);
        }
        for (; catchers[number] != NULL; catchers[number] = catchers[number]->next) {
            catchers[number]->catching = false;
        }
    }
}

static bool leaves_alone(int number, enum xev__catch_when when) {
    enum xev__disposition now = xev__os_signal_disposition(number);
    return (when == XEV__CATCH_UNLESS_IGNORED && now == XEV__IGNORED) ||
           (when == XEV__CATCH_IF_DEFAULT && now != XEV__DEFAULT);
}

int xev__catch(xev__catcher *c, int signal_number, enum xev__catch_when when) {
    assert(c->caught != NULL);
    c->number = signal_number;
    c->catching = false;
    int rc = xev__os_signal_check(signal_number);
    if (rc < 0) {
        return rc;
    }
    if (xev__os_in_forked_child(forget_all) < 0) { /* before the lock is held for the first time */
        return XEV_ENOMEM;
    }
    xev__os_signals_lock();
    bool first = catchers[signal_number] == NULL;
    if (first && leaves_alone(signal_number, when)) {
        xev__os_signals_unlock();
        return 0;
    }
    /* Into the list before the handler is there: what it catches finds somebody. */
    c->next = catchers[signal_number];
    XEV_HANDOFF_RELEASE(c);
    ck_pr_fence_memory();
    ck_pr_store_ptr(&catchers[signal_number], c);
    rc = first ? xev__os_signal_catch(signal_number, handler) : 0;
    c->catching = rc == 0;
    if (rc < 0) {
        unlink_catcher(c);
    }
    xev__os_signals_unlock();
    return rc;
}

void xev__uncatch(xev__catcher *c) {
    xev__os_signals_lock();
    if (c->catching) {
        assert(catchers[c->number] != NULL);
        c->catching = false;
        if (catchers[c->number] == c && c->next == NULL) {
            /* Before it leaves the list: what the handler no longer catches is not lost. */
            xev__os_signal_restore(c->number, handler);
        }
        unlink_catcher(c);
    }
    xev__os_signals_unlock();
}

/* ---- watchers ---- */

static void notify(xev__catcher *c) {
    xev_signal *s = (xev_signal *)(void *)((char *)c - offsetof(xev_signal, catcher));
    (void)xev_async_notify(&s->async);
}

int xev_signal_init(xev_signal *s, int signal_number) {
    if (s == NULL) {
        xev__misuse("xev_signal_init", "watcher is null", s);
    }
    (void)xev_async_init(&s->async);
    s->async.result = signal_number;
    s->catcher.caught = notify;
    return xev__catch(&s->catcher, signal_number, XEV__CATCH_ALWAYS);
}

void xev__signal_unwatch(xev_watcher *w) {
    xev_signal *s = (xev_signal *)(void *)w; /* its first member */
    xev__uncatch(&s->catcher);
}

void xev_signal_deinit(xev_signal *s) {
    if (s == NULL) {
        xev__misuse("xev_signal_deinit", "watcher is null", s);
    }
    xev__async_check_thread("xev_signal_deinit", &s->async);
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
    if (!s->catcher.catching) {
        xev__async_due(c);
        xev__pend(loop, c, XEV_EINVAL);
        return;
    }
    xev__async_start(loop, c);
}
