/* The model behind random_test.c: what each operation was asked to do, and what may come of it.
 *
 * A world is one loop with its operations (ops), descriptors (chans) and watchers. Each chan has a
 * peer, a plain descriptor that the test drives. What the peer sends is a pattern of the chan's, so
 * each byte that the loop receives is known; what the loop sends has a pattern for each send, and
 * the peer must find those that were reported as sent, in their order, and nothing else.
 */
#ifndef TESTS_RANDOM_SCENE_H
#define TESTS_RANDOM_SCENE_H

#include <sys/ioctl.h>

#include "tests/net_scene.h"
#include "tests/random.h"

enum {
    OPS = 96,
    SPARE_OPS = 64,
    CHANS = 12,
    ASYNCS = 4,
    HELD = 6,
    CALLERS = 4,
    PIECES = 4,
    HOOKS = 3
};

enum kind { TCP, UNIX, PIPE_IN, PIPE_OUT, UDP, LISTENER, FOREIGN, KINDS };

enum what {
    TIMER,
    ASYNC,
    CANCEL,
    CLOSE,
    POLL,
    POLL_MULTI,
    RECV, /* this and those below are reads */
    RECVV,
    LOAN,
    MULTI,
    ACCEPT,
    ACCEPT_MULTI,
    CONNECT, /* this and those below are writes */
    SEND,
    SENDV,
    SHUT,
};

static const char *const kind_names[] = {"tcp", "unix",     "pipe in", "pipe out",
                                         "udp", "listener", "foreign"};
static const char *const what_names[] = {
    "timer", "async", "cancel", "close",        "poll",    "poll multi", "recv",  "recvv",
    "loan",  "multi", "accept", "accept multi", "connect", "send",       "sendv", "shutdown"};

struct world;

/* How many bytes of a send's pattern are on their way to the peer. */
struct seg {
    uint32_t id, len, at;
};

struct chan {
    struct world *w;
    enum kind kind;
    int fd, peer, port; /* port: of an end that connects; its peer is found by it */
    uint32_t seed;
    bool connecting, connected, refused, was_refused;
    bool closing, closed;      /* by the loop */
    bool shut;                 /* a shutdown was asked for */
    bool peer_shut, peer_gone; /* the peer has shut down, or closed */
    bool peer_eof;             /* the peer has seen the end */
    bool reset;                /* TCP: bytes that are under way may be lost */
    bool broken, slow;         /* the stream ended within a request; the peer reads late */
    uint32_t ops, early_ops; /* active operations; those of them that were begun before the close */
    uint64_t peer_sent, received, written,
        peer_read;      /* bytes; the first two count datagrams for UDP */
    uint32_t sizes[64]; /* UDP: of the datagrams that the peer sent */
    uint64_t order[2];  /* a counter for the operations of each direction */
    struct seg *segs;
    size_t seg_head, seg_len, seg_room;
    uint8_t *in; /* bytes that the peer has read and that are not compared yet */
    size_t in_head, in_len, in_room;
    bool streams; /* only its stream writes to it */
    bool timed;   /* the stream has a time limit */
    xev_stream stream;
    uint64_t low, high; /* the stream's marks */
    bool full;
    uint64_t moved_lo;  /* the last time at which its queue became shorter is this or later */
    uint64_t busy_lo;   /* its queue has not been empty since this time or later */
    bool limit_changed; /* its time-out was changed since then */
    struct req *reqs;   /* oldest first */
    struct {
        int fd, port;
    } callers[CALLERS]; /* plain sockets that wait to be accepted; port 0: none */
};

struct req {
    xev_write_req r;
    struct chan *ch;
    struct req *next;
    uint8_t *buf;
    uint32_t id, len;
    bool cancelled, late, shut;
};

struct async {
    xev_watcher watcher;
    atomic_uint notifies;
    uint32_t seen;
    bool owed; /* its own thread has notified it, and no callback came since */
};

struct job {
    struct world *w;
    xev_completion *c;
    enum what what;
    struct chan *ch;
    uint64_t serial; /* number of the submission, 0: none yet */
    bool active, unref;
    bool taken;   /* its callback will answer XEV_REARM */
    bool stopped; /* it was stopped, or must not start */
    bool late;    /* begun on a chan that was being closed, or during deinit */
    bool invalid;
    uint64_t order;
    uint64_t deadline_lo; /* of xev_completion_set_timeout_ns; 0: none */
    uint8_t *buf;
    uint32_t id, pieces;
    xev_vec vec[PIECES];
    xev_datagram d[PIECES];
    uint32_t mask;
    xev_addr to; /* the address of a connect */
    struct async *async;
    uint32_t owed;      /* turns of the loop since its async was notified */
    struct job *target; /* the operation that a cancel stops */
    uint64_t target_serial;
    bool target_active, target_stopped, target_over;
    int target_result;
    /* Timers. */
    bool repeated;
    uint64_t timeout, lo, hi, armed;
    int result;
};

struct world {
    uint64_t seed, rng;
    bool trace, threads, hosted;
    xev_loop loop;
    xev_loop_options options;
    int in_call;
    bool in_callback, running, stop;
    bool preparing;     /* between prepare_wait and the end of a host's wait */
    bool deinit, quiet; /* quiet: no new operation is begun */
    uint32_t budget;    /* how many operations may still be begun during deinit */
    bool few, was_few;  /* no descriptor is left, now or at an earlier time */
    uint64_t serial, callbacks, armed;
    uint32_t patterns;
    uint32_t active;
    struct job ops[OPS + SPARE_OPS]; /* the first one guards waits */
    struct chan *chans[CHANS];
    struct {
        xev_hook hook;
        xev_hook_when when;
        bool added;
        uint64_t number; /* counts up with every hook that is added */
    } hooks[HOOKS];
    uint64_t hooks_added, last_hook[XEV_HOOK_TIMES], hook_turn[XEV_HOOK_TIMES];
    uint64_t run_began;
    bool mostly_streams;
    bool brief;                 /* waits are short */
    struct async *asyncs;       /* bound to the loop */
    struct async *their_asyncs; /* bound to another loop: they are only notified */
    struct {
        xev_buf buf;
        uint32_t seed;
        uint64_t at;
        bool udp;
    } held[HELD];
    uint32_t held_len;
    int plain; /* a listener of the test's own, to which the loop connects */
    int deaf;  /* a bound socket that does not listen */
    xev_addr plain_addr, deaf_addr;
};

#define OP_HOLDS(op, cond)                                                                         \
    ((cond) ? (void)0                                                                              \
            : CHECK_FAIL("seed %" PRIu64 ": %s #%" PRIu64 " on %s, result %d: not true: %s",       \
                         (op)->w->seed, what_names[(op)->what], (op)->serial,                      \
                         (op)->ch != NULL ? kind_names[(op)->ch->kind] : "none", (op)->result,     \
                         #cond))

/* A random number. Small ones come more often. */
static inline uint32_t size_up_to(struct world *w, uint32_t max) {
    static const uint32_t scales[] = {16, 256, 4096, 65536};
    uint32_t scale = scales[below(w, 4)];
    return 1 + below(w, scale < max ? scale : max);
}

static inline bool is_read(enum what what) { return what >= RECV && what < CONNECT; }
static inline bool is_write(enum what what) { return what >= CONNECT; }
static inline bool is_transfer(enum what what) {
    return what == RECV || what == RECVV || what == SEND || what == SENDV;
}
static inline bool is_multi(enum what what) {
    return what == MULTI || what == ACCEPT_MULTI || what == POLL_MULTI;
}
static inline bool is_stream_socket(const struct chan *ch) {
    return ch->kind == TCP || ch->kind == UNIX;
}

static void *grown(void *p, size_t *room, size_t need, size_t size) {
    if (need > *room) {
        *room = 2 * need;
        p = realloc(p, *room * size);
        CHECK(p != NULL);
    }
    return p;
}

/* ---- bytes from the loop to the peer ---- */

static void compare(struct chan *ch) {
    while (ch->seg_head < ch->seg_len && ch->in_head < ch->in_len) {
        struct seg *s = &ch->segs[ch->seg_head];
        size_t n = ch->in_len - ch->in_head;
        n = n < s->len - s->at ? n : s->len - s->at;
        if (!pattern_is(ch->in + ch->in_head, n, s->id, s->at)) {
            CHECK_FAIL("seed %" PRIu64 ": the peer of a %s got other bytes than were sent",
                       ch->w->seed, kind_names[ch->kind]);
        }
        ch->in_head += n;
        s->at += (uint32_t)n;
        ch->seg_head += s->at == s->len;
    }
    if (ch->in_head == ch->in_len) {
        ch->in_head = ch->in_len = 0;
    }
    if (ch->seg_head == ch->seg_len) {
        ch->seg_head = ch->seg_len = 0;
    }
}

static void sent(struct chan *ch, uint32_t id, uint32_t len) {
    ch->written += len;
    if (len == 0 || ch->peer_gone) {
        return;
    }
    ch->segs = grown(ch->segs, &ch->seg_room, ch->seg_len + 1, sizeof *ch->segs);
    ch->segs[ch->seg_len++] = (struct seg){id, len, 0};
    compare(ch);
}

/* Read what has arrived at the peer. False: nothing had. */
static bool peer_read(struct chan *ch) {
    static _Thread_local uint8_t data[16384];
    if (ch->peer < 0 || ch->peer_eof || ch->kind == PIPE_IN || ch->kind == FOREIGN) {
        return false;
    }
    size_t want = ch->slow ? 1 + below(ch->w, 512) : sizeof data;
    want = ch->kind == UDP ? sizeof data : want;
    ssize_t n = read(ch->peer, data, want);
    if (n < 0 && errno == EAGAIN) {
        return false;
    }
    if (n <= 0 && ch->kind != UDP) {
        HOLDS(ch->w, n == 0 || (errno == ECONNRESET && is_stream_socket(ch)));
        HOLDS(ch->w, n == 0 ? ch->shut || ch->closing || ch->reset
                            : ch->reset || (ch->closing && ch->received < ch->peer_sent));
        ch->reset |= n < 0;
        ch->peer_eof = true;
        return false;
    }
    HOLDS(ch->w, n >= 0);
    ch->peer_read += (uint64_t)n;
    ch->in = grown(ch->in, &ch->in_room, ch->in_len + (size_t)n, 1);
    memcpy(ch->in + ch->in_len, data, (size_t)n);
    ch->in_len += (size_t)n;
    compare(ch);
    return true;
}

/* Check that everything that was sent has arrived. */
static void check_all_sent(struct chan *ch) {
    if (!ch->reset && !ch->peer_gone && ch->peer >= 0 && ch->kind != PIPE_IN) {
        HOLDS(ch->w, ch->in_head == ch->in_len);
        HOLDS(ch->w, ch->seg_head == ch->seg_len);
    }
}

/* ---- bytes from the peer to the loop ---- */

static void peer_feed_datagram(struct chan *ch) {
    uint8_t data[1400];
    struct world *w = ch->w;
    if (ch->peer_sent - ch->received >= 40) {
        return; /* or the kernel would drop some */
    }
    uint32_t len = one_in(w, 8) ? 0 : 1 + below(w, sizeof data);
    pattern_fill(data, len, ch->seed + (uint32_t)ch->peer_sent, 0);
    ch->sizes[ch->peer_sent++ % 64] = len;
    HOLDS(w, send(ch->peer, data, len, MSG_DONTWAIT) == (ssize_t)len);
}

static void peer_feed(struct chan *ch) {
    uint8_t data[8192];
    struct world *w = ch->w;
    if (ch->peer < 0 || ch->peer_shut || ch->closed || ch->kind == PIPE_OUT) {
        return;
    }
    if (ch->kind == UDP) {
        peer_feed_datagram(ch);
        return;
    }
    uint32_t len = size_up_to(w, sizeof data);
    pattern_fill(data, len, ch->seed, ch->peer_sent);
    ssize_t n = write(ch->peer, data, len);
    if (n < 0) {
        HOLDS(w, errno == EAGAIN || (ch->reset && (errno == EPIPE || errno == ECONNRESET)));
        return;
    }
    ch->peer_sent += (uint64_t)n;
}

static void peer_shut(struct chan *ch) {
    if (ch->peer >= 0 && is_stream_socket(ch) && !ch->peer_shut && !ch->closed) {
        CHECK(shutdown(ch->peer, SHUT_WR) == 0 || ch->reset);
        ch->peer_shut = true;
    }
}

static bool writes(const struct chan *ch) {
    for (int i = 0; i < OPS + SPARE_OPS; i++) {
        const struct job *op = &ch->w->ops[i];
        if (op->active && op->ch == ch && is_write(op->what)) {
            return true;
        }
    }
    return ch->reqs != NULL;
}

static void peer_close(struct chan *ch) {
    if (ch->peer < 0 || ch->peer_gone || ch->kind == UDP || ch->kind == LISTENER) {
        return;
    }
    int unread = 0;
    if (ch->kind == TCP) {
        CHECK_EQ(ioctl(ch->peer, FIONREAD, &unread), 0);
        bool hard = one_in(ch->w, 3);
        ch->reset |= hard || unread > 0 || writes(ch) || ch->written != ch->peer_read;
        if (hard) {
            struct linger l = {.l_onoff = 1, .l_linger = 0};
            CHECK_EQ(setsockopt(ch->peer, SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
        }
    }
    CHECK_EQ(close(ch->peer), 0);
    ch->peer = -1;
    ch->peer_gone = ch->peer_shut = true;
}

/* ---- which results an operation may have ---- */

static void check_received(struct job *op, const void *data, uint32_t len) {
    struct chan *ch = op->ch;
    OP_HOLDS(op, ch->received + len <= ch->peer_sent);
    OP_HOLDS(op, pattern_is(data, len, ch->seed, ch->received));
    ch->received += len;
}

/* Now and then keep the buffer that was lent. */
static void hold(struct job *op, uint32_t seed, uint64_t at) {
    struct world *w = op->w;
    if (!w->deinit && !w->quiet && w->held_len < HELD && one_in(w, 4)) {
        w->held[w->held_len].buf = xev_buf_take(&w->loop);
        w->held[w->held_len].seed = seed;
        w->held[w->held_len++].at = at;
    }
}

static void release_held(struct world *w) {
    if (w->held_len > 0) {
        uint32_t i = below(w, w->held_len);
        xev_buf buf = w->held[i].buf;
        HOLDS(w, pattern_is(buf.data, buf.len_bytes, w->held[i].seed, w->held[i].at));
        CALL(w, xev_buf_release(&w->loop, buf));
        w->held[i] = w->held[--w->held_len];
    }
}

static void check_datagram(struct job *op, const xev_datagram *d, int result) {
    struct chan *ch = op->ch;
    OP_HOLDS(op, result >= 0 && ch->received < ch->peer_sent);
    uint32_t seed = ch->seed + (uint32_t)ch->received, len = ch->sizes[ch->received++ % 64];
    uint32_t room =
        op->what == MULTI ? op->w->options.buffer_bytes - XEV_DATAGRAM_OVERHEAD : d->capacity_bytes;
    OP_HOLDS(op, (uint32_t)result == (len < room ? len : room));
    OP_HOLDS(op, d->len_bytes == (uint32_t)result && d->truncated == (len > room));
    OP_HOLDS(op, result == 0 || pattern_is(d->buf, d->len_bytes, seed, 0));
    if (op->what == MULTI && result > 0) {
        OP_HOLDS(op, d->buf == xev_buf_data(&op->w->loop));
        hold(op, seed, 0);
    }
}

static void check_datagrams(struct job *op) {
    if (op->what != RECVV) {
        check_datagram(op, op->d, op->result);
        return;
    }
    OP_HOLDS(op, op->result > 0 && (uint32_t)op->result <= op->pieces);
    for (int i = 0; i < op->result; i++) {
        check_datagram(op, &op->d[i], (int)op->d[i].len_bytes);
    }
}

static void check_recv(struct job *op) {
    struct chan *ch = op->ch;
    int result = op->result;
    if (result > 0 && (op->what == LOAN || op->what == MULTI)) {
        uint64_t at = ch->received;
        OP_HOLDS(op, (uint32_t)result <= op->w->options.buffer_bytes);
        check_received(op, xev_buf_data(&op->w->loop), (uint32_t)result);
        hold(op, ch->seed, at);
        return;
    }
    uint32_t left = result > 0 ? (uint32_t)result : 0;
    for (uint32_t i = 0; i < op->pieces && left > 0; i++) {
        uint32_t n = left < op->vec[i].len_bytes ? left : (uint32_t)op->vec[i].len_bytes;
        check_received(op, op->vec[i].base, n);
        left -= n;
    }
    OP_HOLDS(op, left == 0);
    if (result > 0) {
        return;
    }
    if (result == XEV_ENOTCONN) {
        OP_HOLDS(op, ch->kind == TCP && (ch->connecting || !ch->connected));
        return;
    }
    if (result == XEV_ECONNREFUSED) {
        OP_HOLDS(op, ch->refused || ch->was_refused);
        return;
    }
    OP_HOLDS(op, result == XEV_EOF || result == XEV_ECONNRESET);
    OP_HOLDS(op, ch->peer_shut || ch->reset || !ch->connected);
    OP_HOLDS(op, ch->reset || !ch->connected || ch->received == ch->peer_sent);
    OP_HOLDS(op, result == XEV_EOF || ch->reset || (ch->kind == UNIX && ch->peer_gone));
}

/* Whether a write to ch may fail with code. */
static bool may_fail(const struct chan *ch, int code) {
    if ((ch->refused || ch->was_refused) && code == XEV_ECONNREFUSED) {
        return true; /* the first call after the error reports it */
    }
    bool ended = ch->shut || ch->peer_gone || ch->reset || ch->broken || !ch->connected;
    return ended && (code == XEV_EPIPE || (code == XEV_ECONNRESET && is_stream_socket(ch)));
}

/* Both ways, so that there is nothing to shut down. */
static bool may_be_over(const struct chan *ch) {
    return ch->kind == TCP && (ch->peer_shut || ch->reset || !ch->connected);
}

static void check_send(struct job *op) {
    uint32_t len = 0;
    for (uint32_t i = 0; i < op->pieces; i++) {
        len += (uint32_t)op->vec[i].len_bytes;
    }
    if (op->result < 0) {
        OP_HOLDS(op, may_fail(op->ch, op->result));
        return;
    }
    if (op->ch->kind != UDP) {
        OP_HOLDS(op, (uint32_t)op->result <= len && op->result > 0);
        sent(op->ch, op->id, (uint32_t)op->result);
        return;
    }
    if (op->what == SEND) {
        OP_HOLDS(op, (uint32_t)op->result == len);
    } else {
        OP_HOLDS(op, op->result > 0 && (uint32_t)op->result <= op->pieces);
        len = 0;
        for (int i = 0; i < op->result; i++) {
            len += (uint32_t)op->vec[i].len_bytes;
        }
    }
    sent(op->ch, op->id, len);
    while (peer_read(op->ch)) { /* or the kernel would drop some */
    }
}

/* Else the timer that was armed first has the earlier deadline. */
static bool same_deadline(const struct job *a, const struct job *b) {
    bool at_once = a->timeout == 0; /* repeated: in the next turn */
    return a->timeout == b->timeout && a->repeated == b->repeated && (!a->repeated || at_once);
}

static void check_timer(struct job *op) {
    OP_HOLDS(op, op->result == 0);
    OP_HOLDS(op, clock_ns() >= op->lo);
    for (int i = 0; i < OPS + SPARE_OPS; i++) {
        const struct job *o = &op->w->ops[i];
        if (o != op && o->active && o->what == TIMER && !o->stopped) {
            OP_HOLDS(op, o->hi >= op->lo); /* or it was due before */
            OP_HOLDS(op, !same_deadline(o, op) || o->armed > op->armed);
        }
    }
}

static void check_cancel(struct job *op) {
    OP_HOLDS(op, op->result == 0 || op->result == XEV_ENOENT);
    OP_HOLDS(op, op->target_over || !op->target_active);
    if (op->result == 0) {
        OP_HOLDS(op, op->target_active && op->target_result == XEV_ECANCELED);
        OP_HOLDS(op, !op->target_stopped);
    } else if (op->target_active && !op->target_stopped) {
        OP_HOLDS(op, op->target_result != XEV_ECANCELED);
    }
}

static void check_close(struct job *op) {
    struct chan *ch = op->ch;
    if (op->invalid) {
        OP_HOLDS(op, op->result == XEV_EBADF);
        return;
    }
    OP_HOLDS(op, op->result == 0);
    OP_HOLDS(op, ch->early_ops == 0);
    for (int i = 0; i < OPS + SPARE_OPS; i++) {
        const struct job *o = &op->w->ops[i];
        OP_HOLDS(op, !(o->active && o->what == CANCEL && o->target_active && !o->target->late &&
                       !o->target->invalid && o->target->serial == o->target_serial &&
                       o->target->ch == ch && o->target->what > CLOSE));
    }
    for (const struct req *r = ch->reqs; r != NULL; r = r->next) {
        OP_HOLDS(op, r->late);
    }
    OP_HOLDS(op, op->w->threads || !is_open(ch->fd));
    ch->closed = true;
    ch->fd = -1;
}

static void check_poll(struct job *op) {
    struct chan *ch = op->ch;
    OP_HOLDS(op, op->result > 0);
    OP_HOLDS(op, ((uint32_t)op->result & ~(op->mask | XEV_POLL_HUP | XEV_POLL_ERR)) == 0);
    if (ch->kind == FOREIGN) { /* from which nobody reads */
        OP_HOLDS(op, (op->result & XEV_POLL_IN) == 0 || ch->peer_sent > 0 || ch->peer_shut);
        OP_HOLDS(op, (op->result & XEV_POLL_HUP) == 0 || ch->peer_shut);
    }
}

static void accepted(struct job *op);

/* Check a result other than XEV_ECANCELED and XEV_ETIMEDOUT. */
static void check_result(struct job *op) {
    struct chan *ch = op->ch;
    if (op->what != CLOSE && op->invalid) {
        OP_HOLDS(op, op->result == XEV_EINVAL);
        return;
    }
    switch (op->what) {
    case TIMER:
        check_timer(op);
        return;
    case ASYNC:
        if (op->result == 0) {
            op->async->seen++;
            op->async->owed = false;
            OP_HOLDS(op, op->async->seen <= atomic_load(&op->async->notifies));
        } else {
            OP_HOLDS(op, op->result == XEV_EBUSY && op->target_active);
        }
        return;
    case CANCEL:
        check_cancel(op);
        return;
    case CLOSE:
        check_close(op);
        return;
    case POLL:
    case POLL_MULTI:
        check_poll(op);
        return;
    case ACCEPT:
    case ACCEPT_MULTI:
        if (op->result == XEV_EMFILE) {
            OP_HOLDS(op, op->w->was_few);
        } else {
            OP_HOLDS(op, op->result >= 0);
            accepted(op);
        }
        return;
    case CONNECT:
        OP_HOLDS(op, op->result == 0 || op->result == XEV_EADDRNOTAVAIL ||
                         (op->result == XEV_ECONNRESET && ch->reset) ||
                         /* Linux, of a socket that was refused before */
                         (op->result == XEV_ECONNABORTED && ch->was_refused) ||
                         (op->result == XEV_ECONNREFUSED && ch->refused) ||
                         (op->result == XEV_ENOTCONN && (ch->refused || ch->reset)));
        OP_HOLDS(op, op->result != 0 || !ch->refused);
        ch->connected = op->result == 0;
        return;
    case SHUT:
        OP_HOLDS(op, op->result == 0 || (op->result == XEV_ENOTCONN && may_be_over(ch)));
        return;
    case SEND:
    case SENDV:
        check_send(op);
        return;
    default:
        if (ch->kind == UDP) {
            check_datagrams(op);
        } else {
            check_recv(op);
        }
    }
}

/* ---- the life of an operation ---- */

/* The operation is active from the call that follows. */
static void begin(struct job *op) {
    struct world *w = op->w;
    struct chan *ch = op->ch;
    op->serial = ++w->serial;
    op->active = true;
    op->stopped = w->deinit && op->what != CANCEL && op->what != CLOSE;
    op->late = op->unref = op->target_active = false;
    op->deadline_lo = 0;
    op->owed = 0;
    for (int i = 0; i < OPS && op->what == ASYNC; i++) {
        op->target_active |= w->ops[i].active && w->ops[i].what == ASYNC && &w->ops[i] != op &&
                             w->ops[i].async == op->async;
    }
    w->active++;
    if (ch == NULL) {
        return;
    }
    op->late = ch->closing || w->deinit;
    op->stopped |= op->late && op->what != CLOSE;
    ch->ops++;
    ch->early_ops += !op->late && op->what != CLOSE;
    op->order = ++ch->order[is_write(op->what)];
    if (is_write(op->what)) {
        ch->shut |= op->what == SHUT;
        ch->reset |= ch->peer_gone && ch->kind == TCP;
    }
}

/* Results come in order, except for those of stopped operations. */
static void check_order(struct job *op) {
    if (op->ch == NULL || op->stopped || op->invalid || op->what < RECV) {
        return;
    }
    uint64_t now = clock_ns();
    for (int i = 0; i < OPS + SPARE_OPS; i++) {
        const struct job *o = &op->w->ops[i];
        if (o->active && o->ch == op->ch && o->what >= RECV && !o->stopped && !o->invalid &&
            is_write(o->what) == is_write(op->what)) {
            bool due = o->deadline_lo != 0 && o->deadline_lo <= now;
            OP_HOLDS(op, due || o->order > op->order);
        }
    }
}

/* The terminal callback has been entered. */
static void end(struct job *op) {
    struct world *w = op->w;
    op->active = false;
    w->active--;
    if (op->ch != NULL) {
        op->ch->ops--;
        op->ch->early_ops -= !op->late && op->what != CLOSE;
    }
    if (op->result != XEV_ECANCELED && op->result != XEV_ETIMEDOUT) {
        check_order(op);
    }
    for (int i = 0; i < OPS + SPARE_OPS; i++) {
        struct job *o = &w->ops[i];
        if (o->active && o->what == CANCEL && o->target == op && o->target_active &&
            o->target_serial == op->serial) {
            OP_HOLDS(op, !o->target_over);
            o->target_over = true;
            o->target_result = op->result;
        }
    }
}

/* The completion is dead: nobody may look at it, so it may be anything, or nothing. */
static void bury(struct job *op) {
    free(op->buf);
    op->buf = NULL;
    if (one_in(op->w, 3)) {
        free(op->c);
        op->c = NULL;
    } else if (one_in(op->w, 3)) {
        xev_completion_zero(op->c);
    } else {
        memset(op->c, 0xa5, sizeof *op->c);
    }
}

static void check_callback(struct job *op, xev_loop *loop, xev_completion *c, int result) {
    struct world *w = op->w;
    bool more = xev_completion_more(c);
    op->result = result;
    OP_HOLDS(op, c == op->c && loop == &w->loop);
    OP_HOLDS(op, w->running && w->in_call == 0 && !w->in_callback);
    OP_HOLDS(op, op->active);
    OP_HOLDS(op, xev_completion_state(c) == (more ? XEV_COMPLETION_ACTIVE : XEV_COMPLETION_DEAD));
    bool waits = op->what == ACCEPT_MULTI && result == XEV_EMFILE;
    OP_HOLDS(op, !more || ((result >= 0 || waits) && is_multi(op->what)));
    OP_HOLDS(op, more || (result < 0 && !waits) || !is_multi(op->what));
    TRACE(w, "    %s #%" PRIu64 " %s %d: %d%s\n", what_names[op->what], op->serial,
          op->ch != NULL ? kind_names[op->ch->kind] : "", op->ch != NULL ? op->ch->fd : -1, result,
          more ? " more" : "");
    w->callbacks++;
    if (result == XEV_ECANCELED) {
        OP_HOLDS(op, op->stopped && op->what != CANCEL && op->what != CLOSE);
    } else if (result == XEV_ETIMEDOUT) {
        OP_HOLDS(op, op->deadline_lo != 0 && clock_ns() >= op->deadline_lo);
    } else {
        check_result(op);
    }
    if (!more) {
        end(op);
    }
}

#endif
