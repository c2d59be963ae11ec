/* Async watchers: one thread makes another thread's loop run a callback.
 *
 * Model. w->word is the address of the loop that w is bound to, or NULL. Its bit 0 says that w is
 * notified: the first notify sets the bit, and the loop clears it when it takes w out of its inbox.
 * The thread that sets the bit pushes w into the inbox, so w is never in there twice.
 *
 * A notify that finds the bit set returns at once. Before it looks at the bit it makes a full
 * fence. The loop makes the same fence after it has cleared the bit, and then runs the callback.
 * One of the two fences comes first. If it is the notify's, the callback sees what the notifying
 * thread wrote before. If it is the loop's, the notify finds the bit clear and pushes w again.
 *
 * Threads. w->notifiers counts the threads that are inside a notify and may touch the loop. The end
 * of the loop unbinds w and waits until the count is 0. So a notify never touches a loop that is
 * gone, even where its own wake let the loop end.
 */
#include "xev/async.h"

#include <assert.h>
#include <ck_pr.h>

#include "mpsc/handoff.h"
#include "mpsc/visit.h"
#include "xev/watchers/watchers.h"

static xev_loop *bound_loop(void *word) { return (xev_loop *)((uintptr_t)word & ~(uintptr_t)1); }
static bool is_notified(void *word) { return ((uintptr_t)word & 1) != 0; }

static void on_arrival(xev_loop *loop, struct xev__inbox_item *item);

int xev_async_init(xev_watcher *w) {
    if (w == NULL) {
        xev__misuse("xev_async_init", "watcher is null", w);
    }
    *w = (xev_watcher){0};
    w->inbox.arrived = (uintptr_t)on_arrival;
    return 0;
}

/* A notified watcher is in the loop's inbox already. The loop may sleep all the same, because the
 * system refused the signal that was to wake it. */
static void wake_once_more(xev_loop *loop) {
    if (loop != NULL && xev_mpsc_wake(loop->inbox)) {
        xev__signal(loop);
    }
}

int xev_async_notify(xev_watcher *w) {
    if (w == NULL) {
        xev__misuse("xev_async_notify", "watcher is null", w);
    }
    XEV_HANDOFF_RELEASE(w);
    ck_pr_fence_memory();
    if (is_notified(ck_pr_load_ptr(&w->word)) && ck_pr_load_32(&xev__signals_refused) == 0) {
        return 0;
    }
    xev__visit_begin(&w->notifiers);
    void *word = ck_pr_load_ptr(&w->word);
    if (is_notified(word)) {
        wake_once_more(bound_loop(word));
    }
    while (!is_notified(word)) {
        if (ck_pr_cas_ptr_value(&w->word, word, (char *)word + 1, &word)) {
            xev_loop *loop = bound_loop(word);
            XEV_HANDOFF_ACQUIRE(&w->word);
            if (loop != NULL && xev_mpsc_push(loop->inbox, &w->inbox.node)) {
                xev__signal(loop);
            }
            break;
        }
    }
    xev__visit_end(&w->notifiers);
    return 0;
}

/* c's callback is due, and needs its watcher again if it answers XEV_REARM. The watcher has a list
 * of such completions, so that its deinit finds them without a walk through the loop's list. */
void xev__async_due(xev_completion *c) {
    xev_watcher *w = c->arg.async.watcher;
    assert(w != NULL && c->op == XEV__OP_ASYNC);
    assert(c->arg.async.at == NULL && w->waiter != c);
    c->arg.async.next = w->due;
    c->arg.async.at = &w->due;
    if (w->due != NULL) {
        w->due->arg.async.at = &c->arg.async.next;
    }
    w->due = c;
}

static void unlink_due(xev_completion *c) {
    assert(c->op == XEV__OP_ASYNC && c->arg.async.at != NULL && *c->arg.async.at == c);
    *c->arg.async.at = c->arg.async.next;
    if (c->arg.async.next != NULL) {
        c->arg.async.next->arg.async.at = c->arg.async.at;
    }
    c->arg.async.at = NULL;
}

void xev__async_ended(xev_loop *loop, xev_completion *c) {
    (void)loop;
    assert(c->op == XEV__OP_ASYNC);
    if (c->arg.async.at != NULL) { /* else the watcher is gone, or the loop is ending */
        unlink_due(c);
    }
}

/* The watcher ends. Its completions whose callbacks are due lose it, so that a callback which
 * answers XEV_REARM gets XEV_ECANCELED. */
static void forget_due(xev_watcher *w) {
    while (w->due != NULL) {
        xev_completion *c = w->due;
        unlink_due(c);
        c->arg.async.watcher = NULL;
    }
}

static void async_pend(xev_loop *loop, xev_completion *c, int result) {
    xev__async_due(c);
    xev__pend(loop, c, result);
}

static void on_arrival(xev_loop *loop, struct xev__inbox_item *item) {
    char *base = (char *)item - offsetof(xev_watcher, inbox);
    xev_watcher *w = (xev_watcher *)(void *)base;
    assert(is_notified(ck_pr_load_ptr(&w->word)));
    assert(bound_loop(ck_pr_load_ptr(&w->word)) == loop);
    ck_pr_store_ptr(&w->word, loop);
    ck_pr_fence_memory();
    XEV_HANDOFF_ACQUIRE(w);
    xev_completion *c = w->waiter;
    if (c == NULL) {
        w->remembered = true;
        return;
    }
    w->waiter = NULL;
    async_pend(loop, c, w->result);
}

static void async_bind(xev_loop *loop, xev_watcher *w) {
    void *word = ck_pr_load_ptr(&w->word);
    if (bound_loop(word) == loop) {
        return;
    }
    if (bound_loop(word) != NULL) {
        xev__misuse("xev_async_wait", "the watcher belongs to another loop", w);
    }
    XEV_HANDOFF_RELEASE(&w->word);
    ck_pr_fence_memory(); /* the loop is complete before a notify can find it */
    while (!ck_pr_cas_ptr_value(&w->word, word, loop, &word)) {
    }
    ck_pr_fence_memory();
    if (is_notified(word)) {
        XEV_HANDOFF_ACQUIRE(w);
        w->remembered = true;
    }
    assert(w->waiter == NULL);
    w->prev = NULL;
    w->next = loop->asyncs;
    if (w->next != NULL) {
        w->next->prev = w;
    }
    loop->asyncs = w;
}

void xev__async_start(xev_loop *loop, xev_completion *c) {
    xev_watcher *w = c->arg.async.watcher;
    assert(c->op == XEV__OP_ASYNC && c->loop == loop);
    c->arg.async.at = NULL;
    if (w == NULL) {
        xev__pend(loop, c, XEV_ECANCELED);
        return;
    }
    async_bind(loop, w);
    if (w->waiter != NULL) {
        async_pend(loop, c, XEV_EBUSY);
    } else if (w->remembered) {
        w->remembered = false;
        async_pend(loop, c, w->result);
    } else {
        w->waiter = c;
        c->state = XEV__ASYNC;
    }
}

void xev_async_wait(xev_watcher *w, xev_loop *loop, xev_completion *c, void *userdata,
                    xev_async_cb cb) {
    if (w == NULL) {
        xev__misuse("xev_async_wait", "watcher is null", w);
    }
    bool begun = xev__begin(XEV__CALL("xev_async_wait"), loop, c, XEV__OP_ASYNC, userdata, cb);
    c->arg.async.watcher = w;
    c->arg.async.at = NULL;
    if (begun) {
        xev__async_start(loop, c);
    }
}

static void unlink_async(xev_loop *loop, xev_watcher *w) {
    XEV_ASSERT(w->prev != NULL ? w->prev->next == w : loop->asyncs == w);
    XEV_ASSERT(w->next == NULL || w->next->prev == w);
    if (w->prev != NULL) {
        w->prev->next = w->next;
    } else {
        loop->asyncs = w->next;
    }
    if (w->next != NULL) {
        w->next->prev = w->prev;
    }
}

/* In a forked child: w is bound to no loop. The threads that were inside a notify exist in the
 * parent only. */
static void async_forget(xev_watcher *w) {
    ck_pr_store_ptr(&w->word, NULL);
    ck_pr_store_32(&w->notifiers, 0);
    w->waiter = w->due = NULL;
    w->remembered = false;
}

void xev__async_check_thread(const char *call, const xev_watcher *w) {
    const xev_loop *loop = bound_loop(ck_pr_load_ptr(&w->word));
    if (loop != NULL) {
        xev__check_thread(call, loop);
    }
}

void xev_async_deinit(xev_watcher *w) {
    if (w == NULL) {
        xev__misuse("xev_async_deinit", "watcher is null", w);
    }
    xev__async_check_thread("xev_async_deinit", w);
    xev_loop *loop = bound_loop(ck_pr_load_ptr(&w->word));
    if (loop != NULL && xev__forked(loop)) {
        unlink_async(loop, w);
        async_forget(w);
        return;
    }
    xev__visits_wait(&w->notifiers);
    if (loop == NULL) {
        forget_due(w); /* waits that were refused before they could bind w */
        return;
    }
    while (is_notified(ck_pr_load_ptr(&w->word))) {
        /* w is in the inbox, maybe behind an item whose push has not ended. */
        xev__drain_inbox(loop);
    }
    if (w->waiter != NULL) {
        (void)xev__stop(loop, w->waiter);
    }
    forget_due(w);
    assert(w->waiter == NULL);
    unlink_async(loop, w);
    ck_pr_store_ptr(&w->word, NULL);
}

bool xev__async_stop(xev_loop *loop, xev_completion *c) {
    assert(c->state == XEV__ASYNC && c->arg.async.watcher->waiter == c);
    c->arg.async.watcher->waiter = NULL;
    c->flags |= XEV__F_CANCEL;
    async_pend(loop, c, XEV_ECANCELED);
    return true;
}

void xev__async_each(const xev_loop *loop, xev__visit_fn fn, void *arg) {
    for (xev_watcher *w = loop->asyncs; w != NULL; w = w->next) {
        if (w->waiter != NULL) {
            fn(loop, w->waiter, arg);
        }
    }
}

void xev__async_loop_gone(xev_loop *loop) {
    if (xev__forked(loop)) {
        for (xev_watcher *w = loop->asyncs, *next; w != NULL; w = next) {
            next = w->next;
            async_forget(w);
        }
        return;
    }
    while (loop->asyncs != NULL) {
        xev_watcher *w = loop->asyncs;
        if (w->result != 0) {
            xev__signal_unwatch(w);
        }
        unlink_async(loop, w);
        (void)ck_pr_fas_ptr(&w->word, NULL);
        xev__visits_wait(&w->notifiers);
        w->remembered = false;
        assert(w->waiter == NULL && w->due == NULL);
    }
    while (xev_mpsc_pop(loop->inbox) != NULL) {
    }
}
