/* mpsc/: each node is popped exactly once, in its producer's order; the hand-over of nodes; the
 * wake protocol. With one producer and with 8. A popped node is overwritten at once and compared
 * for a while: the producers write links by assembly, which no sanitizer checks. */
#include "xev/mpsc.h"

#include <ck_pr.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mpsc/visit.h"
#include "tests/test.h"

enum { PRODUCERS = 8, LOST_WAKE_AFTER_S = 20 };

struct msg {
    xev_mpsc_node node;
    uint32_t producer;
    uint32_t seq;
};

static struct msg *msg_of(xev_mpsc_node *n) {
    return (struct msg *)(void *)n; /* node is the first member */
}

static struct msg *msg_new(uint32_t producer, uint32_t seq) {
    struct msg *m = malloc(sizeof *m);
    CHECK(m != NULL);
    m->producer = producer;
    m->seq = seq;
    return m;
}

static uint32_t scaled(uint32_t n) { return test_slowdown() > 1 ? n / 10 : n; }

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* --- one thread --- */

TEST(empty_pop_is_null) {
    xev_mpsc q;
    xev_mpsc_init(&q);
    CHECK(xev_mpsc_pop(&q) == NULL);
    CHECK(xev_mpsc_pop(&q) == NULL);
    CHECK(xev_mpsc_empty(&q));
}

TEST(one_producer_is_fifo) {
    xev_mpsc q;
    xev_mpsc_node n[100];
    xev_mpsc_init(&q);
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 100; i++) {
            CHECK(!xev_mpsc_push(&q, &n[i]));
        }
        CHECK(!xev_mpsc_empty(&q));
        for (size_t i = 0; i < 100; i++) {
            CHECK(xev_mpsc_pop(&q) == &n[i]);
        }
        CHECK(xev_mpsc_pop(&q) == NULL);
        CHECK(xev_mpsc_empty(&q));
    }
}

static bool push_chain(xev_mpsc *q, xev_mpsc_node *n, size_t len) {
    for (size_t i = 0; i + 1 < len; i++) {
        n[i].next = &n[i + 1];
    }
    return xev_mpsc_push_batch(q, &n[0], &n[len - 1]);
}

TEST(batch_keeps_its_order_between_singles) {
    xev_mpsc q;
    xev_mpsc_node n[12];
    memset(n, 0xa5, sizeof n); /* next of the last one needs no value */
    xev_mpsc_init(&q);
    CHECK(!push_chain(&q, &n[0], 4));
    CHECK(!xev_mpsc_push(&q, &n[4]));
    CHECK(!push_chain(&q, &n[5], 1));
    CHECK(!push_chain(&q, &n[6], 6));
    for (size_t i = 0; i < 12; i++) {
        CHECK(xev_mpsc_pop(&q) == &n[i]);
    }
    CHECK(xev_mpsc_pop(&q) == NULL);
}

TEST(interleaved_push_and_pop) {
    xev_mpsc q;
    xev_mpsc_node n[64];
    xev_mpsc_init(&q);
    uint32_t seed = 1;
    size_t pushed = 0;
    size_t popped = 0;
    for (size_t step = 0; step < 10000; step++) {
        if (next_random(&seed) % 2 == 0 && pushed - popped < 64) {
            CHECK(!xev_mpsc_push(&q, &n[pushed++ % 64]));
        } else if (pushed == popped) {
            CHECK(xev_mpsc_pop(&q) == NULL);
        } else {
            CHECK(xev_mpsc_pop(&q) == &n[popped++ % 64]);
        }
        CHECK_EQ(xev_mpsc_empty(&q), pushed == popped);
    }
}

TEST(popped_node_can_be_pushed_at_once) {
    xev_mpsc q;
    xev_mpsc_node n;
    xev_mpsc_init(&q);
    for (size_t i = 0; i < 1000; i++) {
        CHECK(!xev_mpsc_push(&q, &n));
        CHECK(xev_mpsc_pop(&q) == &n);
        memset(&n, 0xa5, sizeof n);
    }
}

/* --- a producer that stops between exchange and link: done by hand, step by step --- */

static xev_mpsc_node *half_push(xev_mpsc *q, xev_mpsc_node *n) {
    ck_pr_store_ptr(&n->next, NULL);
    return ck_pr_fas_ptr(&q->head, n);
}

static void finish_push(xev_mpsc_node *prev, xev_mpsc_node *n) { ck_pr_store_ptr(&prev->next, n); }

static void check_spurious_empty(xev_mpsc *q) {
    CHECK(xev_mpsc_pop(q) == NULL);
    CHECK(!xev_mpsc_empty(q));
    CHECK(!xev_mpsc_park(q));
}

TEST(unlinked_push_on_an_empty_queue_pops_null_and_forbids_sleep) {
    xev_mpsc q;
    xev_mpsc_node n[2];
    xev_mpsc_init(&q);
    xev_mpsc_node *prev = half_push(&q, &n[0]);
    check_spurious_empty(&q);
    CHECK(!xev_mpsc_push(&q, &n[1])); /* behind the gap */
    check_spurious_empty(&q);
    finish_push(prev, &n[0]);
    CHECK(xev_mpsc_pop(&q) == &n[0]);
    CHECK(xev_mpsc_pop(&q) == &n[1]);
    CHECK(xev_mpsc_empty(&q));
    CHECK(xev_mpsc_park(&q));
}

TEST(unlinked_push_behind_a_node_holds_that_node_back) {
    xev_mpsc q;
    xev_mpsc_node n[3];
    xev_mpsc_init(&q);
    CHECK(!xev_mpsc_push(&q, &n[0]));
    xev_mpsc_node *prev = half_push(&q, &n[1]);
    CHECK(prev == &n[0]);
    check_spurious_empty(&q); /* n[0] is still to be written to by that producer */
    CHECK(!xev_mpsc_push(&q, &n[2]));
    check_spurious_empty(&q);
    finish_push(prev, &n[1]);
    for (size_t i = 0; i < 3; i++) {
        CHECK(xev_mpsc_pop(&q) == &n[i]);
    }
    CHECK(xev_mpsc_pop(&q) == NULL);
    CHECK(xev_mpsc_empty(&q));
}

/* --- park and wake, one thread --- */

TEST(push_to_an_awake_consumer_asks_for_no_wake) {
    xev_mpsc q;
    xev_mpsc_node n[2];
    xev_mpsc_init(&q);
    CHECK(!xev_mpsc_push(&q, &n[0]));
    CHECK(xev_mpsc_pop(&q) == &n[0]);
    CHECK(xev_mpsc_park(&q));
    xev_mpsc_unpark(&q);
    CHECK(!xev_mpsc_push(&q, &n[1]));
}

TEST(one_push_per_park_asks_for_the_wake) {
    xev_mpsc q;
    xev_mpsc_node n[4];
    xev_mpsc_init(&q);
    for (size_t round = 0; round < 3; round++) {
        CHECK(xev_mpsc_park(&q));
        CHECK(push_chain(&q, n, 2));
        CHECK(!xev_mpsc_push(&q, &n[2]));
        CHECK(!xev_mpsc_wake(&q));
        CHECK(!push_chain(&q, &n[3], 1));
        xev_mpsc_unpark(&q);
        for (size_t i = 0; i < 4; i++) {
            CHECK(xev_mpsc_pop(&q) == &n[i]);
        }
    }
}

TEST(park_is_refused_when_not_empty) {
    xev_mpsc q;
    xev_mpsc_node n[2];
    xev_mpsc_init(&q);
    CHECK(!xev_mpsc_push(&q, &n[0]));
    CHECK(!xev_mpsc_park(&q));
    CHECK(!xev_mpsc_push(&q, &n[1])); /* refused means not parked */
    CHECK(!xev_mpsc_wake(&q));
    CHECK(xev_mpsc_pop(&q) == &n[0]);
    CHECK(!xev_mpsc_park(&q));
    CHECK(xev_mpsc_pop(&q) == &n[1]);
    CHECK(xev_mpsc_park(&q));
}

TEST(wake_needs_no_push) {
    xev_mpsc q;
    xev_mpsc_node n;
    xev_mpsc_init(&q);
    CHECK(!xev_mpsc_wake(&q));
    CHECK(xev_mpsc_park(&q));
    CHECK(xev_mpsc_wake(&q));
    CHECK(!xev_mpsc_wake(&q));
    CHECK(!xev_mpsc_push(&q, &n));
    xev_mpsc_unpark(&q);
    CHECK(!xev_mpsc_wake(&q));
    CHECK(xev_mpsc_pop(&q) == &n);
}

TEST(a_duty_to_wake_that_is_given_back_goes_to_the_next) {
    xev_mpsc q;
    xev_mpsc_node n[3];
    xev_mpsc_init(&q);
    CHECK(xev_mpsc_park(&q));
    CHECK(xev_mpsc_push(&q, &n[0]));
    xev_mpsc_not_woken(&q);
    CHECK(xev_mpsc_push(&q, &n[1]));
    CHECK(!xev_mpsc_push(&q, &n[2]));
    xev_mpsc_not_woken(&q);
    CHECK(xev_mpsc_wake(&q));
    xev_mpsc_unpark(&q);
    for (int i = 0; i < 3; i++) {
        CHECK(xev_mpsc_pop(&q) == &n[i]);
    }
    /* Given back too late: a wake too many, and no harm. */
    xev_mpsc_not_woken(&q);
    CHECK(xev_mpsc_push(&q, &n[0]));
    CHECK(!xev_mpsc_park(&q));
    CHECK(xev_mpsc_pop(&q) == &n[0]);
    CHECK(xev_mpsc_park(&q));
}

/* --- what the consumer sleeps on: remembers a wake that comes before the sleep --- */

struct sleeper {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    uint64_t wakes; /* given */
    uint64_t taken;
};

#define SLEEPER_INIT                                                                               \
    { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 }

static void sleeper_wake(struct sleeper *s) {
    pthread_mutex_lock(&s->lock);
    s->wakes++;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->lock);
}

/* Takes one wake, or several that came together. Nobody in these tests sleeps for long: after
 * LOST_WAKE_AFTER_S the wake is lost, and that is what the test reports. */
static void sleeper_sleep(struct sleeper *s, const char *who) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += LOST_WAKE_AFTER_S;
    pthread_mutex_lock(&s->lock);
    bool late = false;
    while (s->wakes == s->taken) {
        if (late) {
            CHECK_FAIL("%s: lost wake, after %llu", who, (unsigned long long)s->wakes);
        }
        late = pthread_cond_timedwait(&s->cond, &s->lock, &deadline) == ETIMEDOUT;
    }
    s->taken = s->wakes;
    pthread_mutex_unlock(&s->lock);
}

/* --- 8 producers --- */

struct crowd {
    xev_mpsc q;
    struct sleeper sleeper;
    pthread_barrier_t start;
    uint32_t per_producer;
    bool uses_batches;
    bool pauses;
    atomic_uint finished; /* producers; set before xev_mpsc_wake */
};

struct producer {
    struct crowd *crowd;
    uint32_t id;
    pthread_t thread;
};

static void wake_if(struct crowd *c, bool duty) {
    if (duty) {
        sleeper_wake(&c->sleeper);
    }
}

/* Pushes messages seq.. of producer id, 1 or up to 7 at once; returns how many. */
static uint32_t produce_some(struct crowd *c, uint32_t id, uint32_t seq, uint32_t *seed) {
    uint32_t len = c->uses_batches ? 1 + next_random(seed) % 7 : 1;
    if (len > c->per_producer - seq) {
        len = c->per_producer - seq;
    }
    struct msg *first = msg_new(id, seq);
    struct msg *last = first;
    for (uint32_t i = 1; i < len; i++) {
        struct msg *m = msg_new(id, seq + i);
        last->node.next = &m->node;
        last = m;
    }
    wake_if(c, len == 1 ? xev_mpsc_push(&c->q, &first->node)
                        : xev_mpsc_push_batch(&c->q, &first->node, &last->node));
    return len;
}

static void *producer_main(void *arg) {
    struct producer *p = arg;
    struct crowd *c = p->crowd;
    uint32_t seed = p->id + 1;
    pthread_barrier_wait(&c->start);
    for (uint32_t seq = 0; seq < c->per_producer;) {
        seq += produce_some(c, p->id, seq, &seed);
        if (c->pauses && next_random(&seed) % 8 == 0) {
            sched_yield(); /* lets the consumer run dry and park */
        }
    }
    atomic_fetch_add(&c->finished, 1);
    wake_if(c, xev_mpsc_wake(&c->q));
    return NULL;
}

/* Popped nodes lie here poisoned for a while before they are freed: nobody may write to them. */
enum { WATCHED = 256, POISON = 0xa5 };

struct watch {
    struct msg *msg[WATCHED];
    size_t at;
};

static void watch_free(struct watch *w) {
    struct msg poison;
    memset(&poison, POISON, sizeof poison);
    struct msg *m = w->msg[w->at];
    if (m != NULL) {
        CHECK_MEM_EQ(m, &poison, sizeof poison);
        free(m);
    }
    w->msg[w->at] = NULL;
}

static void watch_add(struct watch *w, struct msg *m) {
    watch_free(w);
    memset(m, POISON, sizeof *m);
    w->msg[w->at] = m;
    w->at = (w->at + 1) % WATCHED;
}

static void watch_end(struct watch *w) {
    for (w->at = 0; w->at < WATCHED; w->at++) {
        watch_free(w);
    }
}

struct tally {
    struct watch watch;
    uint32_t next_seq[PRODUCERS];
    uint64_t received;
    uint64_t parks; /* calls of park */
    uint64_t sleeps;
};

static void consume(struct tally *t, struct msg *m) {
    CHECK_LT(m->producer, PRODUCERS);
    CHECK_EQ(m->seq, t->next_seq[m->producer]);
    t->next_seq[m->producer]++;
    t->received++;
    watch_add(&t->watch, m);
}

/* The consumer's loop as mpsc.h prescribes it. */
static void consume_all(struct crowd *c, struct tally *t) {
    for (;;) {
        xev_mpsc_node *n = NULL;
        while ((n = xev_mpsc_pop(&c->q)) != NULL) {
            consume(t, msg_of(n));
        }
        t->parks++;
        if (!xev_mpsc_park(&c->q)) {
            continue;
        }
        bool is_over = atomic_load(&c->finished) == PRODUCERS;
        if (!is_over) {
            sleeper_sleep(&c->sleeper, "consumer");
            t->sleeps++;
        }
        xev_mpsc_unpark(&c->q);
        if (is_over && xev_mpsc_empty(&c->q)) {
            return;
        }
    }
}

static void run_crowd(uint32_t per_producer, bool uses_batches, bool pauses) {
    /* Not on the stack: AddressSanitizer's stand-in for it aligns to less than a cache line. */
    static struct crowd c;
    c = (struct crowd){.sleeper = SLEEPER_INIT};
    struct tally t = {.received = 0};
    struct producer producers[PRODUCERS];
    xev_mpsc_init(&c.q);
    c.per_producer = per_producer;
    c.uses_batches = uses_batches;
    c.pauses = pauses;
    pthread_barrier_init(&c.start, NULL, PRODUCERS);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i].crowd = &c;
        producers[i].id = i;
        CHECK_EQ(pthread_create(&producers[i].thread, NULL, producer_main, &producers[i]), 0);
    }
    consume_all(&c, &t);
    for (size_t i = 0; i < PRODUCERS; i++) {
        CHECK_EQ(t.next_seq[i], per_producer);
        pthread_join(producers[i].thread, NULL);
    }
    watch_end(&t.watch);
    CHECK_EQ(t.received, (uint64_t)PRODUCERS * per_producer);
    CHECK(xev_mpsc_empty(&c.q));
    CHECK_LE(c.sleeper.wakes, t.parks);
    CHECK_LE(t.sleeps, c.sleeper.wakes);
    pthread_barrier_destroy(&c.start);
}

TEST(eight_producers_deliver_exactly_once_in_order) { run_crowd(scaled(100000), false, false); }

TEST(eight_producers_with_batches_deliver_exactly_once_in_order) {
    run_crowd(scaled(200000), true, false);
}

TEST(no_wake_is_lost_with_eight_producers) { run_crowd(scaled(50000), true, true); }

/* --- two threads that sleep after each message: the narrowest race of push against park --- */

struct peer {
    xev_mpsc q;
    struct sleeper sleeper;
};

static void peer_send(struct peer *to, xev_mpsc_node *n) {
    if (xev_mpsc_push(&to->q, n)) {
        sleeper_wake(&to->sleeper);
    }
}

static xev_mpsc_node *peer_receive(struct peer *me) {
    for (;;) {
        xev_mpsc_node *n = xev_mpsc_pop(&me->q);
        if (n != NULL) {
            return n;
        }
        if (xev_mpsc_park(&me->q)) {
            sleeper_sleep(&me->sleeper, "peer");
            xev_mpsc_unpark(&me->q);
        }
    }
}

struct pair {
    struct peer peer[2];
    uint32_t rounds;
};

static void *pong_main(void *arg) {
    struct pair *p = arg;
    for (uint32_t i = 0; i < p->rounds; i++) {
        peer_send(&p->peer[0], peer_receive(&p->peer[1]));
    }
    return NULL;
}

TEST(no_wake_is_lost_in_ping_pong) {
    static struct pair p;
    p = (struct pair){.peer = {{.sleeper = SLEEPER_INIT}, {.sleeper = SLEEPER_INIT}}};
    struct msg m = {.producer = 0, .seq = 0};
    pthread_t pong;
    p.rounds = scaled(20000);
    xev_mpsc_init(&p.peer[0].q);
    xev_mpsc_init(&p.peer[1].q);
    CHECK_EQ(pthread_create(&pong, NULL, pong_main, &p), 0);
    for (uint32_t i = 0; i < p.rounds; i++) {
        m.seq = i;
        peer_send(&p.peer[1], &m.node);
        struct msg *back = msg_of(peer_receive(&p.peer[0]));
        CHECK(back == &m);
        CHECK_EQ(back->seq, i);
        memset(&m.node, POISON, sizeof m.node);
    }
    pthread_join(pong, NULL);
}

/* --- wake() against park(): news that is not in the queue --- */

struct news {
    xev_mpsc q;
    struct sleeper sleeper;
    atomic_uint told;
    atomic_uint heard;
    uint32_t rounds;
};

static void *teller_main(void *arg) {
    struct news *s = arg;
    for (uint32_t i = 1; i <= s->rounds; i++) {
        atomic_store(&s->told, i);
        if (xev_mpsc_wake(&s->q)) {
            sleeper_wake(&s->sleeper);
        }
        while (atomic_load(&s->heard) != i) {
            sched_yield();
        }
    }
    return NULL;
}

TEST(no_wake_without_push_is_lost) {
    static struct news s;
    s = (struct news){.sleeper = SLEEPER_INIT};
    pthread_t teller;
    xev_mpsc_init(&s.q);
    s.rounds = scaled(50000);
    CHECK_EQ(pthread_create(&teller, NULL, teller_main, &s), 0);
    for (uint32_t heard = 0; heard < s.rounds;) {
        CHECK(xev_mpsc_park(&s.q));
        if (atomic_load(&s.told) == heard) {
            sleeper_sleep(&s.sleeper, "listener");
        }
        xev_mpsc_unpark(&s.q);
        heard = atomic_load(&s.told);
        atomic_store(&s.heard, heard);
    }
    pthread_join(teller, NULL);
}

/* --- the two fences: one call of park against one call of push or wake, again and again --- */

/* Two threads start each round as near to the same moment as they can, shifted at random by a few
 * dozen instructions, and the round's outcome is judged when both are through. No sleeps, no
 * system calls: the window of a missing fence or re-check is some nanoseconds wide. Where they have
 * to share a CPU with others each round costs time slices: then there are as many as DUEL_S has. */
enum { DUEL_S = 5 };
#define DUEL_IS_OVER UINT32_MAX

struct duel {
    xev_mpsc q;
    XEV_MPSC_ALIGNED atomic_uint go;   /* round the producer may begin, or DUEL_IS_OVER */
    XEV_MPSC_ALIGNED atomic_uint over; /* round the producer has ended */
    XEV_MPSC_ALIGNED unsigned int flag;
    xev_mpsc_node node;
    bool pushes; /* else sets the flag and calls wake */
    bool answer; /* the producer's, valid when over */
};

/* Until it is no longer value; returns what it is. */
static uint32_t spin_while(atomic_uint *a, uint32_t value) {
    uint32_t now;
    for (uint32_t spins = 0; (now = atomic_load_explicit(a, memory_order_acquire)) == value;
         spins++) {
        if (spins % 4096 == 4095) {
            sched_yield(); /* the other one may want this CPU */
        }
    }
    return now;
}

static void dawdle(uint32_t *seed) {
    for (uint32_t n = next_random(seed) % 64; n > 0; n--) {
        ck_pr_barrier();
    }
}

static void *dueller_main(void *arg) {
    struct duel *d = arg;
    uint32_t seed = 7;
    for (uint32_t i = 0; (i = spin_while(&d->go, i)) != DUEL_IS_OVER;) {
        /* Have the line at hand: the load that must not be early is then as early as can be. */
        (void)ck_pr_load_uint(&d->q.parked);
        dawdle(&seed);
        if (d->pushes) {
            d->answer = xev_mpsc_push(&d->q, &d->node);
        } else {
            ck_pr_store_uint(&d->flag, i); /* no fence of its own */
            d->answer = xev_mpsc_wake(&d->q);
        }
        atomic_store_explicit(&d->over, i, memory_order_release);
    }
    return NULL;
}

static void duel_round(struct duel *d, uint32_t i, uint32_t *seed) {
    ck_pr_store_uint(&d->flag, 0);
    atomic_store_explicit(&d->go, i, memory_order_release);
    dawdle(seed);
    bool parked = xev_mpsc_park(&d->q);
    bool saw_flag = ck_pr_load_uint(&d->flag) != 0;
    CHECK_EQ(spin_while(&d->over, i - 1), i);
    if (d->pushes) {
        CHECK(!parked || d->answer); /* else: asleep with a node in the queue */
    } else {
        CHECK(parked);                /* nothing in the queue */
        CHECK(saw_flag || d->answer); /* else: asleep without the news */
    }
    /* Parked still, if park said so and nobody took it; not parked in any other case. */
    CHECK_EQ(xev_mpsc_wake(&d->q), parked && !d->answer);
    if (parked) {
        xev_mpsc_unpark(&d->q);
    }
    CHECK(xev_mpsc_pop(&d->q) == (d->pushes ? &d->node : NULL));
}

static time_t now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static void run_duel(bool pushes) {
    static struct duel d;
    d = (struct duel){.pushes = pushes};
    pthread_t other;
    uint32_t seed = 1, rounds = scaled(150000);
    time_t end = now_s() + DUEL_S;
    xev_mpsc_init(&d.q);
    CHECK_EQ(pthread_create(&other, NULL, dueller_main, &d), 0);
    for (uint32_t i = 1; i <= rounds && (i % 64 != 0 || now_s() < end); i++) {
        duel_round(&d, i, &seed);
    }
    atomic_store(&d.go, DUEL_IS_OVER);
    pthread_join(other, NULL);
}

TEST(push_against_park_one_sees_the_other) { run_duel(true); }

TEST(wake_against_park_one_sees_the_other) { run_duel(false); }

/* --- at most one wake per park, with everybody at once --- */

struct rush {
    xev_mpsc q;
    pthread_barrier_t before;
    pthread_barrier_t after;
    uint32_t rounds;
    atomic_uint duties;
};

struct rusher {
    struct rush *rush;
    uint32_t id;
    struct msg msg[2];
    pthread_t thread;
};

static bool rusher_go(struct rusher *r) {
    switch (r->id % 4) {
    case 0:
        return xev_mpsc_wake(&r->rush->q);
    case 1:
        r->msg[0].node.next = &r->msg[1].node;
        return xev_mpsc_push_batch(&r->rush->q, &r->msg[0].node, &r->msg[1].node);
    default:
        return xev_mpsc_push(&r->rush->q, &r->msg[0].node);
    }
}

static void *rusher_main(void *arg) {
    struct rusher *r = arg;
    for (uint32_t i = 0; i < r->rush->rounds; i++) {
        pthread_barrier_wait(&r->rush->before);
        if (rusher_go(r)) {
            atomic_fetch_add(&r->rush->duties, 1);
        }
        pthread_barrier_wait(&r->rush->after);
    }
    return NULL;
}

TEST(exactly_one_of_eight_at_once_gets_the_wake) {
    static struct rush rush;
    rush = (struct rush){.rounds = scaled(3000)};
    struct rusher rushers[PRODUCERS];
    xev_mpsc_init(&rush.q);
    pthread_barrier_init(&rush.before, NULL, PRODUCERS + 1);
    pthread_barrier_init(&rush.after, NULL, PRODUCERS + 1);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        rushers[i].rush = &rush;
        rushers[i].id = i;
        CHECK_EQ(pthread_create(&rushers[i].thread, NULL, rusher_main, &rushers[i]), 0);
    }
    for (uint32_t i = 0; i < rush.rounds; i++) {
        CHECK(xev_mpsc_park(&rush.q));
        pthread_barrier_wait(&rush.before);
        pthread_barrier_wait(&rush.after);
        CHECK_EQ(atomic_exchange(&rush.duties, 0), 1);
        xev_mpsc_unpark(&rush.q);
        size_t n = 0;
        while (xev_mpsc_pop(&rush.q) != NULL) {
            n++;
        }
        CHECK_EQ(n, 2 * 2 + 4); /* two batches of two, four single pushes */
    }
    for (size_t i = 0; i < PRODUCERS; i++) {
        pthread_join(rushers[i].thread, NULL);
    }
    pthread_barrier_destroy(&rush.before);
    pthread_barrier_destroy(&rush.after);
}

/* ---- calls that do not cease (mpsc/visit.h) ---- */

static struct xev__callers callers;
static atomic_bool waited;

static void *wait_for_callers(void *arg) {
    (void)arg;
    xev__callers_wait(&callers);
    waited = true;
    return NULL;
}

static uint32_t call_in_phase(uint32_t phase) {
    while (ck_pr_load_32(&callers.phase) != phase) {
        sched_yield();
    }
    CHECK_EQ(xev__call_begin(&callers), phase);
    return phase;
}

/* At no time is nobody inside. */
TEST(a_wait_for_callers_ends_though_calls_do_not_cease) {
    pthread_t waiter;
    uint32_t first = call_in_phase(0);
    CHECK_EQ(pthread_create(&waiter, NULL, wait_for_callers, NULL), 0);
    uint32_t second = call_in_phase(1);
    CHECK(!waited);
    xev__call_end(&callers, first);
    uint32_t third = call_in_phase(0);
    CHECK(!waited);
    xev__call_end(&callers, second);
    CHECK_EQ(pthread_join(waiter, NULL), 0);
    CHECK(waited);
    xev__call_end(&callers, third);
}
