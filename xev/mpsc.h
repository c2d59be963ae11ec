/* mpsc.h: intrusive unbounded queue, many producer threads, one consumer thread, with a wake
 * protocol that tells a producer when it has to wake a sleeping consumer.
 *
 * Model. Vyukov's queue with a stub node: `head` is the newest node, swung by one atomic exchange
 * per push (or per batch); the producer then links its predecessor to it. `tail` is the oldest
 * node and belongs to the consumer. Nothing is allocated, nothing blocks: push is wait-free, pop
 * looks at a bounded number of nodes however many producers there are.
 *
 * Between a producer's exchange and its link the nodes behind it cannot be reached. pop() then
 * answers NULL though the queue is not empty: "spurious empty". The consumer learns of it because
 * park() answers false and empty() answers false; it stays awake and pops again later (the window
 * is two instructions, unless the producer was preempted inside it).
 *
 * Wake protocol. The consumer, with nothing to do:
 *
 *     while ((n = xev_mpsc_pop(q)) != NULL) handle(n);
 *     if (xev_mpsc_park(q)) {
 *         if (!other_work_flagged())      // what a thread sets before it calls xev_mpsc_wake()
 *             sleep_until_woken();        // eventfd, futex, kernel wait ...
 *         xev_mpsc_unpark(q);
 *     }
 *     ... and round again
 *
 * A producer: `if (xev_mpsc_push(q, n)) wake_the_sleeper();`. The waking primitive must remember a
 * wake that comes before the sleep (eventfd, semaphore, futex on a word the waker changes do).
 *
 * Why no wake is lost (Dekker's argument). push and park each write one word, then read the other:
 *
 *     push:  exchange head        | full fence | read parked
 *     park:  parked = 1           | full fence | read head
 *
 * In the single order of the two fences one comes first. If push's does, park reads the new head
 * and answers false: the consumer does not sleep. If park's does, push reads parked == 1 and takes
 * it (by exchange, so one producer gets it): that producer answers true. A producer between
 * exchange and link counts as pushed in this argument, because park looks at `head` and not at the
 * links. So a consumer woken by one producer while another has not linked yet finds pop() == NULL,
 * and then park() == false: it cannot fall asleep on the unlinked node. The protocol is checked
 * with SPIN: mpsc/model/wake.pml, with the weak-memory cases that the two fences exclude.
 *
 * Ordering given: what a producer wrote before push happens before what the consumer does after
 * the pop that returned the node. Node links are touched with Concurrency Kit primitives only,
 * which ThreadSanitizer does not see; the payload's hand-off is annotated (mpsc/handoff.h).
 */
#ifndef XEV_MPSC_H
#define XEV_MPSC_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes that two cores cannot hold for writing at the same time. */
#define XEV_MPSC_CACHE_LINE 64

#ifdef __cplusplus
#define XEV_MPSC_ALIGNED alignas(XEV_MPSC_CACHE_LINE)
#else
#define XEV_MPSC_ALIGNED _Alignas(XEV_MPSC_CACHE_LINE)
#endif

/* A link, embedded in the caller's object. From push until pop returned it the node belongs to the
 * queue and must stay where it is; then it is the consumer's, who may free or push it at once: no
 * producer touches it any more. `next` needs no initialisation before xev_mpsc_push. */
typedef struct xev_mpsc_node {
    struct xev_mpsc_node *next;
} xev_mpsc_node;

/* The queue. It contains a node that it points to, so it must not be moved or copied once
 * initialised. Being aligned to a cache line it makes every struct that embeds it so: allocate
 * those with aligned_alloc, malloc is not enough. Fields are private. */
typedef struct xev_mpsc {
    /* Producers' line. Each push takes it for writing with its exchange; `parked` shares it
     * because every push reads it right after, when the line is there anyhow. */
    XEV_MPSC_ALIGNED xev_mpsc_node *head;
    unsigned int parked;
    /* Consumer's line, apart so that pop does not take the line all producers are writing, and
     * they do not take this one. `stub` is here because the consumer's look at an empty queue
     * reads tail and stub.next: one line, which no producer touches while the queue stays empty. */
    XEV_MPSC_ALIGNED xev_mpsc_node *tail;
    xev_mpsc_node stub;
} xev_mpsc;

/* Makes *q an empty queue, not parked. q must be aligned to XEV_MPSC_CACHE_LINE (asserted). Before
 * any other call; the caller publishes q to the other threads. Cannot fail. There is no deinit:
 * the queue holds nothing, drop it when no thread uses it. Nodes still in it are the dropper's. */
void xev_mpsc_init(xev_mpsc *q);

/* Appends n. Any thread, at the same time as any other call; also the consumer. Wait-free.
 * n: see xev_mpsc_node for its ownership; not NULL, not in a queue.
 * Returns true if the consumer had parked and this caller took the duty to wake it: it must do so,
 * nobody else will. False: nothing to do.
 * Order: release towards the pop that returns n; full fence between publishing n and reading
 * whether the consumer is parked. */
bool xev_mpsc_push(xev_mpsc *q, xev_mpsc_node *n);

/* Appends a chain with one exchange: first, first->next, ... up to last. The caller has linked it
 * by `next`; last->next needs no value. The chain stands together in the queue, in its order.
 * One node: first == last. Threads, result, ownership and order as for xev_mpsc_push. */
bool xev_mpsc_push_batch(xev_mpsc *q, xev_mpsc_node *first, xev_mpsc_node *last);

/* Takes the oldest node. Consumer only. Bounded: no loop, whatever producers do.
 * Returns the node, now the caller's, or NULL: the queue is empty, or the oldest node is behind a
 * producer that is between exchange and link. NULL alone is therefore no licence to sleep:
 * xev_mpsc_park decides. A consumer that never sleeps just pops again.
 * Order: acquire; everything its producer did before the push is visible. */
xev_mpsc_node *xev_mpsc_pop(xev_mpsc *q);

/* Announces that the consumer is going to sleep. Consumer only.
 * Returns true: the queue was empty and from now on exactly one of the next push, push_batch or
 * wake calls answers true. The consumer may sleep, after a look at whatever else other threads
 * flag before they call xev_mpsc_wake. It calls xev_mpsc_unpark when it is awake again or if it
 * changed its mind.
 * Returns false: something is in the queue, perhaps not reachable yet. Do not sleep; the queue is
 * not parked, do not unpark; pop again. A wake may nevertheless be under way, from a producer that
 * saw the announcement before it was taken back: per call of park, whatever its result, at most
 * one push or wake answers true. So a consumer must bear a wake that it did not ask for.
 * Order: full fence between the announcement and the look at the queue, and before any load of the
 * caller that follows. */
bool xev_mpsc_park(xev_mpsc *q);

/* Ends the announcement: producers need not wake any more. Consumer only, after xev_mpsc_park
 * answered true, whatever woke it (a producer, a timer, I/O). A producer that took the duty just
 * before may still deliver its wake later. Then pop: unpark says nothing about the queue. */
void xev_mpsc_unpark(xev_mpsc *q);

/* Takes the duty to wake without pushing, for news that does not travel in the queue. Any thread.
 * Usage: set an atomic flag; if (xev_mpsc_wake(q)) wake_the_sleeper(). The consumer looks at the
 * flag after park() answered true and before it sleeps.
 * Returns true: the consumer had parked and this caller must wake it. False: it is awake, or
 * another caller has taken the duty; the consumer will see the flag before it sleeps.
 * Order: full fence between the caller's earlier stores and the look at the announcement. */
bool xev_mpsc_wake(xev_mpsc *q);

/* Gives the duty to wake back, which a push or wake that answered true gave to the caller, because
 * the sleeper could not be woken (its waking primitive failed). Any thread. The next push,
 * push_batch or wake answers true, unless the consumer was awake in the meantime and has looked for
 * itself; then it may answer true once although the consumer is awake.
 * Order: full fence between the failed attempt and the announcement. */
void xev_mpsc_not_woken(xev_mpsc *q);

/* Whether nothing has been pushed that was not popped. Consumer only. A producer between exchange
 * and link makes it false, so `pop() == NULL && !empty()` is the spurious case. Orders nothing. */
bool xev_mpsc_empty(const xev_mpsc *q);

#ifdef __cplusplus
}
#endif

#endif /* XEV_MPSC_H */
