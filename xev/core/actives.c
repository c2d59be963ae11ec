/* The table of the completions and requests that are active in a loop. Each of them remembers its
 * place in the table. The table has the addresses of these numbers.
 *
 * The memory of a completion need not be initialised when it is submitted, and a peer may have
 * chosen its content. So the library does not read from that memory whether it is active. The place
 * in it is only a hint. The table belongs to the loop, and a completion is active if the table has
 * its address at that place. A wrong hint finds another address, a free place, or no place.
 *
 * Place 0 is never used. A completion that the program zeroes while it is active is then not found,
 * and the loop notices it. A free place holds the number of the next free place and a low bit that
 * no address has. Without memory for a larger table, completions without a place are counted; such
 * a completion works, but it is not noticed when it is submitted twice.
 *
 * A table that is full is replaced by a larger one (xev__table_len). New places become free in
 * pieces, as they are needed, so that the pages behind them take no memory; until then they are
 * NULL. When no more than a quarter of a smaller table was in use for a second, it replaces the
 * present one. What stood beyond its end gets another place.
 */
#include "xev/core/core.h"

#include "xev/os/thread.h"

#define FIRST_LEN 256u
#define FREE_AT_A_TIME 256u /* places: half a page */
_Static_assert(FIRST_LEN % FREE_AT_A_TIME == 0, "a table has a whole number of pieces");

/* ---- the process's loops ---- */

/* Some calls are given a completion and no loop, or the wrong loop. The pointer to a loop in the
 * completion's memory may be anything. It may be followed if this table lists it as a loop of this
 * thread. A loop for which the table has no room is not found, and its completions count as dead in
 * such a call. */
#define LOOPS_MAX 1024u
static struct {
    xev_loop *loop;
    uint64_t thread; /* 0: no thread has run the loop yet */
    uint64_t number; /* of that thread, to ask whether it has ended; of the process of forks */
    uint32_t forks;
} loops[LOOPS_MAX];
static uint32_t loops_top; /* no place from this one on was ever used */

static void loops_put(xev_loop *loop) {
    for (uint32_t i = 0; i < LOOPS_MAX; i++) {
        if (ck_pr_load_ptr(&loops[i].loop) == NULL && ck_pr_cas_ptr(&loops[i].loop, NULL, loop)) {
            loop->loops_place = i;
            for (uint32_t top = ck_pr_load_32(&loops_top); top <= i;) {
                (void)ck_pr_cas_32_value(&loops_top, top, i + 1, &top);
            }
            return;
        }
    }
    loop->loops_place = LOOPS_MAX;
}

static void loops_take(xev_loop *loop) {
    uint32_t i = loop->loops_place;
    if (i < LOOPS_MAX) {
        assert(ck_pr_load_ptr(&loops[i].loop) == loop);
        ck_pr_store_64(&loops[i].thread, 0);
        ck_pr_fence_store();
        ck_pr_store_ptr(&loops[i].loop, NULL);
    }
}

void xev__loops_set_thread(const xev_loop *loop) {
    if (loop->loops_place < LOOPS_MAX) {
        ck_pr_store_64(&loops[loop->loops_place].number, loop->thread_number);
        ck_pr_store_32(&loops[loop->loops_place].forks, loop->forks);
        ck_pr_fence_store();
        ck_pr_store_64(&loops[loop->loops_place].thread, loop->thread);
    }
}

/* Whether the thread of the loop at place i has ended. Not in a forked child: its parent's go on.
 */
static bool has_ended(uint32_t i) {
    return ck_pr_load_32(&loops[i].forks) == xev__os_forks &&
           xev__os_thread_has_ended(ck_pr_load_64(&loops[i].number));
}

/* Whether maybe is a loop of this thread, of none yet or of one that has ended (own); or of another
 * thread. */
static bool is_loop(const xev_loop *maybe, bool own) {
    uint32_t top = ck_pr_load_32(&loops_top);
    for (uint32_t i = 0; i < top && maybe != NULL; i++) {
        if (ck_pr_load_ptr(&loops[i].loop) == maybe) {
            ck_pr_fence_load(); /* what is read is not of the loop that had the place before */
            uint64_t thread = ck_pr_load_64(&loops[i].thread);
            ck_pr_fence_load();
            return own == (thread == xev__os_thread_id() || thread == 0 || has_ended(i));
        }
    }
    return false;
}

xev_loop *xev__loop_of(const xev_completion *c) {
    xev_loop *loop = c->loop;
    return is_loop(loop, true) && xev__is_active(loop, c) ? loop : NULL;
}

#if !defined(NDEBUG)
void xev__check_thread_of(const char *call, const xev_loop *maybe) {
    if (is_loop(maybe, false)) {
        xev__check_other_thread(call, maybe);
    }
}
#endif

/* ---- the table of a loop ---- */

static uint32_t *free_place(uint32_t next) { return (uint32_t *)((uintptr_t)next << 1 | 1); }

static bool is_free_place(const uint32_t *content) {
    return content == NULL || ((uintptr_t)content & 1) != 0;
}

static void set_table(xev_loop *loop, uint32_t **table, uint32_t len) {
    loop->actives = table;
    loop->actives_len = len;
    loop->actives_low = len > FIRST_LEN ? xev__table_len_before(len, sizeof *table) / 4 : 0;
}

static bool enlarge_table(xev_loop *loop) {
    const size_t place_bytes = sizeof *loop->actives;
    uint32_t old = loop->actives_len;
    uint32_t len = old != 0 ? xev__table_len(2 * old, place_bytes) : FIRST_LEN;
    if (len >= XEV__NO_PLACE) {
        return false;
    }
    uint32_t **larger =
        xev__grow(&loop->options.allocator, loop->actives, old * place_bytes, len * place_bytes);
    if (larger == NULL) {
        return false;
    }
    set_table(loop, larger, len);
    return true;
}

uint32_t xev__actives_grow(xev_loop *loop) {
    assert(loop->actives_len == 0 || loop->actives_free == XEV__NO_PLACE);
    assert(loop->actives_made <= loop->actives_len);
    uint32_t first = loop->actives_made;
    if (first == loop->actives_len && !enlarge_table(loop)) {
        return XEV__NO_PLACE;
    }
    uint32_t end = first + FREE_AT_A_TIME;
    assert(end <= loop->actives_len);
    for (uint32_t i = first; i < end; i++) {
        assert(loop->actives[i] == NULL);
        loop->actives[i] = free_place(i + 1 < end ? i + 1 : XEV__NO_PLACE);
    }
    loop->actives_made = end;
    return first != 0 ? first : 1;
}

/* Move what is active to a smaller table, which is all zero. */
static void move_table(xev_loop *loop, uint32_t **table, uint32_t len) {
    uint32_t **old = loop->actives, to = 1;
    for (uint32_t i = 1; i < len; i++) {
        table[i] = is_free_place(old[i]) ? NULL : old[i];
    }
    for (uint32_t i = len; i < loop->actives_len; i++) {
        if (is_free_place(old[i])) {
            continue;
        }
        if (*old[i] != i) {
            xev__actives_lost(old[i]);
        }
        while (table[to] != NULL) {
            to++;
        }
        assert(to < len);
        table[to] = old[i];
        *old[i] = to;
    }
    table[0] = free_place(XEV__NO_PLACE);
    loop->actives_free = XEV__NO_PLACE;
    for (uint32_t i = len; i-- > 1;) {
        if (table[i] == NULL) {
            table[i] = free_place(loop->actives_free);
            loop->actives_free = i;
        }
    }
    xev__free(&loop->options.allocator, old, loop->actives_len * sizeof *old);
    set_table(loop, table, len);
    loop->actives_made = len;
}

static enum xev__trim trim_actives(xev_loop *loop, struct xev__trimmer *t) {
    uint32_t peak = loop->actives_peak, len = FIRST_LEN;
    (void)t;
    peak = loop->actives_used > peak ? loop->actives_used : peak;
    loop->actives_peak = loop->actives_used;
    while (len / 4 < peak) {
        len = xev__table_len(2 * len, sizeof *loop->actives);
    }
    xev__starts_trim(loop, peak);
    if (len <= loop->actives_len / 2) {
        uint32_t **table =
            xev__alloc_zeroed(&loop->options.allocator, len * sizeof *table, _Alignof(max_align_t));
        if (table != NULL) {
            move_table(loop, table, len);
        }
    }
    return loop->actives_used < loop->actives_low ? XEV__TRIM_LATER : XEV__TRIM_DONE;
}

int xev__actives_init(xev_loop *loop) {
    assert(loop->actives == NULL && loop->actives_len == 0);
    loop->actives_free = xev__actives_grow(loop);
    loop->loops_place = LOOPS_MAX;
    if (loop->actives_free == XEV__NO_PLACE) {
        return XEV_ENOMEM;
    }
    loop->actives_trimmer.trim = trim_actives;
    xev__trimmer_add(loop, &loop->actives_trimmer);
    loops_put(loop);
    return 0;
}

void xev__actives_free(xev_loop *loop) {
    if (loop->actives != NULL) {
        loops_take(loop);
    }
    xev__free(&loop->options.allocator, loop->actives, loop->actives_len * sizeof *loop->actives);
    loop->actives = NULL;
    loop->actives_len = loop->actives_made = 0;
}

void xev__actives_lost(const void *what) {
    xev__misuse("xev_loop_run", "an active completion's or request's memory was written to", what);
}
