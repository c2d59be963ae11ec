/* Deadlines of connections: one wheel of buckets, one bucket per tick of 67 ms.
 *
 * Each connection with a deadline stands in one bucket: that of its next deadline, or an earlier
 * one. What happens to the connection only stores the time of the event (active_tick and its kin).
 * When the bucket's tick has passed the deadlines are computed from those times, and the connection
 * either has reached one, or goes to the bucket of the one that is next. So a connection that is
 * busy costs its wheel nothing, until an idle time after it was last looked at.
 *
 * Deadlines beyond one revolution (34 s) are looked at once per revolution. The timer of the loop
 * fires for buckets that are not empty, only.
 */
#include "conn/internal.h"
#include "xev/os/socket.h"

#define TICK_NS (UINT64_C(1) << 26)
#define NEVER UINT32_MAX
#define LOOK_TICKS 15 /* 1 s: how often a connection that reads nothing looks for a reset */

/* The tick at which ms have certainly passed since the tick since. */
static uint32_t after(uint32_t since, uint32_t ms) {
    if (ms == UINT32_MAX) {
        return NEVER;
    }
    uint64_t ticks = ((uint64_t)ms * 1000000 + TICK_NS - 1) / TICK_NS + 1;
    return since + (uint32_t)ticks;
}

static uint32_t choose(const xev_conn *c, uint32_t own, uint32_t of_service) {
    return c->more != NULL && c->more->own_deadlines && own != 0 ? own : of_service;
}

static void earlier(uint32_t tick, xev_conn_reason of, uint32_t *next, xev_conn_reason *reason) {
    if (tick < *next) {
        *next = tick;
        *reason = of;
    }
}

/* Does output wait for the peer, and not for a slot to be filled? */
static bool waits_for_peer(const struct xev__conn_more *m) {
    const struct xev__conn_output *out = m->out;
    return out != NULL && (out->in_flight || m->send_waits ||
                           (out->head != NULL && out->head->kind != XEV__SEG_SLOT));
}

/* Nothing would tell of a reset: neither a receive nor a send is under way, and what it waits for
 * is an answer of the program's, which may take long. Two pipes cannot be reset. */
static bool is_deaf(const xev_conn *c) {
    const struct xev__conn_more *m = c->more;
    return m != NULL && m->out != NULL && m->slots > 0 && m->write_fd == XEV_INVALID_FD &&
           !waits_for_peer(m) &&
           !xev__conn_is(c, XEV__CONN_READING | XEV__CONN_CONNECTING | XEV__CONN_OPENING |
                                XEV__CONN_PIPED | XEV__CONN_MOVING | XEV__CONN_CLOSING);
}

/* The next deadline of c, NEVER: none; and what it is. XEV_CONN_FAILED: a look for a reset. */
static uint32_t next_deadline(const xev_conn *c, xev_conn_reason *reason) {
    const xev_conn_deadlines *d = &c->service->options.deadlines;
    const struct xev__conn_more *m = c->more;
    static const xev_conn_deadlines none;
    const xev_conn_deadlines *own = m != NULL ? &m->deadlines : &none;
    uint32_t next = NEVER;
    if (xev__conn_is(c, XEV__CONN_CONNECTING)) {
        return next; /* that has a deadline of its own */
    }
    if (m != NULL && waits_for_peer(m) && !xev__conn_is(c, XEV__CONN_MOVING)) {
        earlier(after(m->out->since_tick, choose(c, own->write_ms, d->write_ms)),
                XEV_CONN_WRITE_LATE, &next, reason);
    }
    if (is_deaf(c)) {
        earlier(m->out->looked_tick + LOOK_TICKS, XEV_CONN_FAILED, &next, reason);
    }
    if (xev__conn_is(c, XEV__CONN_FINISHING)) {
        if (xev__conn_is(c, XEV__CONN_OUTPUT_ENDED)) {
            earlier(after(c->opened_tick, choose(c, own->linger_ms, d->linger_ms)),
                    XEV_CONN_LINGERED, &next, reason);
        }
        return next;
    }
    earlier(after(c->active_tick, choose(c, own->idle_ms, d->idle_ms)), XEV_CONN_IDLE_LATE, &next,
            reason);
    earlier(after(c->opened_tick, choose(c, own->life_ms, d->life_ms)), XEV_CONN_LIFE_LATE, &next,
            reason);
    if (xev__conn_is(c, XEV__CONN_FRESH) && c->service->draining) {
        earlier(after(c->opened_tick, c->service->options.first_ms), XEV_CONN_ENDED, &next, reason);
    }
    if (m != NULL && m->in != NULL && !xev__conn_is(c, XEV__CONN_BLOCKED | XEV__CONN_PIPED)) {
        earlier(after(m->in_since, choose(c, own->read_ms, d->read_ms)), XEV_CONN_READ_LATE, &next,
                reason);
    }
    return next;
}

/* ---- buckets ---- */

static void wheel_link(xev_conn *c, uint32_t tick) {
    xev_conn_service *s = c->service;
    uint32_t *bucket = &s->wheel[tick % XEV__WHEEL];
    assert(c->due_tick == 0 && tick != 0);
    c->due_tick = tick;
    c->wheel_prev = 0;
    c->wheel_next = *bucket;
    if (*bucket != 0) {
        xev__conn_at(s, *bucket - 1)->wheel_prev = c->number + 1;
    }
    *bucket = c->number + 1;
    s->wheel_used[tick % XEV__WHEEL / 64] |= UINT64_C(1) << tick % 64;
}

static void wheel_unlink(xev_conn *c) {
    xev_conn_service *s = c->service;
    uint32_t *bucket = &s->wheel[c->due_tick % XEV__WHEEL];
    assert(c->due_tick != 0);
    if (c->wheel_next != 0) {
        xev__conn_at(s, c->wheel_next - 1)->wheel_prev = c->wheel_prev;
    }
    if (c->wheel_prev != 0) {
        xev__conn_at(s, c->wheel_prev - 1)->wheel_next = c->wheel_next;
    } else {
        assert(*bucket == c->number + 1u);
        *bucket = c->wheel_next;
    }
    if (*bucket == 0) {
        s->wheel_used[c->due_tick % XEV__WHEEL / 64] &= ~(UINT64_C(1) << c->due_tick % 64);
    }
    c->due_tick = c->wheel_next = c->wheel_prev = 0;
}

void xev__wheel_leave(xev_conn *c) {
    if (c->due_tick != 0) {
        wheel_unlink(c);
    }
}

static xev_cb_action on_wheel_timer(xev_loop *loop, xev_completion *timer, int result,
                                    void *userdata);

static void wheel_arm(xev_conn_service *s, uint32_t tick) {
    if ((s->wheel_armed && s->wheel_next <= tick) || s->loop->deinit) {
        return;
    }
    uint64_t now = s->loop->now_ns, at = (uint64_t)tick << 26;
    uint64_t ms = at > now ? (at - now + 999999) / 1000000 : 0;
    s->wheel_armed = true;
    s->wheel_next = tick;
    xev_timer_reset(NULL, s->loop, &s->timer, NULL, ms, s, on_wheel_timer);
    xev_completion_unref(&s->timer);
}

/* Stand in the bucket of a deadline, or in the last one there is before it. */
static void place(xev_conn *c, uint32_t deadline) {
    xev_conn_service *s = c->service;
    uint32_t tick = deadline;
    if (tick - s->wheel_tick > XEV__WHEEL - 1) {
        tick = s->wheel_tick + XEV__WHEEL - 1;
    }
    wheel_link(c, tick);
    wheel_arm(s, tick);
}

void xev__wheel_sooner(xev_conn *c) {
    xev_conn_service *s = c->service;
    xev_conn_reason reason = XEV_CONN_ENDED;
    uint32_t deadline = next_deadline(c, &reason);
    if (deadline == NEVER || (c->due_tick != 0 && c->due_tick <= deadline) ||
        xev__conn_is(c, XEV__CONN_CLOSING)) {
        return;
    }
    if (!s->wheel_armed) {
        s->wheel_tick = xev__conn_tick(s); /* nobody looked meanwhile, and nobody was there */
    }
    xev__wheel_leave(c);
    place(c, deadline > s->wheel_tick ? deadline : s->wheel_tick + 1);
}

void xev__conn_service_drains(xev_conn *c) {
    uint32_t ms = c->service->options.first_ms;
    if (xev__conn_is(c, XEV__CONN_FRESH) && !xev__conn_is(c, XEV__CONN_EOF) && ms != UINT32_MAX &&
        after(c->opened_tick, ms) > xev__conn_tick(c->service)) {
        xev__wheel_sooner(c);
    } else {
        xev_conn_drain(c);
    }
}

/* ---- time ---- */

/* What its system holds that the peer's has not acknowledged. Below 0: that is not known. */
static int unsent_bytes(const xev_conn *c) {
    xev_fd write_fd = c->more->write_fd;
    return xev__conn_is(c, XEV__CONN_CONNECTING)
               ? 0
               : xev__os_unsent_bytes(write_fd != XEV_INVALID_FD ? write_fd : c->fd);
}

void xev__conn_begin_to_wait(xev_conn *c, struct xev__conn_output *out) {
    int unsent = unsent_bytes(c);
    out->sent_bytes = 0;
    out->taken_bytes = unsent > 0 ? -unsent : 0;
    out->since_tick = xev__conn_tick(c->service);
    xev__wheel_sooner(c);
}

/* Has the peer taken anything since it was last looked at? Its system acknowledges long before the
 * send that waits goes on: that needs a third of the socket's buffer. This is asked when nothing
 * was sent for as long as the deadline; so it does not matter that a transport makes more bytes of
 * it. */
static bool peer_took(xev_conn *c) {
    struct xev__conn_output *out = c->more->out;
    int unsent = unsent_bytes(c);
    if (unsent < 0) {
        return false;
    }
    /* Of a part of a file that is being sent the system has some bytes already. */
    uint64_t of_part = out->file != NULL ? out->file->done_bytes : 0;
    int64_t taken = (int64_t)(out->sent_bytes + of_part) - unsent;
    bool took = taken > out->taken_bytes;
    out->taken_bytes = taken;
    if (took) {
        out->since_tick = c->active_tick = xev__conn_tick(c->service);
    }
    return took;
}

static void expire(xev_conn *c, xev_conn_reason reason) {
    if (reason == XEV_CONN_ENDED) {
        xev__conn_clear(c, XEV__CONN_FRESH);
        xev_conn_drain(c);
        return;
    }
    if (reason == XEV_CONN_WRITE_LATE || reason == XEV_CONN_LINGERED) {
        xev__conn_close(c, reason, 0);
        return;
    }
    if (c->handlers->late != NULL &&
        !xev__conn_is(c, XEV__CONN_PIPED | XEV__CONN_CONNECTING | XEV__CONN_OPENING)) {
        xev__conn_enter(c, NULL, 0);
        c->handlers->late(c, reason);
        xev__conn_leave(c);
    }
    xev__conn_finish_for(c, reason, 0);
}

void xev__wheel_deaf(xev_conn *c) {
    uint32_t now = xev__conn_tick(c->service);
    if (is_deaf(c)) {
        if (now - c->more->out->looked_tick > LOOK_TICKS) {
            c->more->out->looked_tick = now;
        }
        xev__wheel_sooner(c);
    }
}

/* Has the peer reset the connection? Then it is closed. Not every system can tell. */
static bool was_reset(xev_conn *c) {
    int rc = xev__os_pending_error(c->fd);
    if (rc == 0 || rc == XEV_ENOMEM || rc == XEV_ENOBUFS) {
        return false;
    }
    xev__conn_close(c, XEV_CONN_FAILED, rc);
    return true;
}

static void look_at(xev_conn *c) {
    uint32_t now = xev__conn_tick(c->service);
    if (is_deaf(c) && c->more->out->looked_tick + LOOK_TICKS <= now) {
        c->more->out->looked_tick = now;
        if (was_reset(c)) {
            return;
        }
    }
    xev_conn_reason reason = XEV_CONN_ENDED;
    uint32_t deadline = next_deadline(c, &reason);
    bool asks = reason == XEV_CONN_WRITE_LATE || reason == XEV_CONN_IDLE_LATE;
    if (deadline <= now && asks && c->more != NULL && waits_for_peer(c->more) && peer_took(c)) {
        deadline = next_deadline(c, &reason);
    }
    if (deadline == NEVER) {
        return;
    }
    if (deadline > now) {
        place(c, deadline);
        return;
    }
    expire(c, reason);
    if (!xev__conn_is(c, XEV__CONN_CLOSING)) {
        xev__wheel_sooner(c);
    }
}

/* The next bucket after from that is in use, as a tick; 0: none. */
static uint32_t next_used(const xev_conn_service *s, uint32_t from) {
    for (uint32_t i = 1; i <= XEV__WHEEL; i++) {
        uint32_t at = (from + i) % XEV__WHEEL;
        if (at % 64 == 0 && i + 63 <= XEV__WHEEL && s->wheel_used[at / 64] == 0) {
            i += 63;
        } else if ((s->wheel_used[at / 64] >> at % 64 & 1) != 0) {
            return from + i;
        }
    }
    return 0;
}

static xev_cb_action on_wheel_timer(xev_loop *loop, xev_completion *timer, int result,
                                    void *userdata) {
    xev_conn_service *s = userdata;
    (void)loop;
    (void)timer;
    s->wheel_armed = false;
    if (result < 0) {
        return XEV_DISARM; /* the loop ends */
    }
    uint32_t now = xev__conn_tick(s);
    for (uint32_t tick; (tick = next_used(s, s->wheel_tick)) != 0 && tick <= now;) {
        s->wheel_tick = tick;
        /* Those that stay go to other buckets: less than a revolution ahead. */
        for (uint32_t first; (first = s->wheel[tick % XEV__WHEEL]) != 0;) {
            xev_conn *c = xev__conn_at(s, first - 1);
            assert(c->due_tick == tick);
            wheel_unlink(c);
            s->wheel_armed = true; /* place need not arm it: that is done below */
            s->wheel_next = tick;
            look_at(c);
        }
    }
    s->wheel_armed = false;
    s->wheel_tick = now;
    uint32_t next = next_used(s, now);
    if (next != 0) {
        wheel_arm(s, next);
    }
    return XEV_DISARM;
}
