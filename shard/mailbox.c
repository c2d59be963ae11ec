/* Mailboxes: messages, requests and replies between shards.
 *
 * A mailbox is two queues. Urgent messages have one of their own, which is looked at before each
 * message of the other one; after URGENT_IN_A_ROW of them an ordinary message has its turn.
 *
 * A message takes one credit of the receiving shard's mailbox, in the sending call. The credit is
 * given back when the message's handler, and the handlers of the messages delivered with it, have
 * returned. The credits that are taken (depth) therefore also tell the runtime whether a message is
 * under way. A reply is the node of its request sent back, and takes no credit: there are never
 * more replies than requests, and each request had one.
 */
#include <assert.h>
#include <ck_pr.h>

#include "mpsc/handoff.h"
#include "shard/internal.h"
#include "xev/os/probe.h"

#define URGENT_IN_A_ROW 16u

/* The code for a message that a mailbox of this depth does not take. */
static int refusal_of(uint32_t depth) {
    if ((depth & XEV__MAILBOX_CLOSED) != 0) {
        return XEV_ECANCELED;
    }
    if (xev_shard_current() != NULL) {
        xev__count_up(&xev_shard_current()->refused, 1);
    }
    return XEV_EAGAIN;
}

/* Take a credit where fewer than most are taken. */
static int take_credit_below(xev_shard *to, uint32_t most) {
    uint32_t before = ck_pr_load_32(&to->depth); /* a refusal costs no atomic exchange */
    if (before >= most) {
        return refusal_of(before);
    }
    before = ck_pr_faa_32(&to->depth, 1);
    if (before < most) {
        return 0;
    }
    (void)ck_pr_faa_32(&to->depth, 0u - 1u);
    /* The coordinator may have looked in between, and taken the credit for a message under way. */
    xev__news(to->rt);
    return refusal_of(before);
}

static int take_credit(xev_shard *to) { return take_credit_below(to, to->rt->options.mailbox); }

/* Also where the mailbox is full, for messages whose number is bounded in another way. A mailbox
 * that is closed gives none. */
static int take_credit_beyond(xev_shard *to) { return take_credit_below(to, XEV__MAILBOX_CLOSED); }

static void give_credits(xev_shard *s, uint32_t n) {
    XEV_HANDOFF_RELEASE(&s->depth);
    ck_pr_fence_memory();
    uint32_t before = ck_pr_faa_32(&s->depth, 0u - n);
    assert((before & ~XEV__MAILBOX_CLOSED) >= n);
    (void)before;
}

uint32_t xev__mailbox_depth(const xev_shard *s) {
    uint32_t depth = ck_pr_load_32(&s->depth) & ~XEV__MAILBOX_CLOSED;
    ck_pr_fence_memory();
    XEV_HANDOFF_ACQUIRE(&s->depth);
    return depth;
}

static void push_outbox(struct xev__outbox *o) {
    if (o->first == NULL) {
        return;
    }
    assert(o->to != NULL && o->last != NULL);
    (void)xev_mpsc_push_batch(&o->to->mail, o->first, o->last);
    o->first = o->last = NULL;
    (void)xev_async_notify(&o->to->mail_async);
}

static void deliver_reply(xev_shard *self, xev_message *m, void *arg);

/* Send m, for which a credit has been taken. A shard of the same runtime puts it into an outbox
 * until the end of its loop's turn; other threads push it at once. */
static void post_message(xev_shard *to, xev_message *m) {
    xev_shard *self = xev_shard_current();
    XEV__PROBE3(message__sent, self != NULL ? self->id : UINT32_MAX, to->id, m);
    if (self == NULL || self->rt != to->rt) {
        (void)xev_mpsc_push(&to->mail, &m->node);
        (void)xev_async_notify(&to->mail_async);
        return;
    }
    xev__count_up(&self->sent, 1);
    if (self->delays != NULL && m->handler != deliver_reply) {
        xev__delay_sample(self, m);
    }
    assert(self->rt->outboxes > 0 && (self->rt->outboxes & (self->rt->outboxes - 1)) == 0);
    struct xev__outbox *o = &self->outboxes[to->id & (self->rt->outboxes - 1)];
    if (o->to != to) {
        push_outbox(o);
        o->to = to;
    }
    m->node.next = NULL;
    if (o->last != NULL) {
        o->last->next = &m->node;
    } else {
        o->first = &m->node;
    }
    o->last = &m->node;
    if (!o->listed) {
        o->listed = true;
        o->next_listed = self->listed;
        self->listed = o;
    }
}

static void post_to_handler(xev_shard *to, xev_message *m, xev_message_fn handler, void *arg) {
    m->handler = handler;
    m->arg = arg;
    post_message(to, m);
}

void xev__mailbox_flush(xev_shard *s) {
    while (s->listed != NULL) {
        struct xev__outbox *o = s->listed;
        assert(o->listed);
        s->listed = o->next_listed;
        o->listed = false;
        push_outbox(o);
    }
}

/* The next message: urgent ones first, unless *in_a_row of them were handled since the last
 * ordinary one and there is one of those. NULL: none that can be reached. */
static xev_mpsc_node *next_message(xev_shard *s, uint32_t *in_a_row) {
    xev_mpsc_node *node = *in_a_row < URGENT_IN_A_ROW ? xev_mpsc_pop(&s->urgent) : NULL;
    if (node != NULL) {
        ++*in_a_row;
        return node;
    }
    node = xev_mpsc_pop(&s->mail);
    if (node != NULL || *in_a_row < URGENT_IN_A_ROW) {
        *in_a_row = 0;
        return node;
    }
    node = xev_mpsc_pop(&s->urgent);
    *in_a_row = node != NULL;
    return node;
}

static void deliver_reply(xev_shard *self, xev_message *m, void *arg) {
    xev_request *r = (xev_request *)(void *)((char *)m - offsetof(xev_request, message));
    assert(self->replies_due > 0 && xev__current_shard == self);
    self->replies_due--;
    xev__note_call(&self->loop, XEV__CODE(r->reply));
    r->reply(self, r, r->result, arg);
}

/* ---- who waits for room ----
 *
 * A shard that waits for room in a mailbox makes a request there, which takes a credit beyond the
 * limit. It is answered when the credits of the messages that were delivered with it are back. Each
 * who waits has one such request under way. So it stands in the queue like the messages that have
 * filled the mailbox, nothing polls, and the rules of the drain hold for it as for every request.
 */

static void on_room_wanted(xev_shard *self, xev_request *r, void *arg) {
    (void)arg;
    r->message.node.next = NULL;
    if (self->room_last != NULL) {
        self->room_last->message.node.next = &r->message.node;
    } else {
        self->room_first = r;
    }
    self->room_last = r;
}

static void tell_room(xev_shard *s) {
    int result = xev__mailbox_closed(s) ? XEV_ECANCELED : 0;
    for (xev_request *r = s->room_first; r != NULL;) {
        const xev_mpsc_node *next = r->message.node.next;
        xev_shard_reply(r, result);
        r = next == NULL ? NULL
                         : (xev_request *)(void *)((char *)next - offsetof(xev_message, node) -
                                                   offsetof(xev_request, message));
    }
    s->room_first = s->room_last = NULL;
}

int xev__await_room(xev_shard *to, xev_request *r, void *arg, xev_reply_fn reply) {
    r->handler = on_room_wanted;
    r->reply = reply;
    r->arg = arg;
    return xev__request_send(to, r, true);
}

void xev__mailbox_deliver(xev_shard *s, uint32_t limit) {
    uint32_t n = 0, replies = 0, in_a_row = 0;
    xev_mpsc_node *node;
    assert(xev__current_shard == s);
    while (n < limit && (node = next_message(s, &in_a_row)) != NULL) {
        if (in_a_row > 0) {
            (void)ck_pr_faa_32(&s->urgent_depth, 0u - 1u);
        }
        if (n++ == 0) {
            xev__shard_busy(s); /* before the coordinator can see that the credits are back */
        }
        xev_message *m = (xev_message *)(void *)((char *)node - offsetof(xev_message, node));
        replies += m->handler == deliver_reply;
        XEV__PROBE2(message__delivered, s->id, m);
        xev__note_call(&s->loop, XEV__CODE(m->handler));
        m->handler(s, m, m->arg);
    }
    assert(n >= replies);
    if (n > 0) {
        xev__count_up(&s->received, n);
        give_credits(s, n - replies);
        if (s->room_first != NULL) {
            tell_room(s);
        }
    }
}

static xev_cb_action on_mail(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_shard *s = userdata;
    (void)loop;
    (void)c;
    if (result < 0) {
        return XEV_DISARM;
    }
    xev__mailbox_deliver(s, XEV__MESSAGES_PER_TURN);
    if (!xev__mailbox_empty(s)) {
        (void)xev_async_notify(&s->mail_async); /* the others after this turn's I/O and timers */
    }
    return XEV_REARM;
}

static void on_flush(xev_loop *loop, xev_hook *hook) {
    (void)loop;
    xev__mailbox_flush((xev_shard *)(void *)((char *)hook - offsetof(xev_shard, flush)));
}

void xev__mailbox_start(xev_shard *s) {
    xev_async_wait(&s->mail_async, &s->loop, &s->mail_completion, s, on_mail);
    s->flush.callback = on_flush;
    xev_loop_hook_add(&s->loop, XEV_HOOK_FLUSH, &s->flush);
}

void xev__mailbox_close(xev_shard *s) {
    assert(xev__current_shard == s);
    xev__mailbox_flush(s);
    ck_pr_or_32(&s->depth, XEV__MAILBOX_CLOSED);
    ck_pr_fence_memory();
    /* A thread that has a credit is about to push its message, which is then handled as well. The
     * handlers may still send messages to other shards. */
    while (xev__mailbox_depth(s) > 0 || !xev__mailbox_empty(s)) {
        xev__mailbox_deliver(s, XEV__MESSAGES_PER_TURN);
        xev__mailbox_flush(s);
        ck_pr_stall();
    }
}

static int send_message(xev_shard *to, xev_message *m, xev_message_fn handler, void *arg) {
    struct xev__visit visit = xev__visit_shard(to);
    int rc = take_credit(to);
    if (rc == 0) {
        post_to_handler(to, m, handler, arg);
    }
    xev__visit_leave(visit);
    return rc;
}

int xev__send_beyond(xev_shard *to, xev_message *m, xev_message_fn handler, void *arg) {
    int rc = take_credit_beyond(to);
    if (rc == 0) {
        post_to_handler(to, m, handler, arg);
    }
    return rc;
}

int xev_shard_send(xev_shard *to, xev_message *m, xev_message_fn handler, void *arg) {
    xev__shard_check(to != NULL && m != NULL && handler != NULL, "xev_shard_send",
                     "shard, message or handler is null");
    return send_message(to, m, handler, arg);
}

/* At once, and not at the end of the turn: neither the outbox nor the mailbox is to hold it up. Its
 * credit makes it part of the mailbox for everybody who asks whether something is under way. The
 * number of urgent ones has a limit of its own; it orders nothing. */
static int send_urgent(xev_shard *to, xev_message *m, xev_message_fn handler, void *arg) {
    uint32_t before = ck_pr_faa_32(&to->urgent_depth, 1);
    int rc = before < to->rt->options.urgent ? take_credit_beyond(to) : refusal_of(0);
    if (rc < 0) {
        (void)ck_pr_faa_32(&to->urgent_depth, 0u - 1u);
        return xev__mailbox_closed(to) ? XEV_ECANCELED : rc;
    }
    xev_shard *self = xev_shard_current();
    if (self != NULL && self->rt == to->rt) {
        xev__count_up(&self->sent, 1);
    }
    m->handler = handler;
    m->arg = arg;
    XEV__PROBE3(message__sent, self != NULL ? self->id : UINT32_MAX, to->id, m);
    (void)xev_mpsc_push(&to->urgent, &m->node);
    (void)xev_async_notify(&to->mail_async);
    return 0;
}

int xev_shard_send_urgent(xev_shard *to, xev_message *m, xev_message_fn handler, void *arg) {
    xev__shard_check(to != NULL && m != NULL && handler != NULL, "xev_shard_send_urgent",
                     "shard, message or handler is null");
    struct xev__visit visit = xev__visit_shard(to);
    int rc = send_urgent(to, m, handler, arg);
    xev__visit_leave(visit);
    return rc;
}

int xev__send_to_all(struct xev__runtime *rt, xev_message *messages, xev_message_fn handler,
                     void *arg) {
    uint32_t count = rt->count;
    xev_shard *shards = rt->shards;
    for (uint32_t i = 0; i < count; i++) {
        int rc = take_credit(&shards[i]);
        if (rc < 0) {
            if (i == 0) {
                return rc; /* no credit is to be given back; the runtime may even have ended */
            }
            while (i-- > 0) {
                give_credits(&shards[i], 1);
            }
            xev__news(rt); /* as in take_credit */
            return rc;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        post_to_handler(&shards[i], &messages[i], handler, arg);
    }
    return 0;
}

int xev_shard_broadcast(xev_runtime *rt, xev_message *messages, xev_message_fn handler, void *arg) {
    xev__shard_check(rt != NULL && messages != NULL && handler != NULL, "xev_shard_broadcast",
                     "runtime, messages or handler is null");
    struct xev__visit visit = xev__visit_runtime(rt);
    if (visit.rt == NULL) {
        return XEV_ECANCELED;
    }
    int rc = xev__send_to_all(visit.rt, messages, handler, arg);
    xev__visit_leave(visit);
    return rc;
}

static void handle_request(xev_shard *self, xev_message *m, void *arg) {
    xev_request *r = (xev_request *)(void *)((char *)m - offsetof(xev_request, message));
    xev__note_call(&self->loop, XEV__CODE(r->handler));
    r->handler(self, r, arg);
}

int xev__request_send(xev_shard *to, xev_request *r, bool beyond) {
    xev_shard *self = xev__current_shard;
    assert(self != NULL && self->rt == to->rt && r->handler != NULL && r->reply != NULL);
    int rc = beyond ? take_credit_beyond(to) : take_credit(to);
    if (rc == 0) {
        r->from = self;
        r->to = to;
        r->message.handler = handle_request;
        r->message.arg = r->arg;
        post_message(to, &r->message);
        self->replies_due++;
    }
    return rc;
}

int xev_shard_await_room(xev_shard *to, xev_request *r, void *arg, xev_reply_fn reply) {
    xev__shard_check(to != NULL && r != NULL && reply != NULL, "xev_shard_await_room",
                     "shard, request or reply is null");
    xev_shard *self = xev_shard_current();
    if (self == NULL || self->rt != to->rt) {
        return XEV_EINVAL;
    }
    return self->ending ? XEV_ECANCELED : xev__await_room(to, r, arg, reply);
}

int xev_shard_submit_to(xev_shard *to, xev_request *r, xev_request_fn handler, void *arg,
                        xev_reply_fn reply) {
    xev__shard_check(to != NULL && r != NULL && handler != NULL && reply != NULL,
                     "xev_shard_submit_to", "shard, request, handler or reply is null");
    xev_shard *self = xev_shard_current();
    if (self == NULL || self->rt != to->rt) {
        return XEV_EINVAL;
    }
    if (self->ending) {
        return XEV_ECANCELED; /* the reply would come after the end of this shard's loop */
    }
    r->handler = handler;
    r->reply = reply;
    r->arg = arg;
    return xev__request_send(to, r, false);
}

void xev_shard_reply(xev_request *r, int result) {
    xev__shard_check(r != NULL && r->from != NULL, "xev_shard_reply",
                     "request is null or answered already");
    xev__shard_check_thread("xev_shard_reply", r->to);
    xev_shard *from = r->from;
    r->from = NULL;
    r->result = result;
    r->message.handler = deliver_reply;
    r->message.arg = r->arg;
    post_message(from, &r->message);
}
