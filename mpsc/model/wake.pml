/* wake.pml: SPIN model of the wake protocol of mpsc.h: push, pop, park, unpark, wake.
 *
 * Two producers push PUSHES nodes each; a third thread sets a flag and calls xev_mpsc_wake; one
 * consumer runs the loop that mpsc.h prescribes, until it has popped everything and seen the flag.
 * Checked: the consumer never sleeps while there is something for it and no wake under way (as
 * SPIN's "invalid end state": everybody else is done and the consumer waits for ever), each node
 * is popped once and in the order of the exchanges, and no call of park yields two wakes.
 *
 * //tests:mpsc_model_test runs it with PUSHES=1. The larger one by hand, in an empty directory; it
 * takes 40 s and 1.4 GB:
 *
 *     spin -a wake.pml && gcc -O2 -DCOLLAPSE -o pan pan.c && ./pan -m100000 | grep errors
 *     -> errors: 0          (26.5 million states)
 *
 * What makes it hold is each of the following. Leaving one out, as in
 * `spin -DNO_PARK_FENCE -a wake.pml`, must give errors: 1; `spin -DNO_PARK_FENCE -t -p wake.pml`
 * then shows the run that goes wrong.
 *
 *     NO_PARK_FENCE  park's store may still be in the store buffer when it reads head
 *     NO_PUSH_FENCE  push may read `parked` before its exchange is visible
 *     NO_WAKE_FENCE  wake may read `parked` before the flag set earlier is visible
 *     NO_RECHECK     park does not look at the queue after its announcement
 *     PARK_BY_POP    park looks for a node as pop does, at the links and not at head
 *     NO_FLAG_CHECK  the consumer does not look at the flag between park and sleep
 *     NO_TAKE        the duty to wake is taken by a load and a store instead of an exchange
 *
 * How memory is modelled. Weak order is put in by hand where the protocol could suffer from it: the
 * consumer's store to `parked` goes through a one-entry store buffer that drains at any moment
 * (process buffer) or at the fence; a producer's or waker's early read of `parked` stands before
 * its own store. The link store of push is a step of its own after the exchange, and it may even
 * come after the wake, as weakly ordered machines allow (a free choice in `producer`).
 *
 * The queue is Vyukov's, with node 0 as the stub. Nodes are not reused: a popped node keeps its
 * number out of the queue, which is what the exactly-once check uses.
 */

#ifndef PUSHES
#define PUSHES 2
#endif
#define NODES (2 * PUSHES + 1)
#define NIL 255

byte head = 0;
byte tail = 0;
byte next[NODES]; /* NIL or a node */

bool parked = false;        /* what all threads see */
bool buffered = false;      /* a store of the consumer to `parked` is under way ... */
bool buffered_value;        /* ... with this value */

byte order[NODES];          /* nodes in the order of their exchanges, the stub left out */
byte exchanged = 0;
byte popped = 0;

bool flag = false;
byte tokens = 0;            /* wakes delivered to what the consumer sleeps on */
byte duties = 0;            /* answers "true" since the latest call of park */

/* Drains the consumer's store buffer, at any moment. */
active proctype buffer()
{
end:
    do
    :: atomic { buffered -> parked = buffered_value; buffered = false }
    od
}

/* A store by the consumer: its stores become visible in order. */
inline store_parked(v)
{
    atomic {
        !buffered -> buffered = true; buffered_value = v;
        if :: v -> duties = 0 :: else fi
    }
}

inline fence()
{
    !buffered
}

/* take_wake_duty and, on true, the delivery. `seen` is the load of parked. */
inline take_duty_and_wake()
{
    if
    :: seen ->
        atomic {
            seen = false;
#ifdef NO_TAKE
            took = true;
#else
            took = parked;
#endif
            parked = false;
            duties = duties + took;
            assert(duties <= 1)
        }
        if
        :: took -> atomic { tokens++; took = false }
        :: else
        fi
    :: else
    fi
}

proctype producer(byte first)
{
    byte n = first;
    byte prev = NIL;
    bool seen = false;
    bool took = false;
    do
    :: n < first + PUSHES ->
        next[n] = NIL; /* not in the queue yet: nobody looks */
#ifdef NO_PUSH_FENCE
        seen = parked;
#endif
        atomic { prev = head; head = n; order[exchanged] = n; exchanged++ }
        if
        :: atomic { next[prev] = n; prev = NIL }
        :: skip /* the link becomes visible later */
        fi;
#ifndef NO_PUSH_FENCE
        seen = parked;
#endif
        take_duty_and_wake();
        if
        :: atomic { prev != NIL -> next[prev] = n; prev = NIL }
        :: prev == NIL
        fi;
        n++
    :: n == first + PUSHES -> break
    od
}

proctype waker()
{
    bool seen = false;
    bool took = false;
#ifdef NO_WAKE_FENCE
    seen = parked;
    flag = true;
#else
    flag = true;
    seen = parked;
#endif
    take_duty_and_wake()
}

#ifdef PARK_BY_POP
#define EMPTY (tail == 0 && next[0] == NIL)
#else
#define EMPTY (tail == 0 && head == 0)
#endif

/* Each step touches one word that others share; what is the consumer's own goes along with it. */
proctype consumer()
{
    byte t = 0;
    byte nx = 0;
    byte prev = 0;
    bool heard = false;

pop:
    atomic { t = tail; nx = next[t] }
    if
    :: atomic { t == 0 && nx == NIL -> t = 0; nx = 0; goto park }
    :: atomic { t == 0 && nx != NIL -> tail = nx; t = nx; nx = next[t] }
    :: t != 0
    fi;
    if
    :: nx != NIL -> goto take
    :: nx == NIL
    fi;
    if
    :: atomic { head != t -> t = 0; nx = 0; goto park }
    :: atomic { head == t -> next[0] = NIL }
    fi;
    atomic { prev = head; head = 0 }
    atomic { next[prev] = 0; prev = 0 }
    atomic { nx = next[t] }
    if
    :: nx != NIL -> goto take
    :: atomic { nx == NIL -> t = 0; nx = 0; goto park }
    fi;

take:
    atomic {
        tail = nx;
        assert(t == order[popped]); /* in order, hence once */
        popped++;
        t = 0;
        nx = 0;
        goto pop
    }

park:
    if
    :: EMPTY
    :: !EMPTY -> goto pop
    fi;
    store_parked(true);
#ifndef NO_PARK_FENCE
    fence();
#endif
#ifndef NO_RECHECK
    if
    :: EMPTY
    :: !EMPTY -> store_parked(false); goto pop
    fi;
#endif

    /* parked */
#ifndef NO_FLAG_CHECK
    if
    :: atomic { flag && !heard -> heard = true; goto unpark }
    :: !flag || heard
    fi;
#endif
    if
    :: heard && popped == 2 * PUSHES -> goto over
    :: !heard || popped < 2 * PUSHES
    fi;
    atomic { tokens > 0 -> tokens = 0 } /* sleep */
    if
    :: atomic { flag -> heard = true }
    :: !flag
    fi;

unpark:
    store_parked(false);
    goto pop;

over:
    skip
}

init
{
    byte i;
    atomic {
        for (i : 0 .. NODES - 1) { next[i] = NIL }
        run producer(1);
        run producer(1 + PUSHES);
        run waker();
        run consumer()
    }
}
