/* Asks: requests in memory of the asking shard's pool.
 *
 * An ask is in one of three states. WAITS: the mailbox of its shard is full, and it stands in the
 * queue of those that wait for that shard. SENT: it is a request that is under way. OVER: its
 * callback has been called before there was an answer (the deadline, a cancel, the end of the
 * shard), and its memory waits for the request to come back; or, where it had not been sent, for
 * its turn in the queue. One that is cancelled is given up by the timer, at once, as one whose
 * deadline has passed.
 *
 * A queue of waiting asks has a request of its own under way, which its shard answers when its
 * mailbox has room (xev__await_room). That request needs no room itself, and a shard that handles
 * its mailbox waits for nothing. So of shards that wait for each other's room each comes to give
 * some.
 *
 * Threads. Everything here is the asking shard's, except for the request, fn and the argument,
 * which are the asked shard's while the request is there, and the fields of the answer, which are
 * its to write. They change hands with the request, by the mailboxes. Both write `watch`, whose
 * bits decide whether the asked shard is sent a note when the ask is given up. The note is memory
 * of the ask, so where one is to come the asked shard replies behind it. An answer that does not
 * fit behind the argument stands in a block of the asked shard's pool. The asking shard gives it
 * back by the queue `returned` of that shard, which its owner empties when it needs blocks: a
 * message would wake the owner for nothing.
 */
#include <assert.h>
#include <ck_pr.h>
#include <stddef.h>
#include <string.h>

#include "shard/ask.h"
#include "shard/internal.h"
#include "xev/ask.h"

#define ANSWER_ROOM 64u /* for an answer behind the argument, at least */
#define TICK_SHIFT 4    /* deadlines are looked at every 16 ms */
#define WHEEL 256u      /* ticks of one revolution; later ones are looked at once in each */
#define QUEUES 64u      /* lists of queues, by the number of the shard they wait for */
#define TAKE_BACK 4u    /* blocks that are taken back for one that is needed */

enum { ASK_WAITS, ASK_SENT, ASK_OVER };

/* Bits of watch. Each is set once, and none is cleared. A note is sent if the asking shard finds
 * WATCHED and not ANSWERED when it sets GONE. The asked shard knows that from what it finds when it
 * sets the other one of the two. */
enum {
    GONE = 1,     /* by the asking shard: nobody waits any more */
    WATCHED = 2,  /* by the asked one, as are the others: it wants the note */
    ANSWERED = 4, /* with WATCHED */
    TOLD = 8,     /* it has the note, or had no need of it: the ask was gone when it was watched */
};

struct ring {
    struct ring *next, *prev;
};

/* Of an answer. */
struct answer_block {
    xev_mpsc_node node;
    struct xev__asks *owner;
    uint32_t block_bytes;
    _Alignas(max_align_t) uint8_t data[];
};

struct xev_ask {
    xev_request request; /* its arg: what over is given */
    union {
        xev_ask_fn fn;
        xev_ask_over_fn over; /* once it is watched */
    };
    uint32_t argument_bytes, block_bytes;
    /* The answer's. */
    uint8_t *answer; /* NULL: no room was asked for */
    struct answer_block *block;
    uint32_t answer_bytes, answer_room;
    /* The asking shard's. */
    struct ring order; /* of asks that are not over, or of those that are */
    union {
        struct {
            struct ring timed; /* in the wheel, or of those cancelled; next is NULL: in none */
            uint64_t due_tick;
        };
        xev_message note; /* OVER */
    };
    xev_answer_fn answered;
    void *userdata;
    uint32_t watch;     /* atomic */
    uint32_t name : 28; /* 0: it has no handle */
    uint32_t state : 2;
    uint32_t cancelled : 1;
    uint32_t tells : 1;                   /* a note is to be sent */
    _Alignas(max_align_t) uint8_t data[]; /* the argument, and room for an answer */
};

_Static_assert(sizeof(void *) != 8 || sizeof(xev_ask) + 16 + ANSWER_ROOM <= 256, "a block of 256");

/* Asks that wait for room in one mailbox. */
struct waiting {
    xev_request room;
    struct waiting *next; /* in its list */
    xev_shard *to;
    xev_ask *first, *last; /* by the node of the request's message */
};

/* What a shard has once it has asked, or answered at length. */
struct xev__asks {
    xev_mpsc returned; /* answer blocks of its own; any shard pushes */
    struct xev__blocks blocks;
    uint32_t count;        /* whose memory is in use */
    uint64_t answer_bytes; /* of answer blocks that are not taken back yet */
    struct ring going, over;
    struct ring cancelled; /* which the timer gives up */
    struct xev__chunks names;
    struct waiting *waiting[QUEUES];
    struct ring wheel[WHEEL];
    uint32_t timed;
    uint64_t looked_tick; /* the wheel was looked at up to here */
    uint64_t timer_tick;  /* when the timer fires; 0: it is not armed */
    xev_completion timer;
};

/* ---- rings ---- */

static void ring_init(struct ring *r) { r->next = r->prev = r; }

static void ring_append(struct ring *r, struct ring *item) {
    assert(r->prev->next == r);
    item->next = r;
    item->prev = r->prev;
    r->prev->next = item;
    r->prev = item;
}

static void ring_remove(struct ring *item) {
    assert(item->next->prev == item && item->prev->next == item);
    item->next->prev = item->prev;
    item->prev->next = item->next;
    item->next = item->prev = NULL;
}

static xev_ask *ask_of_request(xev_request *r) {
    return (xev_ask *)(void *)((char *)r - offsetof(xev_ask, request));
}

static xev_ask *ask_of_order(struct ring *r) {
    return (xev_ask *)(void *)((char *)r - offsetof(xev_ask, order));
}

static xev_ask *ask_of_timed(struct ring *r) {
    return (xev_ask *)(void *)((char *)r - offsetof(xev_ask, timed));
}

/* ---- memory ---- */

/* The asks of s, made if need be; NULL: no memory. */
static struct xev__asks *asks_of(xev_shard *s) {
    assert(xev__current_shard == s);
    if (s->asks != NULL) {
        return s->asks;
    }
    const xev_allocator *allocator = &s->rt->options.loop.allocator;
    struct xev__asks *a = xev__alloc_zeroed(allocator, sizeof *a, XEV_MPSC_CACHE_LINE);
    if (a == NULL) {
        return NULL;
    }
    xev_mpsc_init(&a->returned);
    a->blocks.loop = &s->loop;
    ring_init(&a->going);
    ring_init(&a->over);
    ring_init(&a->cancelled);
    for (uint32_t i = 0; i < WHEEL; i++) {
        ring_init(&a->wheel[i]);
    }
    s->asks = a;
    return a;
}

bool xev__asks_left(const xev_shard *s, uint32_t n) {
    uint32_t used = s->asks != NULL ? s->asks->count : 0, most = s->rt->options.asks;
    return used <= most && n <= most - used;
}

void *xev__asks_get_block(xev_shard *s, size_t bytes, uint32_t *block_bytes) {
    struct xev__asks *a = asks_of(s);
    return a != NULL ? xev__blocks_get(&a->blocks, bytes, block_bytes) : NULL;
}

void xev__asks_put_block(xev_shard *s, void *block, uint32_t block_bytes) {
    xev__blocks_put(&s->asks->blocks, block, block_bytes);
}

/* False: there was none to take back. */
static bool take_back(struct xev__asks *a) {
    xev_mpsc_node *node = xev_mpsc_pop(&a->returned);
    if (node == NULL) {
        return false;
    }
    struct answer_block *b = (struct answer_block *)(void *)node;
    assert(b->owner == a && a->answer_bytes >= b->block_bytes);
    a->answer_bytes -= b->block_bytes;
    xev__blocks_put(&a->blocks, b, b->block_bytes);
    return true;
}

/* Beyond most bytes there is one only where it is the only one. NULL: no memory. */
static struct answer_block *make_block(struct xev__asks *a, size_t len_bytes, uint64_t most) {
    for (uint32_t i = 0; i < TAKE_BACK && take_back(a); i++) {
    }
    while (a->answer_bytes > 0 && a->answer_bytes + len_bytes > most && take_back(a)) {
    }
    if (a->answer_bytes > 0 && a->answer_bytes + len_bytes > most) {
        return NULL;
    }
    uint32_t bytes;
    struct answer_block *b = xev__blocks_get(&a->blocks, sizeof *b + len_bytes, &bytes);
    if (b != NULL) {
        b->owner = a;
        b->block_bytes = bytes;
        a->answer_bytes += bytes;
    }
    return b;
}

/* Any shard. The owner's pool lasts until all shards have ended. */
static void give_block_back(xev_ask *ask) {
    if (ask->block != NULL) {
        (void)xev_mpsc_push(&ask->block->owner->returned, &ask->block->node);
        ask->block = NULL;
    }
}

static void free_ask(xev_shard *s, xev_ask *ask) {
    struct xev__asks *a = s->asks;
    assert(a->count > 0 && ask->name == 0);
    ck_pr_store_32(&s->asks_now, --a->count);
    ring_remove(&ask->order);
    give_block_back(ask);
    xev__blocks_put(&a->blocks, ask, ask->block_bytes);
}

void xev__asks_give_back(xev_shard *s) {
    struct xev__asks *a = s->asks;
    assert(a == NULL || a->going.next == &a->going); /* cancelled at the end of its loop */
    for (struct ring *r = a != NULL ? a->over.next : NULL; r != NULL && r != &a->over;) {
        xev_ask *ask = ask_of_order(r);
        r = r->next;
        free_ask(s, ask);
    }
}

void xev__asks_free(xev_shard *s) {
    struct xev__asks *a = s->asks;
    if (a != NULL) {
        while (take_back(a)) {
        }
        xev__blocks_free(&a->blocks);
        xev__names_free(&a->names);
        xev__free(&s->rt->options.loop.allocator, a, sizeof *a);
        s->asks = NULL;
    }
}

/* ---- the end of an ask ---- */

/* The asking shard does not find it any more, by its deadline or its handle. */
static void forget_ask(struct xev__asks *a, xev_ask *ask) {
    if (ask->timed.next != NULL) {
        assert(ask->cancelled || a->timed > 0);
        a->timed -= !ask->cancelled;
        ring_remove(&ask->timed);
    }
    if (ask->name != 0) {
        xev__name_forget(&a->names, ask->name);
        ask->name = 0;
    }
}

/* Call its callback. Its memory is freed by the caller, or when the request comes back. */
static void end_ask(xev_shard *self, xev_ask *ask, int result, const void *answer, size_t len) {
    struct xev__asks *a = self->asks;
    assert(ask->state != ASK_OVER && xev__current_shard == self);
    forget_ask(a, ask);
    if (ask->cancelled && result == XEV_ECANCELED) {
        xev__count_up(&self->asks_cancelled, 1);
    }
    ask->state = ASK_OVER;
    ring_remove(&ask->order);
    ring_append(&a->over, &ask->order);
    xev__note_call(&self->loop, XEV__CODE(ask->answered));
    ask->answered(self, result, answer, len, ask->userdata);
}

static uint32_t set_watch(xev_ask *ask, uint32_t bit) {
    return __atomic_fetch_or(&ask->watch, bit, __ATOMIC_RELAXED);
}

static uint32_t watch_of(const xev_ask *ask) {
    return __atomic_load_n(&ask->watch, __ATOMIC_RELAXED);
}

/* The asked shard can see it from now on. */
static void set_gone(xev_ask *ask) {
    ask->tells = (set_watch(ask, GONE) & (WATCHED | ANSWERED)) == WATCHED;
}

static void take_note(xev_shard *self, xev_message *note, void *arg);

/* End it before there is an answer. */
static void give_up_ask(xev_shard *self, xev_ask *ask, int code) {
    self->replies_dropped += ask->state == ASK_SENT;
    if (!ask->cancelled) {
        set_gone(ask);
    }
    end_ask(self, ask, code, NULL, 0);
    if (ask->tells) {
        /* Where that shard has ended by now it has nothing to give up. */
        (void)xev__send_beyond(ask->request.to, &ask->note, take_note, ask);
    }
}

static void on_ask_reply(xev_shard *self, xev_request *request, int result, void *arg) {
    xev_ask *ask = ask_of_request(request);
    (void)arg;
    if (ask->state == ASK_SENT) {
        end_ask(self, ask, result, ask->answer_bytes > 0 ? ask->answer : NULL, ask->answer_bytes);
    } else {
        assert(self->replies_dropped > 0);
        self->replies_dropped--;
    }
    free_ask(self, ask);
}

/* ---- deadlines ---- */

static uint64_t tick_now(void) { return xev__now_ms() >> TICK_SHIFT; }

static xev_cb_action on_ask_timer(xev_loop *loop, xev_completion *c, int result, void *userdata);

static void arm_ask_timer(xev_shard *self, uint64_t tick) {
    struct xev__asks *a = self->asks;
    if (a->timer_tick != 0 && a->timer_tick <= tick) {
        return;
    }
    uint64_t now_ms = xev__now_ms(), at_ms = (tick << TICK_SHIFT) + 1;
    a->timer_tick = tick;
    xev_timer_reset(NULL, &self->loop, &a->timer, NULL, at_ms > now_ms ? at_ms - now_ms : 0, self,
                    on_ask_timer);
    xev_completion_unref(&a->timer); /* the asks themselves hold the drain */
}

/* Where the wheel has anything, arm the timer for the first of it. */
static void arm_for_next(xev_shard *self) {
    struct xev__asks *a = self->asks;
    for (uint64_t tick = a->looked_tick + 1; a->timed > 0 && tick <= a->looked_tick + WHEEL;
         tick++) {
        const struct ring *slot = &a->wheel[tick % WHEEL];
        if (slot->next != slot) {
            arm_ask_timer(self, tick);
            return;
        }
    }
    assert(a->timed == 0);
}

static void set_ask_deadline(xev_shard *self, xev_ask *ask, uint32_t timeout_ms) {
    struct xev__asks *a = self->asks;
    uint64_t now_ms = xev__now_ms();
    if (a->timed++ == 0) {
        a->looked_tick = now_ms >> TICK_SHIFT;
    }
    /* Rounded up: the clock does not tell parts of a millisecond. */
    ask->due_tick = ((now_ms + timeout_ms) >> TICK_SHIFT) + 1;
    ring_append(&a->wheel[ask->due_tick % WHEEL], &ask->timed);
    uint64_t first = a->looked_tick + WHEEL; /* by then the whole wheel is looked at */
    arm_ask_timer(self, ask->due_tick < first ? ask->due_tick : first);
}

static xev_cb_action on_ask_timer(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_shard *self = userdata;
    struct xev__asks *a = self->asks;
    (void)loop;
    (void)c;
    a->timer_tick = 0;
    if (result < 0) {
        return XEV_DISARM; /* the loop ends, and its asks were cancelled */
    }
    uint64_t now = tick_now();
    struct ring late;
    ring_init(&late);
    uint64_t from = now - a->looked_tick < WHEEL ? a->looked_tick + 1 : now - WHEEL + 1;
    for (uint64_t tick = from; tick <= now; tick++) {
        struct ring *slot = &a->wheel[tick % WHEEL];
        for (struct ring *r = slot->next, *next; r != slot; r = next) {
            next = r->next;
            if (ask_of_timed(r)->due_tick <= now) {
                ring_remove(r);
                ring_append(&late, r);
            }
        }
    }
    a->looked_tick = now;
    while (a->cancelled.next != &a->cancelled) { /* not those that callbacks cancel now */
        struct ring *r = a->cancelled.next;
        ring_remove(r);
        ring_append(&late, r);
    }
    while (late.next != &late) { /* callbacks may ask and cancel, and do not end other asks */
        xev_ask *ask = ask_of_timed(late.next);
        xev__count_up(&self->asks_timed_out, !ask->cancelled);
        give_up_ask(self, ask, ask->cancelled ? XEV_ECANCELED : XEV_ETIMEDOUT);
    }
    arm_for_next(self);
    return XEV_DISARM;
}

void xev__ask_cancel(xev_ask *ask) {
    xev_shard *self = xev__current_shard;
    if (ask->state == ASK_OVER || ask->cancelled) {
        return;
    }
    forget_ask(self->asks, ask);
    ask->cancelled = true;
    set_gone(ask);
    ring_append(&self->asks->cancelled, &ask->timed);
    arm_ask_timer(self, 1); /* in this turn, or the next one */
}

bool xev_ask_cancel(xev_ask_handle handle) {
    xev_shard *self = xev_shard_current();
    struct xev__asks *a = self != NULL ? self->asks : NULL;
    xev_ask *ask = a != NULL ? xev__name_find(&a->names, self, handle) : NULL;
    if (ask == NULL) {
        return false;
    }
    assert(ask->state != ASK_OVER && !ask->cancelled);
    xev__ask_cancel(ask);
    return true;
}

/* ---- waiting for room ---- */

static struct waiting **find_waiting(struct xev__asks *a, const xev_shard *to) {
    struct waiting **at = &a->waiting[to->id % QUEUES];
    while (*at != NULL && (*at)->to != to) {
        at = &(*at)->next;
    }
    return at;
}

static xev_ask *ask_of_node(xev_mpsc_node *node) {
    return node == NULL
               ? NULL
               : (xev_ask *)(void *)((char *)node - offsetof(xev_ask, request) -
                                     offsetof(xev_request, message) - offsetof(xev_message, node));
}

/* The first ask leaves the queue. */
static xev_ask *take_waiting(struct waiting *w) {
    xev_ask *ask = w->first;
    w->first = ask_of_node(ask->request.message.node.next);
    if (w->first == NULL) {
        w->last = NULL;
    }
    return ask;
}

static void stand_in_queue(struct waiting *w, xev_ask *ask) {
    assert(ask->state == ASK_WAITS);
    ask->request.message.node.next = NULL;
    if (w->last != NULL) {
        w->last->request.message.node.next = &ask->request.message.node;
    } else {
        w->first = ask;
    }
    w->last = ask;
}

/* Send what the mailbox has room for. */
static void send_waiting(xev_shard *self, struct waiting *w) {
    while (w->first != NULL) {
        xev_ask *ask = w->first;
        if (ask->state == ASK_OVER) {
            free_ask(self, take_waiting(w));
            continue;
        }
        /* The link of the queue is the node that is sent. */
        xev_mpsc_node *next = ask->request.message.node.next;
        int rc = xev__request_send(w->to, &ask->request, false);
        if (rc == XEV_EAGAIN) {
            return;
        }
        w->first = ask_of_node(next);
        w->last = w->first != NULL ? w->last : NULL;
        if (rc == 0) {
            ask->state = ASK_SENT;
        } else {
            give_up_ask(self, ask, rc);
            free_ask(self, ask);
        }
    }
}

static void on_ask_room(xev_shard *self, xev_request *request, int result, void *arg) {
    struct waiting *w = arg;
    assert(request == &w->room && xev__current_shard == self);
    (void)result; /* where the shard has ended, the asks are told so when they are sent */
    (void)request;
    send_waiting(self, w);
    if (w->first != NULL && xev__await_room(w->to, &w->room, w, on_ask_room) < 0) {
        send_waiting(self, w); /* it has ended by now, and takes no ask */
    }
    if (w->first == NULL) {
        struct waiting **at = find_waiting(self->asks, w->to);
        assert(*at == w);
        *at = w->next;
        xev__blocks_put(&self->asks->blocks, w, xev__block_size(sizeof *w));
    }
}

/* 0: the ask is sent, or it waits. */
static int send_or_wait(xev_shard *self, xev_shard *to, xev_ask *ask) {
    struct xev__asks *a = self->asks;
    struct waiting **at = find_waiting(a, to), *w = *at;
    if (w == NULL) {
        int rc = xev__request_send(to, &ask->request, false);
        if (rc != XEV_EAGAIN) {
            ask->state = ASK_SENT;
            return rc;
        }
        uint32_t bytes;
        w = xev__blocks_get(&a->blocks, sizeof *w, &bytes);
        if (w == NULL) {
            return XEV_ENOMEM;
        }
        *w = (struct waiting){.to = to};
        rc = xev__await_room(to, &w->room, w, on_ask_room);
        if (rc < 0) {
            xev__blocks_put(&a->blocks, w, bytes);
            return rc;
        }
        *at = w;
    } else if (xev__mailbox_closed(to)) {
        return XEV_ECANCELED; /* as those that wait are to be told */
    }
    ask->state = ASK_WAITS;
    stand_in_queue(w, ask);
    xev__count_up(&self->asks_waited, 1);
    return 0;
}

void xev__asks_cancel(xev_shard *s) {
    struct xev__asks *a = s->asks;
    if (a == NULL) {
        return;
    }
    while (a->going.next != &a->going) {
        give_up_ask(s, ask_of_order(a->going.next), XEV_ECANCELED);
    }
    /* Their queues go with the pool: xev__asks_give_back. */
}

/* ---- the asked shard ---- */

static bool is_over(const xev_ask *ask) { return (watch_of(ask) & GONE) != 0; }

static void handle_ask(xev_shard *self, xev_request *request, void *arg) {
    xev_ask *ask = ask_of_request(request);
    (void)arg;
    if (is_over(ask)) { /* the work is spared where it shows in time */
        xev_shard_reply(request, XEV_ECANCELED);
        return;
    }
    xev__note_call(&self->loop, XEV__CODE(ask->fn));
    ask->fn(self, ask, ask->data, ask->argument_bytes);
}

/* NULL: *code says why. */
static void *make_answer_room(xev_ask *ask, size_t len, int *code) {
    xev_shard *self = ask->request.to;
    give_block_back(ask);
    ask->answer = NULL;
    size_t used = (ask->argument_bytes + (size_t)15) / 16 * 16;
    size_t left = ask->block_bytes - offsetof(xev_ask, data) - used;
    if (len > self->rt->options.ask_bytes) {
        *code = XEV_EMSGSIZE;
        return NULL;
    }
    if (len <= left) {
        ask->answer = ask->data + used;
        ask->answer_room = (uint32_t)left;
        return ask->answer;
    }
    struct xev__asks *a = asks_of(self);
    ask->block = a != NULL ? make_block(a, len, self->rt->options.answers_max_bytes) : NULL;
    if (ask->block == NULL) {
        *code = XEV_ENOMEM;
        return NULL;
    }
    ask->answer = ask->block->data;
    ask->answer_room = (uint32_t)len;
    return ask->answer;
}

static void check_answer(const char *call, const xev_ask *ask) {
    xev__shard_check(ask != NULL && ask->request.from != NULL && (watch_of(ask) & ANSWERED) == 0,
                     call, "ask is null or answered already");
    xev__shard_check_thread(call, ask->request.to);
}

bool xev_ask_is_over(const xev_ask *ask) {
    check_answer("xev_ask_is_over", ask);
    return is_over(ask);
}

bool xev_ask_watch(xev_ask *ask, void *userdata, xev_ask_over_fn over) {
    check_answer("xev_ask_watch", ask);
    xev__shard_check(over != NULL, "xev_ask_watch", "over is null");
    ask->over = over;
    ask->request.arg = userdata;
    if ((set_watch(ask, WATCHED) & (GONE | WATCHED)) == GONE) {
        (void)set_watch(ask, TOLD);
    }
    return (watch_of(ask) & TOLD) == 0;
}

/* The ask that is watched was given up. */
static void take_note(xev_shard *self, xev_message *note, void *arg) {
    xev_ask *ask = arg;
    (void)note;
    if ((set_watch(ask, TOLD) & ANSWERED) != 0) {
        xev_shard_reply(&ask->request, ask->request.result);
    } else {
        xev__note_call(&self->loop, XEV__CODE(ask->over));
        ask->over(self, ask, ask->request.arg);
    }
}

/* Whether a note is still to come, so that the ask cannot be given back before. */
static bool is_answered_early(xev_ask *ask) {
    return (watch_of(ask) & (WATCHED | TOLD)) == WATCHED && (set_watch(ask, ANSWERED) & GONE) != 0;
}

void *xev_ask_room(xev_ask *ask, size_t len_bytes) {
    int code;
    check_answer("xev_ask_room", ask);
    return make_answer_room(ask, len_bytes, &code);
}

void xev_ask_answer(xev_ask *ask, int result, const void *data, size_t len_bytes) {
    check_answer("xev_ask_answer", ask);
    xev__shard_check(data != NULL || len_bytes == 0, "xev_ask_answer", "data is null");
    if (len_bytes > 0 && data == ask->answer) {
        xev__shard_check(len_bytes <= ask->answer_room, "xev_ask_answer",
                         "data is longer than its room");
    } else if (len_bytes > 0) {
        int code = 0;
        const uint8_t *at = data;
        xev__shard_check(ask->answer == NULL || at < ask->answer ||
                             at >= ask->answer + ask->answer_room,
                         "xev_ask_answer", "data is in its room, and not at its beginning");
        void *room = make_answer_room(ask, len_bytes, &code);
        if (room != NULL) {
            memcpy(room, data, len_bytes);
        } else {
            result = code;
            len_bytes = 0;
        }
    }
    ask->answer_bytes = (uint32_t)len_bytes;
    if (is_answered_early(ask)) {
        ask->request.result = result;
    } else {
        xev_shard_reply(&ask->request, result);
    }
}

/* ---- asking ---- */

/* A new ask with a copy of the pieces; 0 or a code. */
static int make_ask(xev_shard *self, const xev_vec *vec, size_t count, xev_ask **out) {
    const xev_runtime_options *o = &self->rt->options;
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        if (vec[i].len_bytes > o->ask_bytes - len) {
            return XEV_EMSGSIZE;
        }
        len += vec[i].len_bytes;
    }
    struct xev__asks *a = asks_of(self);
    if (a == NULL) {
        return XEV_ENOMEM;
    }
    if (a->count >= o->asks) {
        return XEV_EAGAIN;
    }
    uint32_t bytes;
    xev_ask *ask = xev__blocks_get(&a->blocks, sizeof *ask + len + ANSWER_ROOM, &bytes);
    if (ask == NULL) {
        return XEV_ENOMEM;
    }
    *ask = (xev_ask){.argument_bytes = (uint32_t)len, .block_bytes = bytes};
    uint8_t *at = ask->data;
    for (size_t i = 0; i < count; i++) {
        if (vec[i].len_bytes > 0) {
            memcpy(at, vec[i].base, vec[i].len_bytes);
            at += vec[i].len_bytes;
        }
    }
    ck_pr_store_32(&self->asks_now, ++a->count);
    ring_append(&a->going, &ask->order);
    *out = ask;
    return 0;
}

/* handle: NULL, or where to name it. */
static int begin_ask(const char *call, xev_shard *to, const xev_vec *vec, size_t count,
                     uint32_t timeout_ms, xev_ask_handle *handle, xev_ask **begun, xev_ask_fn fn,
                     void *userdata, xev_answer_fn answered) {
    xev__shard_check(to != NULL && (vec != NULL || count == 0) && fn != NULL && answered != NULL,
                     call, "shard, vec, fn or answered is null");
    xev_shard *self = xev_shard_current();
    if (self == NULL || self->rt != to->rt) {
        return XEV_EINVAL;
    }
    if (self->ending) {
        return XEV_ECANCELED;
    }
    xev_ask *ask;
    int rc = make_ask(self, vec, count, &ask);
    if (rc < 0) {
        return rc;
    }
    ask->fn = fn;
    ask->userdata = userdata;
    ask->answered = answered;
    ask->request.handler = handle_ask;
    ask->request.reply = on_ask_reply;
    uint32_t name = handle != NULL ? xev__name_new(&self->asks->names, self, ask, handle) : 0;
    ask->name = name & XEV__NAMES;
    rc = handle == NULL || name != 0 ? send_or_wait(self, to, ask) : XEV_ENOMEM;
    if (rc < 0) {
        forget_ask(self->asks, ask);
        free_ask(self, ask);
        return rc;
    }
    xev__count_up(&self->asked, 1);
    if (timeout_ms != 0) {
        set_ask_deadline(self, ask, timeout_ms);
    }
    *begun = ask;
    return 0;
}

int xev__ask(xev_shard *to, const xev_vec *vec, size_t count, uint32_t timeout_ms, xev_ask **ask,
             xev_ask_fn fn, void *userdata, xev_answer_fn answered) {
    return begin_ask("xev_shard_ask", to, vec, count, timeout_ms, NULL, ask, fn, userdata,
                     answered);
}

int xev_shard_ask(xev_shard *to, const xev_vec *vec, size_t count, uint32_t timeout_ms,
                  xev_ask_fn fn, void *userdata, xev_answer_fn answered) {
    xev_ask *ask;
    return xev__ask(to, vec, count, timeout_ms, &ask, fn, userdata, answered);
}

int xev_shard_ask_with_handle(xev_shard *to, const xev_vec *vec, size_t count, uint32_t timeout_ms,
                              xev_ask_handle *handle, xev_ask_fn fn, void *userdata,
                              xev_answer_fn answered) {
    const char *call = "xev_shard_ask_with_handle";
    xev__shard_check(handle != NULL, call, "handle is null");
    xev_ask *ask;
    int rc = begin_ask(call, to, vec, count, timeout_ms, handle, &ask, fn, userdata, answered);
    *handle = rc == 0 ? *handle : 0;
    return rc;
}
