/* Hooks of a loop: when they run, and that the loop notices what they submit. */
#include "tests/loop_scene.h"

struct hook {
    xev_hook hook;
    uint32_t calls;
    uint32_t order;
    struct hook *victim; /* to remove at the next call */
    struct op *submit;   /* to start at the next call */
};

static uint32_t hook_clock;

static void hook_cb(xev_loop *loop, xev_hook *hook) {
    struct hook *h = (struct hook *)(void *)((char *)hook - offsetof(struct hook, hook));
    h->calls++;
    h->order = ++hook_clock;
    if (h->victim != NULL) {
        xev_loop_hook_remove(loop, &h->victim->hook);
        memset(&h->victim->hook, 0xa5, sizeof h->victim->hook);
        h->victim = NULL;
    }
    if (h->submit != NULL) {
        xev_timer_run(NULL, loop, &h->submit->c, 0, h->submit, op_cb);
        h->submit = NULL;
    }
}

TEST(hooks_run_on_every_turn_in_order_of_adding) {
    xev_loop loop;
    loop_start(&loop);
    struct hook h[3];
    memset(h, 0, sizeof h);
    for (int i = 0; i < 3; i++) {
        h[i].hook.callback = hook_cb;
        xev_loop_hook_add(&loop, XEV_HOOK_BEFORE_POLL, &h[i].hook);
    }
    struct op timer = {0};
    xev_timer_run(NULL, &loop, &timer.c, HOUR_MS, &timer, op_cb);
    for (uint32_t turn = 1; turn <= 5; turn++) {
        run_no_wait(&loop);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(h[i].calls, turn);
            CHECK(i == 0 || h[i].order == h[i - 1].order + 1);
        }
    }
    for (int i = 0; i < 3; i++) {
        xev_loop_hook_remove(&loop, &h[i].hook);
    }
    run_no_wait(&loop);
    CHECK_EQ(h[0].calls, 5);
    xev_loop_deinit(&loop);
}

struct moment {
    struct op timer;
    struct hook before, after;
    uint32_t at; /* when the timer fired, by hook_clock */
};

static xev_cb_action moment_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct moment *m = userdata;
    m->at = ++hook_clock;
    return op_cb(loop, c, result, &m->timer);
}

TEST(hooks_before_and_after_the_poll_stand_around_the_callbacks) {
    xev_loop loop;
    loop_start(&loop);
    struct moment m = {.before.hook.callback = hook_cb, .after.hook.callback = hook_cb};
    struct op again = {0};
    m.after.submit = &again;
    xev_loop_hook_add(&loop, XEV_HOOK_AFTER_POLL, &m.after.hook);
    xev_loop_hook_add(&loop, XEV_HOOK_BEFORE_POLL, &m.before.hook);
    xev_timer_run(NULL, &loop, &m.timer.c, 0, &m, moment_cb);
    run_once(&loop);
    CHECK_EQ(m.timer.calls, 1);
    CHECK_LT(m.before.order, m.at);
    CHECK_LT(m.at, m.after.order);
    CHECK_EQ(m.before.calls, m.after.calls);
    CHECK_EQ(again.calls, 0);
    run_done(&loop);
    CHECK_EQ(again.calls, 1);
    CHECK_EQ(m.before.calls, m.after.calls);
    xev_loop_hook_remove(&loop, &m.after.hook);
    xev_loop_hook_remove(&loop, &m.before.hook);
    xev_loop_deinit(&loop);
}

TEST(hook_does_not_keep_the_loop_going) {
    xev_loop loop;
    loop_start(&loop);
    struct hook h = {.hook.callback = hook_cb};
    xev_loop_hook_add(&loop, XEV_HOOK_BEFORE_POLL, &h.hook);
    for (int i = XEV_RUN_NO_WAIT; i <= XEV_RUN_UNTIL_DONE; i++) {
        CHECK_EQ(xev_loop_run(&loop, (xev_run_mode_t)i), 0);
    }
    xev_loop_deinit(&loop);
}

TEST(hook_may_submit) {
    xev_loop loop;
    loop_start(&loop);
    struct op a = {0}, b = {0};
    struct hook h = {.hook.callback = hook_cb, .submit = &b};
    xev_loop_hook_add(&loop, XEV_HOOK_BEFORE_POLL, &h.hook);
    xev_timer_run(NULL, &loop, &a.c, 1, &a, op_cb);
    run_done(&loop);
    CHECK_EQ(a.calls, 1);
    CHECK_EQ(b.calls, 1);
    xev_loop_deinit(&loop);
}

TEST(hook_may_remove_itself_or_another) {
    for (int victim = 0; victim < 4; victim++) {
        for (int by = 0; by < 4; by++) {
            xev_loop loop;
            loop_start(&loop);
            struct hook h[4];
            memset(h, 0, sizeof h);
            for (int i = 0; i < 4; i++) {
                h[i].hook.callback = hook_cb;
                xev_loop_hook_add(&loop, XEV_HOOK_BEFORE_POLL, &h[i].hook);
            }
            h[by].victim = &h[victim];
            struct op timer = {0};
            xev_timer_run(NULL, &loop, &timer.c, HOUR_MS, &timer, op_cb);
            run_no_wait(&loop);
            run_no_wait(&loop);
            for (int i = 0; i < 4; i++) {
                CHECK_EQ(h[i].calls, i != victim ? 2 : victim <= by ? 1 : 0);
            }
            xev_loop_deinit(&loop);
        }
    }
}

TEST(flush_hooks_run_after_the_others_the_first_added_last) {
    xev_loop loop;
    loop_start(&loop);
    struct hook h[3], before = {.hook.callback = hook_cb};
    memset(h, 0, sizeof h);
    for (int i = 0; i < 3; i++) {
        h[i].hook.callback = hook_cb;
        xev_loop_hook_add(&loop, XEV_HOOK_FLUSH, &h[i].hook);
    }
    xev_loop_hook_add(&loop, XEV_HOOK_BEFORE_POLL, &before.hook);
    struct op timer = {0}, soon = {0};
    xev_timer_run(NULL, &loop, &timer.c, HOUR_MS, &timer, op_cb);
    run_no_wait(&loop);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_EQ(h[i].calls, 1);
        CHECK_EQ(h[i].order, before.order + 3 - i);
    }
    /* A host waits in the loop's stead, and may not be told to for longer than the hooks say. */
    h[2].submit = &soon;
    CHECK_LT(xev_loop_prepare_wait_ns(&loop), MS_NS);
    CHECK_EQ(h[0].calls, 2);
    CHECK_EQ(before.calls, 1);
    run_no_wait(&loop);
    CHECK_EQ(soon.calls, 1);
    xev_loop_deinit(&loop);
}

/* ---- what a hook does is noticed before the sleep that follows it ---- */

enum act { SUBMIT, CANCEL, NOTIFY, STOP, UNREF, ACTS };

struct actor {
    xev_hook hook;
    enum act act;
    uint32_t calls;
    struct op timer, other, waiter;
    xev_watcher async;
};

static void act_once(xev_loop *loop, xev_hook *hook) {
    struct actor *a = (struct actor *)(void *)((char *)hook - offsetof(struct actor, hook));
    if (++a->calls != 2) {
        return; /* the first turn's callbacks come first */
    }
    switch (a->act) {
    case SUBMIT:
        xev_timer_run(NULL, loop, &a->other.c, 0, &a->other, op_cb);
        break;
    case CANCEL:
        xev_cancel(loop, &a->timer.c, &a->other.c, &a->other, op_cb);
        break;
    case NOTIFY:
        CHECK_EQ(xev_async_notify(&a->async), 0);
        break;
    case STOP:
        xev_loop_stop(loop);
        break;
    default:
        xev_completion_unref(&a->timer.c);
        xev_completion_unref(&a->waiter.c);
    }
}

TEST(what_a_hook_does_is_noticed_before_the_loop_sleeps) {
    for (int when = 0; when < XEV_HOOK_TIMES; when++) {
        for (int act = 0; act < ACTS; act++) {
            if (when == XEV_HOOK_AFTER_POLL && act == STOP) {
                continue; /* it ends the run that it is called in, before the next sleep */
            }
            xev_loop loop;
            loop_start(&loop);
            struct actor a = {.hook.callback = act_once, .act = (enum act)act};
            struct op first = {0};
            CHECK_EQ(xev_async_init(&a.async), 0);
            xev_async_wait(&a.async, &loop, &a.waiter.c, &a.waiter, op_cb);
            xev_timer_run(NULL, &loop, &a.timer.c, HOUR_MS, &a.timer, op_cb);
            xev_timer_run(NULL, &loop, &first.c, 0, &first, op_cb);
            xev_loop_hook_add(&loop, (xev_hook_when)when, &a.hook);
            if (when == XEV_HOOK_AFTER_POLL) {
                a.calls++; /* its first turn is the one it should act in */
            }
            run_once(&loop);
            CHECK_EQ(first.calls, 1);
            CHECK_EQ(xev_loop_run(&loop, XEV_RUN_ONCE), 0); /* does not sleep for an hour */
            CHECK_EQ(a.other.calls, act == SUBMIT);
            CHECK_EQ(a.timer.calls, act == CANCEL);
            CHECK_EQ(a.waiter.calls, act == NOTIFY);
            xev_loop_deinit(&loop);
            xev_async_deinit(&a.async);
        }
    }
}
