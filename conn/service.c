/* A service: the table of connections of a loop, their handles, and the list of those that are due
 * at the end of the turn. */
#include <stdlib.h>
#include <string.h>

#include "conn/internal.h"
#include "conn/move.h"
#include "xev/os/complain.h"
#include "xev/os/probe.h"
#include "xev/os/descriptor.h"

#define CONNECTIONS_MAX ((1u << 22) - 1) /* 22 bits of a handle */
#define USER_MAX (1u << 20)
#define ID_MAX 1023u
#define HELD_MAX (UINT64_C(256) << 20)

_Noreturn void xev__conn_misuse(const char *call, const char *what, const void *which) {
    xev__complain("xev: %s: %s (%p)", call, what, which);
    abort();
}

/* ---- the table ---- */

/* No handle is 0. */
static void init_conn(void *conn, uint32_t number) {
    xev_conn *c = conn;
    (void)number;
    c->generation = c->generation != 0 ? c->generation : 1;
}

void xev__conn_count(xev_conn_service *s, int change) {
    assert(change >= 0 || s->count.connections > 0);
    s->count.connections += (uint32_t)change;
    bool holds = s->draining && s->count.connections > 0;
    if (holds != s->holds && s->loop->ops != NULL) {
        s->holds = holds;
        if (holds) {
            xev__hold(s->loop);
        } else {
            xev__unhold(s->loop);
        }
    }
}

xev_conn *xev__conn_new(xev_conn_service *s, int *code) {
    if (s->count.connections >= s->options.connections_max && !xev__conn_give_up_kept(s)) {
        s->count.refused++;
        *code = XEV_ENOBUFS;
        return NULL;
    }
    uint32_t number = xev__chunks_take(&s->table);
    if (number > CONNECTIONS_MAX) { /* no memory; or no number, so many places are used up */
        if (number != XEV__CHUNKS_NONE) {
            xev__chunks_give(&s->table, number);
        }
        s->count.refused++;
        *code = XEV_ENOMEM;
        return NULL;
    }
    xev_conn *c = xev__conn_at(s, number);
    assert(c->flags == 0 && c->more == NULL && c->generation != 0);
    c->service = s;
    c->number = number & CONNECTIONS_MAX;
    c->backlog_parts = XEV__CONN_BACKLOG_PARTS; /* not known, if it moves here */
    c->wheel_next = c->wheel_prev = c->due_tick = c->next_due = 0;
    c->handlers = s->options.handlers;
    c->flags = XEV__CONN_LIVE;
    c->fd = XEV_INVALID_FD;
    c->active_tick = c->opened_tick = xev__conn_tick(s);
    memset(c + 1, 0, s->options.user_bytes);
    xev__conn_count(s, 1);
    s->count.opened++;
    xev__conn_account(c, true);
    return c;
}

void xev__conn_recycle(xev_conn *c) {
    xev_conn_service *s = c->service;
    assert(!xev__conn_is(c, XEV__CONN_LIVE) && c->more == NULL && c->due_tick == 0);
    if (xev__conn_is(c, XEV__CONN_DUE)) {
        return; /* when it leaves that list */
    }
    c->flags = 0;
    if (c->generation == 0) {
        return; /* every generation of this place is used up: a handle would name two connections */
    }
    xev__chunks_give(&s->table, c->number);
}

void xev__conn_undo(xev_conn *c) {
    xev_conn_service *s = c->service;
    assert(c->more == NULL && !xev__conn_is(c, XEV__CONN_DUE));
    xev__conn_account(c, false);
    c->fd = XEV_INVALID_FD;
    c->flags = 0;
    c->generation++;
    xev__conn_count(s, -1);
    s->count.opened--;
    s->count.refused++;
    xev__conn_recycle(c);
}

/* ---- handles: id, number, generation ---- */

xev_conn_handle xev_conn_handle_of(const xev_conn *c) {
    xev__conn_check_own("xev_conn_handle_of", c);
    return (uint64_t)c->service->options.id << 54 | (uint64_t)c->number << 32 | c->generation;
}

int xev_conn_find(const xev_conn_service *s, xev_conn_handle handle, xev_conn **conn) {
    xev__conn_check_service("xev_conn_find", s);
    xev__conn_check("xev_conn_find", conn);
    uint32_t number = (uint32_t)(handle >> 32) & CONNECTIONS_MAX;
    *conn = NULL;
    if (handle >> 54 != s->options.id || !xev__chunks_have(&s->table, number)) {
        return XEV_ESTALE;
    }
    xev_conn *c = xev__conn_at(s, number);
    if (c->generation != (uint32_t)handle || !xev__conn_is(c, XEV__CONN_LIVE)) {
        return XEV_ESTALE;
    }
    *conn = c;
    return 0;
}

uint32_t xev_conn_handle_id(xev_conn_handle handle) { return (uint32_t)(handle >> 54); }

/* ---- due ---- */

static void attend(xev_conn *c) {
    uint32_t due = c->flags;
    xev__conn_clear(c, XEV__CONN_OPENING | XEV__CONN_WRITABLE | XEV__CONN_CORKED | XEV__CONN_PUMP);
    if (!xev__conn_is(c, XEV__CONN_LIVE)) {
        return; /* it has left for another loop */
    }
    if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        if (c->fd == XEV_INVALID_FD && !xev__conn_is(c, XEV__CONN_CONNECTING)) {
            xev__conn_gone(c); /* it was never connected */
        }
        return;
    }
    if ((due & XEV__CONN_OPENING) != 0) {
        xev__wheel_sooner(c);
        XEV__PROBE2(conn__opened, c, c->fd);
        if (c->handlers->opened != NULL) {
            xev__conn_enter(c, NULL, 0);
            c->handlers->opened(c);
            xev__conn_leave(c);
        }
        if (c->service->draining) {
            xev__conn_service_drains(c);
        }
        if (xev__conn_is(c, XEV__CONN_PIPED)) {
            xev__conn_due(c->more->peer, XEV__CONN_PUMP); /* which waited for this */
        }
    }
    if (xev__conn_is(c, XEV__CONN_MOVING)) {
        c->flags |= due & XEV__CONN_WRITABLE; /* told where it is then */
        xev__conn_move_step(c);
        return;
    }
    if ((due & XEV__CONN_WRITABLE) != 0 && c->handlers->writable != NULL &&
        !xev__conn_is(c, XEV__CONN_MUTE | XEV__CONN_PIPED)) {
        xev__conn_enter(c, NULL, 0);
        c->handlers->writable(c);
        xev__conn_leave(c);
    }
    xev__conn_push(c);
    if ((due & (XEV__CONN_PUMP | XEV__CONN_WRITABLE | XEV__CONN_OPENING)) != 0) {
        xev__conn_pump(c);
    }
}

static xev_cb_action on_again(xev_loop *loop, xev_completion *k, int result, void *userdata) {
    (void)loop;
    (void)k;
    (void)result;
    (void)userdata;
    return XEV_DISARM; /* it was only to keep the loop from sleeping */
}

static void run_releases(xev_conn_service *s) {
    while (s->released != NULL) {
        xev_conn_slot *seg = s->released;
        s->released = seg->next;
        xev_conn_release_fn release = seg->release;
        void *userdata = seg->userdata;
        xev__block_put(s, seg, seg->block_bytes);
        release(userdata);
    }
}

static void on_turn_end(xev_loop *loop, xev_hook *hook) {
    xev_conn_service *s =
        (xev_conn_service *)(void *)((char *)hook - offsetof(xev_conn_service, hook));
    s->attending = true;
    run_releases(s);
    uint32_t last = s->due_tail; /* what comes now is for the next turn */
    while (s->due_head != 0) {
        xev_conn *c = xev__conn_at(s, s->due_head - 1);
        bool was_last = s->due_head == last;
        s->due_head = c->next_due;
        s->due_tail = s->due_head != 0 ? s->due_tail : 0;
        c->next_due = 0;
        xev__conn_clear(c, XEV__CONN_DUE);
        if (!xev__conn_is(c, XEV__CONN_LIVE | XEV__CONN_MOVING)) {
            xev__conn_recycle(c);
        } else {
            attend(c);
        }
        if (was_last) {
            break;
        }
    }
    if (s->sheds) {
        xev__shed(s);
    }
    s->attending = false;
    if (s->due_head == 0 && s->released == NULL) {
        s->hooked = false;
        xev_loop_hook_remove(loop, hook);
        xev__unhold(loop);
    } else if (xev_completion_state(&s->again) == XEV_COMPLETION_DEAD) {
        xev_timer_run_ns(NULL, loop, &s->again, 0, s, on_again);
    }
}

void xev__conn_hook_in(xev_conn_service *s) {
    if (!s->hooked && s->loop->ops != NULL && !s->loop->deinit) {
        s->hooked = true;
        s->hook.callback = on_turn_end;
        xev_loop_hook_add(s->loop, XEV_HOOK_FLUSH, &s->hook);
        xev__hold(s->loop);
    }
}

void xev__conn_due(xev_conn *c, uint32_t flags) {
    xev_conn_service *s = c->service;
    c->flags |= flags;
    if (xev__conn_is(c, XEV__CONN_DUE)) {
        return;
    }
    c->flags |= XEV__CONN_DUE;
    assert(c->next_due == 0);
    if (s->due_tail != 0) {
        xev__conn_at(s, s->due_tail - 1)->next_due = c->number + 1;
    } else {
        s->due_head = c->number + 1;
    }
    s->due_tail = c->number + 1;
    xev__conn_hook_in(s);
}

void xev__conn_release_later(xev_conn_service *s, xev_conn_slot *seg) {
    if (seg->release == NULL) {
        xev__block_put(s, seg, seg->block_bytes);
        return;
    }
    seg->next = s->released;
    s->released = seg;
    xev__conn_hook_in(s);
}

/* ---- the service ---- */

static void set_defaults(xev_conn_options *o) {
    static const uint32_t defaults[][2] = {
        {offsetof(xev_conn_options, connections_max), 65536},
        {offsetof(xev_conn_options, unconsumed_max_bytes), 1u << 20},
        {offsetof(xev_conn_options, queued_max_bytes), 16u << 20},
        {offsetof(xev_conn_options, high_bytes), 256u << 10},
        {offsetof(xev_conn_options, slots_max), 1024},
        {offsetof(xev_conn_options, deadlines.idle_ms), 300000},
        {offsetof(xev_conn_options, deadlines.read_ms), 30000},
        {offsetof(xev_conn_options, deadlines.write_ms), 30000},
        {offsetof(xev_conn_options, deadlines.life_ms), UINT32_MAX},
        {offsetof(xev_conn_options, deadlines.linger_ms), 5000},
        {offsetof(xev_conn_options, first_ms), 1000}};
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        uint32_t *field = (uint32_t *)(void *)((char *)o + defaults[i][0]);
        *field = *field != 0 ? *field : defaults[i][1];
    }
    o->held_max_bytes = o->held_max_bytes != 0 ? o->held_max_bytes : HELD_MAX;
    o->low_bytes = o->low_bytes != 0 ? o->low_bytes : o->high_bytes / 4;
}

/* Of options with their defaults. NULL: nothing is wrong. */
static const char *what_is_wrong(const xev_conn_options *o) {
    return o->handlers == NULL                    ? "handlers is null"
           : o->handlers->data == NULL            ? "there is no data handler"
           : o->id > ID_MAX                       ? "id is above 1023"
           : o->user_bytes > USER_MAX             ? "user_bytes is above 1 MiB"
           : o->connections_max > CONNECTIONS_MAX ? "connections_max is above 4194303"
           : o->unconsumed_max_bytes > 1u << 30   ? "unconsumed_max_bytes is above 1 GiB"
           : o->queued_max_bytes > INT32_MAX      ? "queued_max_bytes is above 2147483647"
           : o->high_bytes > o->queued_max_bytes
               ? "high_bytes (256 KiB if it is not set) is above queued_max_bytes"
           : o->low_bytes > o->high_bytes
               ? "low_bytes is above high_bytes (256 KiB if it is not set)"
               : NULL;
}

int xev_conn_service_new(xev_conn_service **service, xev_loop *loop,
                         const xev_conn_options *options) {
    const char *call = "xev_conn_service_new";
    xev__conn_check(call, service);
    xev__conn_check(call, options);
    if (loop == NULL || loop->ops == NULL) {
        xev__conn_misuse(call, "loop is null or not initialised", loop);
    }
    *service = NULL;
    xev_conn_options o = *options;
    set_defaults(&o);
    const char *why = what_is_wrong(&o);
    if (why != NULL) {
        return xev__refuse(why, NULL);
    }
    const xev_allocator *a = &loop->options.allocator;
    xev_conn_service *s = xev__alloc_zeroed(a, sizeof *s, 64);
    uint8_t *scratch = xev__alloc(a, XEV__CONN_SCRATCH, 64);
    if (s == NULL || scratch == NULL) {
        xev__free(a, s, sizeof *s);
        xev__free(a, scratch, XEV__CONN_SCRATCH);
        return XEV_ENOMEM;
    }
    s->loop = loop;
    s->options = o;
    s->scratch = scratch;
    s->joins = xev__joins(loop);
    uint32_t part = o.unsent_bytes / (XEV__CONN_BACKLOG_PARTS + 1);
    s->backlog_part = o.unsent_bytes > 0 && part == 0 ? 1 : part;
    s->blocks.loop = loop;
    s->table = (struct xev__chunks){
        .loop = loop,
        .item_bytes = (uint32_t)(sizeof(xev_conn) + (o.user_bytes + 31u) / 32 * 32),
        .alignment = 32,
        .link_at = offsetof(xev_conn, wheel_next),
        .gen_at = offsetof(xev_conn, generation),
        .init = init_conn,
    };
    xev__chunks_init(&s->table);
    s->count.pool_bytes = sizeof *s + XEV__CONN_SCRATCH;
    *service = s;
    return 0;
}

void xev_conn_service_free(xev_conn_service *s) {
    xev__conn_check("xev_conn_service_free", s);
    if (s->loop->ops != NULL) {
        xev__conn_misuse("xev_conn_service_free", "the loop was not deinitialised", s);
    }
    const xev_allocator *a = &s->loop->options.allocator;
    bool forked = xev__forked(s->loop); /* the sockets are the parent's, too */
    xev__conn_drop_pieces(s);
    s->current = NULL; /* a child may do this in a handler */
    for (uint32_t i = 0; i < xev__chunks_end(&s->table); i++) {
        xev_conn *c = xev__chunks_have(&s->table, i) ? xev__conn_at(s, i) : NULL;
        if (c != NULL && xev__conn_is(c, XEV__CONN_MOVING) && !xev__conn_is(c, XEV__CONN_LIVE)) {
            xev__conn_move_free(c);
        }
        c = xev__conn_live_at(s, i);
        if (c == NULL) {
            continue;
        }
        xev__conn_close(c, XEV_CONN_LOOP_ENDED, 0); /* closes nothing: the loop is gone */
        if (c->more != NULL && c->more->write_fd != XEV_INVALID_FD) {
            (void)xev__os_close(c->more->write_fd);
        }
        if (c->fd != XEV_INVALID_FD) {
            if (!forked) {
                xev__conn_reset_or_end(c);
            }
            (void)xev__os_close(c->fd);
        }
        xev__conn_gone(c);
    }
    run_releases(s);
    xev__upstreams_orphan(s);
    xev__blocks_free(&s->blocks);
    xev__chunks_free(&s->table);
    xev__free(a, s->scratch, XEV__CONN_SCRATCH);
    xev__free(a, s->read_scratch, XEV__CONN_SCRATCH);
    xev__free(a, s, sizeof *s);
}

xev_loop *xev_conn_service_loop(const xev_conn_service *s) {
    xev__conn_check("xev_conn_service_loop", s);
    return s->loop;
}

void *xev_conn_service_userdata(const xev_conn_service *s) {
    xev__conn_check("xev_conn_service_userdata", s);
    return s->options.userdata;
}

void xev_conn_service_count(const xev_conn_service *s, xev_conn_counters *out) {
    xev__conn_check_service("xev_conn_service_count", s);
    xev__conn_check("xev_conn_service_count", out);
    *out = s->count;
    out->pool_bytes += xev__blocks_bytes(&s->blocks) + xev__chunks_bytes(&s->table);
}

static void each_conn(xev_conn_service *s, bool kept_too, void *userdata, xev_conn_each_fn fn) {
    for (uint32_t i = 0; i < xev__chunks_end(&s->table); i++) {
        xev_conn *c = xev__conn_live_at(s, i);
        if (c != NULL && !xev__conn_is(c, XEV__CONN_CLOSING) &&
            (kept_too || c->more == NULL || c->more->upstream_role == XEV__UPSTREAM_USE)) {
            fn(c, userdata);
        }
    }
}

void xev_conn_service_each(xev_conn_service *s, void *userdata, xev_conn_each_fn fn) {
    xev__conn_check_service("xev_conn_service_each", s);
    if (fn == NULL) {
        xev__conn_misuse("xev_conn_service_each", "function is null", s);
    }
    each_conn(s, false, userdata, fn);
}

static void drain_one(xev_conn *c, void *userdata) {
    (void)userdata;
    xev__conn_service_drains(c);
}

void xev_conn_service_drain(xev_conn_service *s) {
    xev__conn_check_service("xev_conn_service_drain", s);
    s->draining = true;
    xev__conn_count(s, 0);
    each_conn(s, true, NULL, drain_one);
}

const char *xev_conn_reason_name(xev_conn_reason reason) {
    static const char *const names[XEV_CONN_REASONS] = {
        "ended",     "lingered",    "aborted",    "detached",    "failed",    "unconnected",
        "protocol",  "pipe_broken", "input_full", "output_full", "no_memory", "total_full",
        "idle_late", "read_late",   "write_late", "life_late",   "loop_ended"};
    return (unsigned)reason < XEV_CONN_REASONS ? names[reason] : "";
}
