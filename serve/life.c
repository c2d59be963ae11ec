/* The life of the services, as the service manager sees it, and their reloads.
 *
 * The manager is told by datagrams to the Unix socket that NOTIFY_SOCKET names, as by sd_notify(3).
 * Where its socket is full, a timer tries again: no shard ever waits for it.
 *
 * A reload is a round. SIGHUP is seen by shard 0, which has every shard call the hangup callback,
 * by an async each; the last one to return ends the round. A SIGHUP in between makes one round
 * more, after this one. So the manager is told of the end exactly when all have reloaded.
 *
 * The watchdog: a timer on each shard notes that the loop turns. Shard 0 looks at the notes four
 * times in the manager's period, and only if each shard has made one since, it says so.
 */
#include <ck_pr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/internal.h"
#include "xev/core/support.h"

#define TELL_AGAIN_MS 20
#define LINE 64u

/* Of one shard. */
struct xev__shard_life {
    _Alignas(LINE) xev_watcher reload;
    xev_completion reload_wait, tell_timer, beat_timer;
    xev_serve *serve;
    bool draining;
    uint32_t beat; /* atomic: its loop has turned */
};

/* ---- what the manager is told ---- */

/* True: it has it, or never will. */
static bool tell_manager(const struct xev__life *n, const char *text) {
    int rc = xev__serve_tell(n->fd, &n->manager, text);
    return rc != XEV_EAGAIN && rc != XEV_ENOBUFS;
}

/* Under the lock: all that is to be told by now, in order. False: some is left. */
static bool tell_all(struct xev__life *n) {
    if (n->fd == XEV_INVALID_FD || (n->state == n->told && n->reload_us == 0)) {
        return true;
    }
    if (n->state == XEV__LIFE_STOPPING) {
        n->reload_us = 0;
        n->told = tell_manager(n, "STOPPING=1") ? XEV__LIFE_STOPPING : n->told;
        return n->told == n->state;
    }
    if (n->reload_us != 0) {
        char text[64];
        snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu",
                 (unsigned long long)n->reload_us);
        if (!tell_manager(n, text)) {
            return false;
        }
        n->reload_us = 0;
        n->told = XEV__LIFE_RELOADING;
    }
    if (n->state == XEV__LIFE_READY && tell_manager(n, "READY=1")) {
        n->told = XEV__LIFE_READY;
    }
    return n->told == n->state;
}

static xev_cb_action on_tell_timer(xev_loop *loop, xev_completion *timer, int result,
                                   void *userdata);

static void tell_after(xev_serve *serve, xev_shard *shard, uint64_t ms) {
    struct xev__shard_life *l = &serve->life.on[xev_shard_id(shard)];
    xev_timer_reset(NULL, xev_shard_loop(shard), &l->tell_timer, NULL, ms, serve, on_tell_timer);
    xev_completion_unref(&l->tell_timer);
}

/* Under the lock, on a shard. */
static void tell_or_try_again(xev_serve *serve, xev_shard *shard) {
    if (!tell_all(&serve->life)) {
        tell_after(serve, shard, TELL_AGAIN_MS);
    }
}

static xev_cb_action on_tell_timer(xev_loop *loop, xev_completion *timer, int result,
                                   void *userdata) {
    xev_serve *serve = userdata;
    struct xev__life *n = &serve->life;
    (void)loop;
    (void)timer;
    if (result < 0) {
        return XEV_DISARM;
    }
    pthread_mutex_lock(&n->lock);
    if (n->state == XEV__LIFE_STARTING) { /* the last shard's first turn: all serve */
        n->state = XEV__LIFE_READY;
    }
    tell_or_try_again(serve, xev_shard_current());
    pthread_mutex_unlock(&n->lock);
    return XEV_DISARM;
}

void xev__life_drain(xev_serve *serve, xev_shard *shard) {
    struct xev__life *n = &serve->life;
    n->on[xev_shard_id(shard)].draining = true;
    pthread_mutex_lock(&n->lock);
    if (n->state != XEV__LIFE_STOPPING) {
        n->state = XEV__LIFE_STOPPING;
        tell_or_try_again(serve, shard);
    }
    pthread_mutex_unlock(&n->lock);
}

void xev__life_stop(xev_serve *serve) {
    pthread_mutex_lock(&serve->life.lock);
    (void)tell_all(&serve->life); /* the last try */
    pthread_mutex_unlock(&serve->life.lock);
}

/* ---- reload ---- */

/* Under the lock. */
static void begin_round(xev_serve *serve) {
    struct xev__life *n = &serve->life;
    assert(n->round_left == 0);
    n->round_left = serve->shards;
    if (n->state != XEV__LIFE_STARTING) {
        n->state = XEV__LIFE_RELOADING;
        n->reload_us = xev__serve_monotonic_us();
    }
    for (uint32_t i = 0; i < serve->shards; i++) {
        (void)xev_async_notify(&n->on[i].reload);
    }
}

void xev__life_hangup(xev_serve *serve, xev_shard *shard) {
    struct xev__life *n = &serve->life;
    if (xev_shard_id(shard) != 0) {
        return; /* it is told by shard 0 */
    }
    pthread_mutex_lock(&n->lock);
    if (n->round_left > 0) {
        n->round_again = true;
    } else if (n->state != XEV__LIFE_STOPPING) {
        begin_round(serve);
        tell_or_try_again(serve, shard);
    }
    pthread_mutex_unlock(&n->lock);
}

static xev_cb_action on_reload(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct xev__shard_life *l = userdata;
    xev_serve *serve = l->serve;
    struct xev__life *n = &serve->life;
    xev_shard *shard = xev_shard_current();
    (void)loop;
    (void)c;
    if (result < 0) {
        return XEV_DISARM;
    }
    if (!l->draining) {
        xev__serve_call_user(serve, shard, serve->options.hangup);
    }
    pthread_mutex_lock(&n->lock);
    assert(n->round_left > 0);
    if (--n->round_left == 0 && n->state != XEV__LIFE_STOPPING) {
        if (n->round_again) {
            n->round_again = false;
            begin_round(serve);
        } else if (n->state == XEV__LIFE_RELOADING) {
            n->state = XEV__LIFE_READY;
        }
        tell_or_try_again(serve, shard);
    }
    pthread_mutex_unlock(&n->lock);
    return XEV_REARM;
}

/* ---- the watchdog ---- */

static xev_cb_action on_beat_timer(xev_loop *loop, xev_completion *timer, int result,
                                   void *userdata) {
    struct xev__shard_life *l = userdata;
    xev_serve *serve = l->serve;
    struct xev__life *n = &serve->life;
    (void)loop;
    (void)timer;
    if (result < 0) {
        return XEV_DISARM;
    }
    ck_pr_store_32(&l->beat, 1);
    if (l != n->on) {
        return XEV_REARM;
    }
    bool all = true;
    for (uint32_t i = 0; i < serve->shards; i++) {
        all = all && ck_pr_load_32(&n->on[i].beat) != 0;
    }
    if (all) {
        for (uint32_t i = 0; i < serve->shards; i++) {
            ck_pr_store_32(&n->on[i].beat, 0);
        }
        (void)tell_manager(n, "WATCHDOG=1"); /* the next one is soon enough where this is lost */
    }
    return XEV_REARM;
}

/* Microseconds; 0: the manager wants no watchdog of this process. */
static uint64_t watchdog_us(void) {
    const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint32_t process;
    char *end;
    if (us == NULL || *us < '0' || *us > '9' ||
        (pid != NULL && (!xev__serve_parse_number(pid, UINT32_MAX, &process) ||
                         process != xev__serve_process()))) {
        return 0;
    }
    unsigned long long n = strtoull(us, &end, 10);
    return *end == '\0' && n < UINT64_MAX / 1000 ? n : 0;
}

/* ---- begin and end ---- */

void xev__life_open(xev_serve *serve) {
    struct xev__life *n = &serve->life;
    const char *name = getenv("NOTIFY_SOCKET");
    char text[XEV_ADDR_TEXT_BYTES + 8];
    *n = (struct xev__life){.fd = XEV_INVALID_FD};
    pthread_mutex_init(&n->lock, NULL);
    if (serve->no_notify || name == NULL || (*name != '/' && *name != '@') ||
        strlen(name) + sizeof "unix:" > sizeof text) {
        return;
    }
    snprintf(text, sizeof text, "unix:%s", name);
    if (xev_addr_from_text(&n->manager, text) == 0) {
        n->fd = xev__serve_open_teller();
        n->watchdog_us = n->fd != XEV_INVALID_FD ? watchdog_us() : 0;
    }
}

void xev__life_close(xev_serve *serve) {
    if (serve->life.fd != XEV_INVALID_FD) {
        xev__serve_close_teller(serve->life.fd);
        serve->life.fd = XEV_INVALID_FD;
    }
    xev__heap_free(serve->life.on);
    serve->life.on = NULL;
    pthread_mutex_destroy(&serve->life.lock);
}

int xev__life_prepare(xev_serve *serve) {
    size_t bytes = serve->shards * sizeof *serve->life.on;
    serve->life.on = xev__heap(bytes, LINE);
    if (serve->life.on == NULL) {
        return XEV_ENOMEM;
    }
    memset(serve->life.on, 0, bytes);
    for (uint32_t i = 0; i < serve->shards; i++) { /* before any is notified */
        (void)xev_async_init(&serve->life.on[i].reload);
    }
    return 0;
}

void xev__life_start(xev_serve *serve, xev_shard *shard) {
    uint32_t id = xev_shard_id(shard);
    struct xev__life *n = &serve->life;
    struct xev__shard_life *l = &n->on[id];
    xev_loop *loop = xev_shard_loop(shard);
    l->serve = serve;
    if (serve->options.hangup != NULL) {
        xev_async_wait(&l->reload, loop, &l->reload_wait, l, on_reload);
        xev_completion_unref(&l->reload_wait);
    }
    if (n->watchdog_us > 0) {
        uint64_t ns = n->watchdog_us * 1000 / 4;
        xev_timer_run_ns(NULL, loop, &l->beat_timer, ns > 1000000 ? ns : 1000000, l, on_beat_timer);
        xev_completion_unref(&l->beat_timer);
    }
    if (id == serve->shards - 1) {
        tell_after(serve, shard, 0); /* it begins to serve as the last one */
    }
}
