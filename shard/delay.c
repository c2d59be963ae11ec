/* How long messages are on their way from shard to shard: of one in so many, where the program asks
 * for it (options.sample_messages).
 *
 * A message has no room for a time, and should not pay for one. The handler of a message that is
 * measured is replaced by one that notes the time and then calls the real one, which stands in a
 * slot of the sending shard meanwhile. So others cost what they did; where nothing is measured, all
 * of them do. A shard has few slots: while all are under way, no further message is measured. */
#include <ck_pr.h>
#include <stdlib.h>

#include "shard/internal.h"

#define SLOTS 16u /* a power of two */

/* Of one message. The sending shard fills it in and sets used; the receiving one clears that. */
struct sampled {
    uint32_t used; /* atomic */
    uint32_t from;
    uint64_t sent_ns;
    xev_message_fn handler;
    void *arg;
};

struct xev__delays {
    uint32_t left, next; /* the sender's: messages until the next one that is measured; its slot */
    struct sampled slots[SLOTS];
    xev_shard_delays from[]; /* of each shard, with one writer; atomic for readers */
};

static void count_delay(xev_shard *self, uint32_t from, uint64_t took_ns) {
    xev_shard_delays *d = &self->delays->from[from];
    xev__count_up(&d->samples, 1);
    xev__count_up(&d->sum_ns, took_ns);
    if (took_ns > d->max_ns) {
        ck_pr_store_64(&d->max_ns, took_ns);
    }
    xev_histogram_record(self->times[XEV_SHARD_DELAYS], took_ns);
}

static void deliver_sampled(xev_shard *self, xev_message *m, void *arg) {
    struct sampled *s = arg;
    uint64_t now = xev__now_ns();
    assert(__atomic_load_n(&s->used, __ATOMIC_RELAXED) == 1 && self->delays != NULL);
    count_delay(self, s->from, now > s->sent_ns ? now - s->sent_ns : 0);
    m->handler = s->handler;
    m->arg = s->arg;
    __atomic_store_n(&s->used, 0, __ATOMIC_RELEASE);
    xev__note_call(&self->loop, XEV__CODE(m->handler));
    m->handler(self, m, m->arg);
}

void xev__delay_sample(xev_shard *self, xev_message *m) {
    struct xev__delays *d = self->delays;
    assert(d != NULL && d->left > 0 && xev__current_shard == self);
    if (--d->left > 0) {
        return;
    }
    d->left = self->rt->options.sample_messages;
    struct sampled *s = &d->slots[d->next++ % SLOTS];
    if (__atomic_load_n(&s->used, __ATOMIC_ACQUIRE) != 0) {
        return;
    }
    *s = (struct sampled){1, self->id, xev__now_ns(), m->handler, m->arg};
    m->handler = deliver_sampled;
    m->arg = s;
}

bool xev__delays_make(xev_shard *s) {
    uint32_t every = s->rt->options.sample_messages;
    if (every == 0) {
        return true;
    }
    struct xev__delays *d = calloc(1, sizeof *d + s->rt->count * sizeof d->from[0]);
    if (d != NULL) {
        d->left = every;
        __atomic_store_n(&s->delays, d, __ATOMIC_RELEASE);
    }
    return d != NULL;
}

void xev_shard_delays_get(const xev_shard *to, uint32_t from, xev_shard_delays *out) {
    xev__shard_check(to != NULL && out != NULL, "xev_shard_delays_get", "shard or room is null");
    *out = (xev_shard_delays){0};
    const struct xev__delays *delays = __atomic_load_n(&to->delays, __ATOMIC_ACQUIRE);
    if (delays != NULL && from < to->rt->count) {
        const xev_shard_delays *d = &delays->from[from];
        out->samples = ck_pr_load_64(&d->samples);
        out->sum_ns = ck_pr_load_64(&d->sum_ns);
        out->max_ns = ck_pr_load_64(&d->max_ns);
    }
}
