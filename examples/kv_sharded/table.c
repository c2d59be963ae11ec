/* One shard's keys.
 *
 * A key's place is its hash. The places are divided into regions, and each region into as many
 * buckets as it has keys: a region that grows divides its buckets in two, and nothing moves in the
 * others. So no insertion moves more than a five hundredth of the keys, and a walk by places meets
 * each key exactly once that is there all the time.
 *
 * Eviction: of SAMPLES entries from a random place on, the one whose last access is longest ago
 * goes.
 */
#include <stdlib.h>

#include "examples/kv_sharded/kv.h"

#define REGION_BITS 9
#define REGIONS (1u << REGION_BITS)
#define SAMPLES 5
#define EVICTIONS_MAX 2000 /* for one write */
#define SWEEP_BUCKETS 4096 /* that one sweep looks at */

struct region {
    struct entry **buckets, *first; /* first: the only bucket, at the beginning */
    uint32_t bits, count;           /* two to the power of bits buckets; count keys */
};

static uint32_t random_place(struct table *t) { /* xorshift */
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return (uint32_t)(t->random >> 32);
}

/* ---- regions and buckets ---- */

static struct region *region_at(const struct table *t, uint32_t place) {
    return &t->regions[place >> (32 - REGION_BITS)];
}

static struct entry **bucket_at(const struct table *t, uint32_t place) {
    const struct region *r = region_at(t, place);
    return &r->buckets[(uint64_t)(place << REGION_BITS) >> (32 - r->bits)];
}

struct entry *table_walk(const struct table *t, uint32_t *at) {
    struct entry *first = *bucket_at(t, *at);
    *at = (*at | ((1u << (32 - REGION_BITS - region_at(t, *at)->bits)) - 1)) + 1;
    return first;
}

/* One key more, and its buckets are divided. */
static bool is_full(const struct region *r) {
    return r->count >= 1u << r->bits && r->bits < 32 - REGION_BITS;
}

/* Without memory the region works on as it is. */
static void resize(struct table *t, struct region *r, uint32_t bits) {
    size_t old = (size_t)1 << r->bits, count = (size_t)1 << bits;
    struct entry **from = r->buckets, **to = calloc(count, sizeof *to);
    if (to == NULL) {
        return;
    }
    stat_add(t, STAT_MEMORY, (count - old) * sizeof *to);
    r->buckets = to;
    r->bits = bits;
    for (size_t i = 0; i < old; i++) {
        for (struct entry *e = from[i], *next; e != NULL; e = next) {
            struct entry **first = bucket_at(t, e->hash);
            next = e->next;
            e->next = *first;
            *first = e;
        }
    }
    if (from != &r->first) {
        free(from);
    }
}

bool table_clear(struct table *t) {
    struct region *regions = calloc(REGIONS, sizeof *regions);
    for (uint32_t i = 0; regions != NULL && i < REGIONS; i++) {
        regions[i].buckets = &regions[i].first;
    }
    if (regions != NULL) {
        t->regions = regions;
        stat_set(t, STAT_KEYS, 0);
        stat_set(t, STAT_EXPIRES, 0);
        stat_set(t, STAT_MEMORY, REGIONS * sizeof *regions);
    }
    return regions != NULL;
}

int regions_free(void *regions) {
    for (struct region *r = regions; r < (struct region *)regions + REGIONS; r++) {
        for (size_t i = 0; i < (size_t)1 << r->bits; i++) {
            for (struct entry *e = r->buckets[i], *next; e != NULL; e = next) {
                next = e->next;
                free(e);
            }
        }
        if (r->buckets != &r->first) {
            free(r->buckets);
        }
    }
    free(regions);
    return 0;
}

/* ---- entries ---- */

/* As the allocator sees it: a word before it, and a multiple of 16. */
static size_t entry_bytes(size_t key_len, size_t value_len) {
    return (sizeof(struct entry) + key_len + value_len + 8 + 15) / 16 * 16;
}

/* What points to the key's entry; to NULL: it would stand there. */
static inline struct entry **find_link(const struct table *t, resp_text key, uint32_t hash) {
    struct entry **link = bucket_at(t, hash), *e;
    while ((e = *link) != NULL &&
           !(e->hash == hash && e->key_len == key.len && memcmp(e->bytes, key.at, key.len) == 0)) {
        link = &e->next;
    }
    return link;
}

static inline void prefetch_entry(const struct entry *e) {
    __builtin_prefetch(e);
    __builtin_prefetch((const char *)e + 64); /* the key's end, the value */
}

/* What is fetched for one key is under way while the next ones are looked at. */
void table_prefetch(const struct table *t, const uint64_t *hashes, size_t count) {
    struct entry *const *buckets[RESP_PREFETCH_MAX];
    for (size_t i = 0; i < count; i++) {
        buckets[i] = bucket_at(t, (uint32_t)hashes[i]);
        __builtin_prefetch(buckets[i]);
    }
    for (size_t i = 0; i < count; i++) {
        prefetch_entry(*buckets[i]);
    }
    for (size_t i = 0; i < count; i++) {
        prefetch_entry(*buckets[i] != NULL ? (*buckets[i])->next : NULL);
    }
}

void table_set_expiry(struct table *t, struct entry *e, int64_t expires_ms) {
    if (expires_ms != e->expires_ms) {
        stat_add(t, STAT_EXPIRES, (size_t)(expires_ms != 0) - (size_t)(e->expires_ms != 0));
        e->expires_ms = expires_ms;
    }
}

void table_delete(struct table *t, struct entry *e) {
    struct region *r = region_at(t, e->hash);
    *find_link(t, entry_key(e), e->hash) = e->next;
    table_set_expiry(t, e, 0);
    stat_add(t, STAT_KEYS, (size_t)-1);
    stat_add(t, STAT_MEMORY, -entry_bytes(e->key_len, e->value_len));
    free(e);
    if (--r->count < (1u << r->bits) / 4) {
        resize(t, r, r->bits - 1);
    }
}

struct entry *table_find(struct table *t, resp_text key, uint64_t hash, int64_t now) {
    struct entry *e = *find_link(t, key, (uint32_t)hash);
    if (e != NULL && entry_expired(e, now)) {
        stat_add(t, STAT_EXPIRED, 1);
        table_delete(t, e);
        return NULL;
    }
    if (e != NULL) {
        e->used = ++t->clock;
    }
    return e;
}

struct entry *table_random(struct table *t, int64_t now) {
    struct entry *found = NULL;
    uint32_t at = random_place(t), before;
    for (uint64_t walked = 0; walked >> 32 == 0; walked += at - before) {
        before = at;
        for (struct entry *e = table_walk(t, &at); e != NULL; e = e->next) {
            found = entry_expired(e, now) ? found : e;
            if (found == e && random_place(t) % 4 == 0) {
                return e;
            }
        }
    }
    return found;
}

/* ---- the limit of memory ---- */

/* Never the one that was used last: the caller has it. NULL: there is no other. */
static struct entry *find_oldest(struct table *t) {
    struct entry *oldest = NULL;
    uint64_t keys = stat_get(t, STAT_KEYS), left = keys < SAMPLES ? keys : SAMPLES;
    for (uint32_t at = random_place(t); left > 0;) {
        for (struct entry *e = table_walk(t, &at); e != NULL && left > 0; e = e->next, left--) {
            if (t->clock - e->used > (oldest != NULL ? t->clock - oldest->used : 0)) {
                oldest = e;
            }
        }
    }
    return oldest;
}

/* False: there is no room for so many bytes more. */
static bool make_room(struct table *t, size_t bytes) {
    for (int n = 0; t->max_bytes > 0 && stat_get(t, STAT_MEMORY) + bytes > t->max_bytes; n++) {
        bool may_evict = t->evicts && n < EVICTIONS_MAX && bytes <= t->max_bytes;
        struct entry *oldest = may_evict ? find_oldest(t) : NULL;
        if (oldest == NULL) {
            return false;
        }
        table_delete(t, oldest);
        stat_add(t, STAT_EVICTED, 1);
    }
    return true;
}

struct entry *table_put(struct table *t, resp_text key, uint64_t hash, size_t value_len) {
    struct entry *e = *find_link(t, key, (uint32_t)hash);
    bool is_new = e == NULL;
    size_t old = is_new ? 0 : entry_bytes(key.len, e->value_len);
    size_t bytes = entry_bytes(key.len, value_len);
    ++t->clock;
    if (!is_new) {
        e->used = t->clock;
    }
    if (bytes != old) {
        struct region *r = region_at(t, (uint32_t)hash);
        size_t buckets = is_new && is_full(r) ? sizeof *r->buckets << r->bits : 0; /* in bytes */
        if (bytes > old && !make_room(t, bytes - old + buckets)) {
            return NULL;
        }
        struct entry **link = find_link(t, key, (uint32_t)hash); /* others may have gone */
        if ((e = realloc(*link, bytes - 8)) == NULL) {
            return NULL;
        }
        *link = e;
        stat_add(t, STAT_MEMORY, bytes - old);
        if (is_new) {
            *e = (struct entry){NULL, 0, (uint32_t)hash, t->clock, key.len, 0};
            memcpy(e->bytes, key.at, key.len);
            stat_add(t, STAT_KEYS, 1);
            if (is_full(r)) {
                resize(t, r, r->bits + 1);
            }
            r->count++;
        }
    }
    e->value_len = (uint32_t)value_len;
    return e;
}

bool table_sweep(struct table *t, int64_t now) {
    int removed = 0;
    for (int i = 0; i < SWEEP_BUCKETS && stat_get(t, STAT_EXPIRES) > 0;) {
        uint32_t next = t->sweep_at;
        struct entry *e = table_walk(t, &next);
        while (e != NULL && !entry_expired(e, now)) {
            e = e->next;
        }
        if (e != NULL) { /* it may move the others of its bucket: look again */
            table_delete(t, e);
            removed++;
        } else {
            t->sweep_at = next;
            i++;
        }
    }
    stat_add(t, STAT_EXPIRED, (size_t)removed);
    return removed > SWEEP_BUCKETS / 16;
}
