/* Who is admitted, and to which shard.
 *
 * Room is taken by the accepting shard in counts that all shards share, and given back when the
 * connection is gone. A count with a limit is only raised by a compare-and-swap that has seen it
 * below the limit, so no limit is passed, whatever shards accept at the same moment.
 */
#include <ck_pr.h>

#include "conn/move.h"
#include "serve/internal.h"

uint32_t xev__serve_least(const uint32_t *live, uint32_t shards, uint32_t first, uint32_t *least) {
    assert(first < shards);
    uint32_t best = first;
    *least = ck_pr_load_32(&live[first]);
    for (uint32_t i = 0; i < shards; i++) {
        uint32_t n = ck_pr_load_32(&live[i]);
        if (n < *least) {
            best = i;
            *least = n;
        }
    }
    return best;
}

/* ---- room ---- */

static bool take_room(uint32_t *count, uint32_t max) {
    uint32_t n = ck_pr_load_32(count);
    while (n < max && !ck_pr_cas_32_value(count, n, n + 1, &n)) {
    }
    return n < max;
}

static void give_room(uint32_t *count) {
    uint32_t before = ck_pr_faa_32(count, UINT32_MAX);
    assert(before > 0);
    (void)before;
}

void xev__serve_enter(xev_serve *serve, uint32_t shard) {
    ck_pr_inc_32(&serve->total);
    ck_pr_inc_32(&serve->live[shard]);
}

void xev__serve_leave(xev_serve *serve, uint32_t shard, struct xev__peer *peer) {
    give_room(&serve->total);
    give_room(&serve->live[shard]);
    if (peer != NULL) {
        xev__peer_give(&serve->peers, peer);
    }
}

/* ---- room that connections to upstreams take while nobody uses them ---- */

static uint32_t count_kept(const xev_serve *serve, uint32_t shard) {
    uint32_t kept = 0;
    for (const xev_service *v = serve->services; v != NULL; v = v->next) {
        kept += v->on[shard].conns != NULL ? xev__conn_kept(v->on[shard].conns) : 0;
    }
    return kept;
}

static void give_up_longest_kept(const xev_serve *serve, uint32_t shard) {
    xev_conn_service *longest = NULL;
    for (const xev_service *v = serve->services; v != NULL; v = v->next) {
        xev_conn_service *conns = v->on[shard].conns;
        if (conns != NULL && xev__conn_kept(conns) > 0 &&
            (longest == NULL || xev__conn_kept_ticks(conns) > xev__conn_kept_ticks(longest))) {
            longest = conns;
        }
    }
    if (longest != NULL) {
        (void)xev__conn_give_up_kept(longest);
    }
}

/* On the shard: count, in which its connections are, has met max. Give up as many as are too many
 * for one more. False: there are not so many. */
static bool free_room(const xev_serve *serve, uint32_t shard, const uint32_t *count, uint32_t max) {
    uint32_t n = ck_pr_load_32(count), excess = n >= max ? n - max + 1 : 0;
    if (excess > count_kept(serve, shard)) {
        return false;
    }
    for (; excess > 0; excess--) {
        give_up_longest_kept(serve, shard);
    }
    return true;
}

static bool take_or_free(xev_serve *serve, uint32_t shard, uint32_t *count, uint32_t max) {
    bool taken;
    while (!(taken = take_room(count, max)) && free_room(serve, shard, count, max)) {
    }
    return taken;
}

/* ---- shards ---- */

/* Take room on the shard that has the fewest. It still has the fewest then: others that take room
 * meanwhile only make the other shards fuller, and a change of this one is noticed. */
static bool take_least(xev_serve *serve, uint32_t first, uint32_t max, uint32_t *shard) {
    uint32_t least;
    do {
        *shard = xev__serve_least(serve->live, serve->shards, first, &least);
    } while (least < max && !ck_pr_cas_32(&serve->live[*shard], least, least + 1));
    return least < max;
}

/* The next one in turn that has room. */
static bool take_in_turn(xev_serve *serve, uint32_t *next, uint32_t max, uint32_t *shard) {
    for (uint32_t i = 0; i < serve->shards; i++) {
        *shard = *next;
        *next = (*next + 1) % serve->shards;
        if (take_room(&serve->live[*shard], max)) {
            return true;
        }
    }
    return false;
}

/* Take room on the shard that is to serve what d has accepted. Others than d's are possible only
 * once all have started: before, one may never come to handle a message. */
static bool take_shard(struct xev__served *d, uint32_t max, uint32_t *shard) {
    xev_serve *serve = d->service->serve;
    *shard = xev_shard_id(d->shard);
    if (serve->up && d->service->policy == XEV_SERVE_LEAST) {
        return take_least(serve, *shard, max, shard);
    }
    if (serve->up && d->service->policy == XEV_SERVE_DEAL) {
        return take_in_turn(serve, &d->next, max, shard);
    }
    return take_room(&serve->live[*shard], max);
}

/* ---- admission ---- */

const struct xev__rules *xev__serve_rules(xev_serve *serve, uint32_t self) {
    struct xev__rules_seen *seen = &serve->seen[self];
    if (seen->version != ck_pr_load_32(&serve->rules_version)) {
        pthread_mutex_lock(&serve->rules_lock);
        seen->rules = serve->rules;
        seen->version = ck_pr_load_32(&serve->rules_version);
        pthread_mutex_unlock(&serve->rules_lock);
    }
    return &seen->rules;
}

/* The limit of one who is no operator, or is one. */
static uint32_t limit_for(const xev_serve_limits *limits, uint32_t max, bool is_operator) {
    uint32_t reserve = limits->reserve;
    if (max == UINT32_MAX || is_operator) {
        return max;
    }
    return max > reserve ? max - reserve : 0;
}

bool xev__serve_admit(struct xev__served *d, xev_fd fd, struct xev__admission *a,
                      xev_serve_refusal *why) {
    xev_serve *serve = d->service->serve;
    uint32_t self = xev_shard_id(d->shard);
    const struct xev__rules *rules = xev__serve_rules(serve, self);
    const xev_serve_limits *l = &rules->limits;
    uint8_t key[XEV__PEER_BYTES];
    bool has_address = false;
    *a = (struct xev__admission){0};
    if (rules->looks_at_peers) {
        /* Of TCP a peer that has reset its connection has no address any more. */
        bool is_unix = xev_addr_family(&d->service->addr) == XEV_AF_UNIX;
        has_address = !is_unix && xev__serve_peer_address(fd, key);
        a->is_operator =
            (is_unix || has_address) && xev__serve_is_operator(rules, has_address ? key : NULL);
    }
    if (!take_or_free(serve, self, &serve->total, limit_for(l, l->process_max, a->is_operator))) {
        *why = XEV_SERVE_FULL_PROCESS;
        return false;
    }
    uint32_t shard_max = limit_for(l, l->shard_max, a->is_operator);
    while (!take_shard(d, shard_max, &a->shard)) {
        if (!free_room(serve, self, &serve->live[self], shard_max)) {
            give_room(&serve->total);
            *why = XEV_SERVE_FULL_SHARD;
            return false;
        }
    }
    if (has_address && !a->is_operator && l->peer_max != UINT32_MAX) {
        xev__peer_network(key);
        int rc = xev__peer_take(&serve->peers, key, l->peer_max, &a->peer);
        if (rc < 0) {
            xev__serve_leave(serve, a->shard, NULL);
            *why = rc == XEV_ENOMEM ? XEV_SERVE_NO_MEMORY : XEV_SERVE_FULL_PEER;
            return false;
        }
    }
    return true;
}

bool xev__serve_has_room(void *served) {
    const struct xev__served *d = served;
    xev_serve *serve = d->service->serve;
    uint32_t self = xev_shard_id(d->shard);
    const xev_serve_limits *l = &xev__serve_rules(serve, self)->limits;
    return ck_pr_load_32(&serve->total) < limit_for(l, l->process_max, false) &&
           ck_pr_load_32(&serve->live[self]) < limit_for(l, l->shard_max, false);
}

bool xev__serve_take_shard(xev_serve *serve, uint32_t self, uint32_t shard) {
    const xev_serve_limits *l = &xev__serve_rules(serve, self)->limits;
    return take_room(&serve->live[shard], limit_for(l, l->shard_max, false));
}

void xev__serve_give_shard(xev_serve *serve, uint32_t shard) { give_room(&serve->live[shard]); }

bool xev__serve_keep(struct xev__served *d, struct xev__admission *a) {
    xev_serve *serve = d->service->serve;
    uint32_t self = xev_shard_id(d->shard);
    assert(a->shard != self);
    const xev_serve_limits *l = &xev__serve_rules(serve, self)->limits;
    uint32_t max = limit_for(l, l->shard_max, a->is_operator);
    if (!take_or_free(serve, self, &serve->live[self], max)) {
        xev__serve_leave(serve, a->shard, a->peer);
        return false;
    }
    give_room(&serve->live[a->shard]);
    a->shard = self;
    return true;
}
