/* The walk over everything that is active in a loop. It visits all places in which an active
 * completion may stand (core.h lists them). Debug builds also have a table that names the call that
 * started each completion. */
#include <string.h>

#include "xev/core/core.h"
#include "xev/os/clock.h"
#include "xev/os/thread.h"

const char *xev__op_name(int op) {
    bool known = op > 0 && op < XEV__OP_COUNT && xev__kinds[op].name != NULL;
    return known ? xev__kinds[op].name : "";
}

/* ---- the walk ---- */

/* The operation that part, one of the loop's own operations, belongs to. NULL if there is none, or
 * if the walk finds it in another place. */
static xev_completion *whole_of(const xev_completion *part) {
    xev_completion *c = part->userdata;
    if (c == NULL || xev__kinds[c->op].named_by == NULL || !xev__kinds[c->op].named_by(c, part)) {
        return NULL;
    }
    return c;
}

static void visit(const xev_loop *loop, xev_completion *c, xev__visit_fn fn, void *arg) {
    if ((c->flags & XEV__F_INTERNAL) != 0) {
        c = whole_of(c);
        if (c == NULL) {
            return;
        }
    }
    xev_completion *cancel = NULL;
    if (c->state != XEV__POOL || (c->flags & XEV__F_CHAINED) != 0) {
        cancel = c->at.link.cancels;
    }
    for (xev_completion *next; cancel != NULL; cancel = next) {
        next = cancel->at.link.next;
        visit(loop, cancel, fn, arg); /* a cancel may itself be the target of cancels */
    }
    fn(loop, c, arg);
}

static void visit_list(const xev_loop *loop, xev_completion *c, xev__visit_fn fn, void *arg) {
    for (xev_completion *next; c != NULL; c = next) {
        next = c->at.link.next;
        visit(loop, c, fn, arg);
    }
}

/* Whether c is on the pool, or on the way there, and in no list of a descriptor. */
static bool only_on_pool(const xev_completion *c) {
    return (c->state == XEV__POOL || c->state == XEV__TO_POOL) && (c->flags & XEV__F_COUNTED) == 0;
}

/* Visit c if it is a timer, a close that lingers, or work with a deadline. Other operations with a
 * deadline are visited in another place. */
static void visit_timer(const xev_loop *loop, xev_completion *c, xev__visit_fn fn, void *arg) {
    if (c->state == XEV__TIMER || c->state == XEV__LINGERING || only_on_pool(c)) {
        visit(loop, c, fn, arg);
    }
}

static void visit_heap(const xev_loop *loop, xev_completion *root, xev__visit_fn fn, void *arg) {
    xev_completion *c = root;
    while (c != NULL) {
        bool leaf = c->heap.child == NULL;
        xev_completion *next = leaf ? c->heap.next : c->heap.child;
        for (xev_completion *up = c; leaf && next == NULL && up->heap.prev != NULL;) {
            bool first = up->heap.prev->heap.child == up;
            up = up->heap.prev; /* the left sibling, or the parent of a first child */
            next = first ? up->heap.next : NULL;
        }
        visit_timer(loop, c, fn, arg);
        c = next;
    }
}

static void visit_timers(const xev_loop *loop, xev__visit_fn fn, void *arg) {
    const struct xev__forest *forest = &loop->timers.forest;
    for (uint32_t rank = 0; rank < XEV__FOREST_RANKS; rank++) {
        if ((forest->used & 1u << rank) != 0) {
            visit_heap(loop, forest->roots[rank], fn, arg);
        }
    }
    for (xev_completion *c = loop->timers.nursery, *next; c != NULL; c = next) {
        next = c->heap.next;
        visit_timer(loop, c, fn, arg);
    }
}

static void visit_requests(const xev_loop *loop, xev_completion *c, xev__visit_fn fn, void *arg) {
    for (xev_completion *next; c != NULL; c = next) {
        next = ((struct xev__request *)(void *)c)->link.next;
        if (c->state != XEV__PENDING) {
            visit(loop, c, fn, arg);
        }
    }
}

struct visitor {
    xev__visit_fn fn;
    void *arg;
};

static void visit_of_kind(const xev_loop *loop, xev_completion *c, void *arg) {
    const struct visitor *visitor = arg;
    visit(loop, c, visitor->fn, visitor->arg);
}

/* Call fn once for every active completion except the loop's own. fn may end that completion and
 * must not touch any other. */
static void visit_all(const xev_loop *loop, xev__visit_fn fn, void *arg) {
    visit_timers(loop, fn, arg);
    for (xev_completion *c = loop->works, *next; c != NULL; c = next) {
        next = c->heap.next;
        if (only_on_pool(c)) {
            visit(loop, c, fn, arg);
        }
    }
    for (xev_completion *c = loop->to_pool.head, *next; c != NULL; c = next) {
        next = c->at.link.next;
        if (only_on_pool(c) && (c->flags & XEV__F_DEADLINE) == 0) {
            visit(loop, c, fn, arg);
        }
    }
    for (xev_completion *c = loop->tries.head, *next; c != NULL; c = next) {
        next = c->at.link.next;
        if ((c->flags & XEV__F_COUNTED) == 0) {
            visit(loop, c, fn, arg);
        }
    }
    struct visitor visitor = {fn, arg};
    for (int op = 0; op < XEV__OP_COUNT; op++) {
        if (xev__kinds[op].each != NULL) {
            xev__kinds[op].each(loop, visit_of_kind, &visitor);
        }
    }
    for (uint32_t i = 0; i < xev__chunks_end(&loop->fds->entries); i++) {
        struct xev__fd *e = xev__fds_known(loop->fds, i);
        if (e == NULL) {
            continue;
        }
        for (int d = 0; d < XEV__DIRS; d++) {
            visit_list(loop, e->head[d], fn, arg);
        }
        const struct xev__fd_requests *r = xev__fds_requests(loop->fds, e);
        if (r != NULL) {
            visit_requests(loop, r->side_by_side, fn, arg);
            visit_requests(loop, r->in_order, fn, arg);
        }
        if (e->closer != NULL && e->closer->state == XEV__CLOSING) {
            visit(loop, e->closer, fn, arg);
        }
    }
    visit_list(loop, loop->pending.head, fn, arg);
    visit_list(loop, loop->delivering.head, fn, arg);
}

struct find_close {
    xev_fd fd;
    bool found;
};

static void compare_close(const xev_loop *loop, xev_completion *c, void *arg) {
    struct find_close *find = arg;
    (void)loop;
    find->found |= c->op == XEV__OP_CLOSE && c->fd == find->fd && c->result == 0;
}

bool xev__is_closed_by_any(const xev_loop *loop, xev_fd fd) {
    struct find_close find = {.fd = fd};
    visit_all(loop, compare_close, &find);
    return find.found;
}

static const char *state_name(const xev_completion *c) {
    switch ((enum xev__state)c->state) {
    case XEV__QUEUED:
        return "behind another on its descriptor";
    case XEV__STARTED:
        return "waits for the kernel";
    case XEV__STARVED:
        return (c->flags & XEV__F_LOAN) != 0 ? "waits for a loaned buffer"
                                             : "waits for descriptors, memory or room";
    case XEV__TIMER:
        return "waits for its time";
    case XEV__ASYNC:
        return "waits for a notify";
    case XEV__TRY:
        return "waits for its turn to be tried";
    case XEV__TO_POOL:
    case XEV__POOL:
        return "on the thread pool";
    case XEV__STEPPING:
        return xev__kinds[c->op].parts;
    case XEV__LINGERING:
        return "waits for the peer to take what was sent";
    case XEV__CHAINED:
        return "waits for its target to end";
    case XEV__CLOSING:
        return "waits for its descriptor's operations";
    case XEV__PENDING:
        return "callback is due";
    case XEV__DEAD:
        break;
    }
    return "dead";
}

#if !defined(NDEBUG)
static struct xev__start find_start(const xev_loop *loop, const xev_completion *c);
#endif

struct walk {
    xev_walk_cb cb;
    void *userdata;
};

static xev_active describe(const xev_loop *loop, xev_completion *c) {
    xev_active active = {
        .completion = c,
        .op = xev__op_name(c->op),
        .state = state_name(c),
        .fd = xev__kinds[c->op].has_fd ? c->fd : XEV_INVALID_FD,
        .referenced = (c->flags & XEV__F_UNREF) == 0,
        .due_ns = UINT64_MAX,
    };
    if (c->state == XEV__TIMER || (c->flags & XEV__F_DEADLINE) != 0) {
        uint64_t now = xev__os_now_ns();
        active.due_ns = c->deadline_ns > now ? c->deadline_ns - now : 0;
    }
#if !defined(NDEBUG)
    struct xev__start start = find_start(loop, c);
    active.call = start.call;
    active.from = start.from;
#else
    (void)loop;
#endif
    return active;
}

static void report(const xev_loop *loop, xev_completion *c, void *arg) {
    const struct walk *walk = arg;
    xev_active active = describe(loop, c);
    walk->cb(&active, walk->userdata);
}

void xev_loop_walk(const xev_loop *loop, void *userdata, xev_walk_cb cb) {
    xev__check_own_loop("xev_loop_walk", loop);
    xev__check_pointer("xev_loop_walk", "callback is null", (const void *)(uintptr_t)cb);
    struct walk walk = {cb, userdata};
    visit_all(loop, report, &walk);
}

/* Such as ", by xev_tcp_recv from server+0x12ab". Unknown parts are left out. */
static void describe_start(const xev_active *a, char *text, size_t len_bytes) {
    char place[96] = "";
    if (a->from != NULL) {
        /* The return address may belong to the next line. The byte before it is of the call. */
        xev__os_code_place((const char *)a->from - 1, place, sizeof place);
    }
    bool known = a->call != NULL;
    snprintf(text, len_bytes, "%s%s%s%s", known ? ", by " : "", known ? a->call : "",
             a->from != NULL ? " from " : "", place);
}

static void print_active(const xev_active *a, void *userdata) {
    char fd[24] = "", due[40] = "", start[160];
    if (a->fd != XEV_INVALID_FD) {
        snprintf(fd, sizeof fd, "fd %lld", (long long)a->fd);
    }
    if (a->due_ns != UINT64_MAX) {
        snprintf(due, sizeof due, ", due in %.3f s", (double)a->due_ns / 1e9);
    }
    describe_start(a, start, sizeof start);
    fprintf(userdata, "  %-14s %-9s %s%s%s%s\n", a->op, fd, a->state, due,
            a->referenced ? "" : ", unreferenced", start);
}

_Noreturn void xev__misuse_active(const char *call, const xev_completion *c) {
    char what[256], start[160];
    xev_active active = describe(c->loop, (xev_completion *)(uintptr_t)c);
    describe_start(&active, start, sizeof start);
    snprintf(what, sizeof what, "the completion is already active: %s, %s%s", active.op,
             active.state, start);
    xev__misuse(call, what, c);
}

void xev_loop_print_active(const xev_loop *loop, FILE *to) {
    xev__check_loop("xev_loop_print_active", loop);
    xev__check_pointer("xev_loop_print_active", "stream is null", to);
    fprintf(to, "xev: loop %p (%s): %u active, %u of them keep it going\n", (const void *)loop,
            loop->ops->name, loop->active - loop->internal, loop->referenced);
    struct walk walk = {print_active, to}; /* whichever thread a debugger is looking at */
    visit_all(loop, report, &walk);
}

/* ---- fork ---- */

static void mark_dead(const xev_loop *loop, xev_completion *c, void *arg) {
    (void)loop;
    (void)arg;
    c->state = XEV__DEAD;
}

void xev__forget_everything(xev_loop *loop) {
    visit_all(loop, mark_dead, NULL);
    xev__watchers_unbind(loop);
}

/* ---- where operations were started ---- */

#if defined(NDEBUG)
void xev__starts_init(xev_loop *loop) { (void)loop; }
void xev__starts_free(xev_loop *loop) { (void)loop; }
void xev__starts_trim(xev_loop *loop, uint32_t peak) {
    (void)loop;
    (void)peak;
}
#else

_Thread_local const void *xev__call_from;

/* A hash table with open addressing and linear probing, at most half full. A start for which there
 * is no memory is not recorded. */
#define STARTS_MIN 512u
struct xev__starts {
    struct xev__start *slots;
    uint32_t len, used;
};

static uint32_t home_slot(const struct xev__starts *t, const xev_completion *c) {
    return (uint32_t)(((uint64_t)(uintptr_t)c >> 3) * 0x9e3779b97f4a7c15u >> 32) & (t->len - 1);
}

static uint32_t find_slot(const struct xev__starts *t, const xev_completion *c) {
    uint32_t i = home_slot(t, c);
    while (t->slots[i].c != NULL && t->slots[i].c != c) {
        i = (i + 1) & (t->len - 1);
    }
    return i;
}

static bool resize_starts(xev_loop *loop, uint32_t len) {
    const xev_allocator *a = &loop->options.allocator;
    struct xev__starts *t = loop->starts, resized = {.len = len};
    size_t slot = sizeof *t->slots;
    assert(t->used < len);
    resized.slots = xev__alloc_zeroed(a, len * slot, _Alignof(max_align_t));
    if (resized.slots == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < t->len; i++) {
        if (t->slots[i].c != NULL) {
            resized.slots[find_slot(&resized, t->slots[i].c)] = t->slots[i];
            resized.used++;
        }
    }
    xev__free(a, t->slots, t->len * slot);
    *t = resized;
    return true;
}

static bool make_starts_room(xev_loop *loop) {
    const xev_allocator *a = &loop->options.allocator;
    if (loop->starts == NULL) {
        loop->starts = xev__alloc_zeroed(a, sizeof *loop->starts, _Alignof(max_align_t));
    }
    const struct xev__starts *t = loop->starts;
    if (t == NULL || t->used < t->len / 2) {
        return t != NULL;
    }
    return resize_starts(loop, t->len != 0 ? 2 * t->len : STARTS_MIN);
}

void xev__starts_trim(xev_loop *loop, uint32_t peak) {
    const struct xev__starts *t = loop->starts;
    uint32_t len = STARTS_MIN;
    while (len / 8 < peak) {
        len *= 2;
    }
    if (t != NULL && len <= t->len / 2) {
        (void)resize_starts(loop, len);
    }
}

void xev__starts_init(xev_loop *loop) { (void)make_starts_room(loop); }

void xev__starts_put(xev_loop *loop, struct xev__start start) {
    if (make_starts_room(loop)) {
        uint32_t i = find_slot(loop->starts, start.c);
        loop->starts->used += loop->starts->slots[i].c == NULL;
        loop->starts->slots[i] = start;
    }
}

static struct xev__start find_start(const xev_loop *loop, const xev_completion *c) {
    const struct xev__starts *t = loop->starts;
    if (t == NULL || t->len == 0) {
        return (struct xev__start){0};
    }
    return t->slots[find_slot(t, c)];
}

struct xev__start xev__starts_take(xev_loop *loop, const xev_completion *c) {
    struct xev__start start = find_start(loop, c);
    if (start.c == NULL) {
        return start;
    }
    /* Close the gap: a later slot moves into it, unless that is in front of the slot's home. */
    struct xev__starts *t = loop->starts;
    uint32_t gap = find_slot(t, c), mask = t->len - 1;
    for (uint32_t i = (gap + 1) & mask; t->slots[i].c != NULL; i = (i + 1) & mask) {
        if (((i - home_slot(t, t->slots[i].c)) & mask) >= ((i - gap) & mask)) {
            t->slots[gap] = t->slots[i];
            gap = i;
        }
    }
    t->slots[gap] = (struct xev__start){0};
    assert(t->used > 0 && t->slots[gap].c == NULL);
    t->used--;
    return start;
}

void xev__starts_free(xev_loop *loop) {
    if (loop->starts != NULL) {
        const xev_allocator *a = &loop->options.allocator;
        xev__free(a, loop->starts->slots, loop->starts->len * sizeof *loop->starts->slots);
        xev__free(a, loop->starts, sizeof *loop->starts);
    }
}
#endif
