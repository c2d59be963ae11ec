/* Calls by threads that are none of the shards, which the runtime's end waits for; and senders,
 * which may outlive the runtime.
 *
 * A call that gets a shard is counted in the shard's runtime. The caller vouches for its memory:
 * the runtime runs, or a sender of it is open. A call that gets the handle must find the runtime
 * first, and the runtime may end at that very moment. So the few instructions between the look at
 * the handle and the count in the runtime are counted themselves (finding), for all handles
 * together. A handle cannot hold that count: it is the caller's memory, and not initialised before
 * the first run.
 */
#include <assert.h>
#include <ck_pr.h>
#include <pthread.h>
#include <stdlib.h>

#include "mpsc/handoff.h"
#include "mpsc/visit.h"
#include "shard/internal.h"

static struct xev__callers finding;
static pthread_mutex_t finding_lock =
    PTHREAD_MUTEX_INITIALIZER; /* one thread waits for finding at a time */

/* In a forked child. The calls that other threads of the parent were in are over, since the child
 * has not got those threads. Its own thread is no shard, though it may be the copy of one. */
static void forget_other_threads(void) {
    finding = (struct xev__callers){0};
    finding_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    xev__current_shard = NULL;
}

int xev__visits_watch_forks(void) {
    static uint32_t watched; /* atomic */
    if (ck_pr_load_32(&watched) == 0) {
        int rc = xev__in_forked_child(forget_other_threads); /* twice does no harm */
        if (rc != 0) {
            return -rc;
        }
        ck_pr_store_32(&watched, 1);
    }
    return xev__os_watch_forks();
}

static bool is_own(const struct xev__runtime *rt) {
    return xev__current_shard != NULL && xev__current_shard->rt == rt;
}

struct xev__visit xev__visit_shard(const xev_shard *s) {
    struct xev__visit visit = {.rt = s->rt, .counted = !is_own(s->rt)};
    if (visit.counted) {
        visit.phase = xev__call_begin(&visit.rt->callers);
    }
    return visit;
}

struct xev__visit xev__visit_runtime(const xev_runtime *handle) {
    if (xev__current_shard != NULL && xev__current_shard->handle == handle) {
        return (struct xev__visit){.rt = xev__current_shard->rt};
    }
    uint32_t phase = xev__call_begin(&finding);
    struct xev__visit visit = {.rt = ck_pr_load_ptr(&handle->impl), .counted = true};
    if (visit.rt != NULL) {
        XEV_HANDOFF_ACQUIRE(&handle->impl);
        visit.phase = xev__call_begin(&visit.rt->callers);
    }
    xev__call_end(&finding, phase);
    return visit;
}

void xev__visit_leave(struct xev__visit visit) {
    assert(visit.rt != NULL);
    if (visit.counted) {
        xev__call_end(&visit.rt->callers, visit.phase);
    }
}

void xev__visits_open(xev_runtime *handle, struct xev__runtime *rt) {
    assert(handle->impl == NULL && rt->shards != NULL && rt->count > 0);
    XEV_HANDOFF_RELEASE(&handle->impl);
    ck_pr_fence_release();
    ck_pr_store_ptr(&handle->impl, rt);
}

void xev__visits_close(xev_runtime *handle, struct xev__runtime *rt) {
    assert(handle->impl == rt || handle->impl == NULL);
    ck_pr_store_ptr(&handle->impl, NULL);
    pthread_mutex_lock(&finding_lock);
    xev__callers_wait(&finding);
    pthread_mutex_unlock(&finding_lock);
    xev__callers_wait(&rt->callers);
}

void xev__runtime_unref(struct xev__runtime *rt) {
    assert(ck_pr_load_32(&rt->refs) > 0);
    XEV_HANDOFF_RELEASE(&rt->refs);
    ck_pr_fence_release();
    if (ck_pr_faa_32(&rt->refs, 0u - 1u) == 1) {
        ck_pr_fence_memory();
        XEV_HANDOFF_ACQUIRE(&rt->refs);
        free(rt->shards_memory);
        free(rt);
    }
}

/* ---- senders ---- */

static struct xev__runtime *opened(const char *call, const xev_sender *sender) {
    xev__shard_check(sender != NULL && sender->impl != NULL, call, "sender is null or not open");
    assert(ck_pr_load_32(&sender->impl->refs) > 0);
    return sender->impl;
}

int xev_sender_open(xev_sender *sender, xev_runtime *handle) {
    xev__shard_check(sender != NULL && handle != NULL, "xev_sender_open",
                     "sender or runtime is null");
    struct xev__visit visit = xev__visit_runtime(handle);
    sender->impl = visit.rt;
    if (visit.rt == NULL) {
        return XEV_ECANCELED;
    }
    ck_pr_inc_32(&visit.rt->refs);
    xev__visit_leave(visit);
    return 0;
}

uint32_t xev_sender_shards(const xev_sender *sender) {
    return opened("xev_sender_shards", sender)->count;
}

xev_shard *xev_sender_shard(const xev_sender *sender, uint32_t id) {
    struct xev__runtime *rt = opened("xev_sender_shard", sender);
    return id < rt->count ? &rt->shards[id] : NULL;
}

int xev_sender_broadcast(xev_sender *sender, xev_message *messages, xev_message_fn handler,
                         void *arg) {
    struct xev__runtime *rt = opened("xev_sender_broadcast", sender);
    xev__shard_check(messages != NULL && handler != NULL, "xev_sender_broadcast",
                     "messages or handler is null");
    struct xev__visit visit = xev__visit_shard(&rt->shards[0]);
    int rc = xev__send_to_all(rt, messages, handler, arg);
    xev__visit_leave(visit);
    return rc;
}

void xev_sender_close(xev_sender *sender) {
    struct xev__runtime *rt = opened("xev_sender_close", sender);
    sender->impl = NULL;
    xev__runtime_unref(rt);
}
