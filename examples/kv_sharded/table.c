/* One shard's keys.
 *
 * The table is a linear hash: it grows by one bucket at a time, which splits one other bucket, and
 * shrinks likewise. So no insertion has to move the whole table. Buckets stand in segments, so that
 * growing copies none of them.
 *
 * A key's place is its hash with the bits in reverse. The keys of a bucket have places that are
 * next to each other, and a split divides that range in two. So a walk by places meets each key
 * exactly once that is there all the time, however the table grows and shrinks meanwhile.
 *
 * Eviction: of SAMPLES entries chosen at random, the one whose last access is longest ago goes.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "examples/kv_sharded/kv.h"
#include "examples/random.h"

#define SEGMENT 512u /* buckets; a power of two */
#define SAMPLES 5
#define EVICTIONS_MAX 2000 /* for one write */
#define SWEEP_BUCKETS 4096 /* that one sweep looks at */
#define TRASH_SEGMENTS 4   /* that one sweep frees: about two thousand keys */

struct trash {
    struct trash *next;
    struct entry ***segments;
    size_t buckets;
};

static uint64_t seed; /* secret: else peers could choose keys that all stand in one bucket */

bool key_hash_init(uint64_t *key_seed) {
    bool ok = random_fill(&seed, sizeof seed);
    *key_seed = seed;
    return ok;
}

uint64_t key_hash(struct slice key) { return xev_key_hash(key.p, key.len, seed); }

uint64_t random_number(uint64_t *state) {
    uint64_t x = *state += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

int64_t now_ms(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- buckets ---- */

static uint32_t reversed(uint32_t x) {
    x = x >> 16 | x << 16;
    x = (x & 0xff00ff00u) >> 8 | (x & 0x00ff00ffu) << 8;
    x = (x & 0xf0f0f0f0u) >> 4 | (x & 0x0f0f0f0fu) << 4;
    x = (x & 0xccccccccu) >> 2 | (x & 0x33333333u) << 2;
    return (x & 0xaaaaaaaau) >> 1 | (x & 0x55555555u) << 1;
}

uint64_t entry_place(const struct entry *e) { return reversed(e->hash); }

static struct entry **bucket_at(const struct table *t, size_t i) {
    return &t->segments[i / SEGMENT][i % SEGMENT];
}

/* Buckets that are split have one bit more than those that are not yet. */
static size_t bucket_of(const struct table *t, uint32_t hash) {
    size_t i = hash & t->mask;
    return i < t->buckets ? i : i & t->mask >> 1;
}

struct entry *table_walk(const struct table *t, uint64_t at, uint64_t *end) {
    size_t half = (t->mask + 1) / 2, i = bucket_of(t, reversed((uint32_t)at));
    uint64_t range = TABLE_END / (i < half && i + half >= t->buckets ? half : t->mask + 1);
    *end = (at & ~(range - 1)) + range;
    return *bucket_at(t, i);
}

/* False: no memory; the table works on without the bucket. */
static bool add_bucket(struct table *t) {
    size_t n = t->buckets, segment = n / SEGMENT;
    if (n % SEGMENT == 0) {
        if (segment == t->segments_room) {
            size_t room = segment == 0 ? 16 : 2 * segment;
            struct entry ***p = realloc(t->segments, room * sizeof *p);
            if (p == NULL) {
                return false;
            }
            t->segments = p;
            t->segments_room = room;
        }
        t->segments[segment] = calloc(SEGMENT, sizeof **t->segments);
        if (t->segments[segment] == NULL) {
            return false;
        }
        t->used_bytes += SEGMENT * sizeof **t->segments;
    }
    if (n > t->mask) {
        t->mask = 2 * t->mask + 1;
    }
    t->buckets++;
    struct entry **to = bucket_at(t, n), **link = bucket_at(t, n & t->mask >> 1);
    while (n > 0 && *link != NULL) {
        struct entry *e = *link;
        if ((e->hash & t->mask) == n) {
            *link = e->next;
            e->next = *to;
            *to = e;
        } else {
            link = &e->next;
        }
    }
    return true;
}

static void drop_bucket(struct table *t) {
    size_t last = --t->buckets;
    struct entry **from = bucket_at(t, last), **link = bucket_at(t, last & t->mask >> 1);
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = *from;
    *from = NULL;
    if (last % SEGMENT == 0) {
        free(t->segments[last / SEGMENT]);
        t->used_bytes -= SEGMENT * sizeof **t->segments;
    }
    if (last == (t->mask + 1) / 2) {
        t->mask >>= 1;
    }
}

static void shrink(struct table *t) {
    for (int i = 0; i < 2 && t->buckets > SEGMENT && t->count < t->buckets / 4; i++) {
        drop_bucket(t);
    }
}

/* ---- entries ---- */

/* As the allocator sees it: a word before it, and a multiple of 16. Without it not less than
 * sizeof(struct entry). */
static size_t entry_bytes(size_t key_len, size_t room) {
    return (offsetof(struct entry, bytes) + key_len + room + 8 + 15) / 16 * 16;
}

static void remove_at(struct table *t, struct entry **link) {
    struct entry *e = *link;
    *link = e->next;
    t->count--;
    t->expiring -= e->expires_ms != 0;
    t->used_bytes -= entry_bytes(e->key_len, e->room);
    free(e);
}

static struct entry **link_of(const struct table *t, const struct entry *e) {
    struct entry **link = bucket_at(t, bucket_of(t, e->hash));
    while (*link != e) {
        link = &(*link)->next;
    }
    return link;
}

void table_delete(struct table *t, struct entry *e) {
    remove_at(t, link_of(t, e));
    shrink(t);
}

static struct entry *find_any(const struct table *t, struct slice key, uint32_t hash) {
    struct entry *e = *bucket_at(t, bucket_of(t, hash));
    while (e != NULL &&
           !(e->hash == hash && e->key_len == key.len && memcmp(e->bytes, key.p, key.len) == 0)) {
        e = e->next;
    }
    return e;
}

void table_prefetch(const struct table *t, uint64_t hash, int step) {
    struct entry *const *bucket = bucket_at(t, bucket_of(t, (uint32_t)hash));
    const struct entry *e = step > 0 ? *bucket : NULL;
    e = step == 2 && e != NULL ? e->next : e;
    if (step == 0) {
        __builtin_prefetch(bucket);
    } else if (e != NULL) {
        __builtin_prefetch(e);
        __builtin_prefetch((const char *)e + 64); /* the key's end, the value */
    }
}

struct entry *table_find(struct table *t, struct slice key, uint64_t hash, int64_t now) {
    struct entry *e = find_any(t, key, (uint32_t)hash);
    if (e != NULL && entry_expired(e, now)) {
        t->expired++;
        table_delete(t, e);
        return NULL;
    }
    if (e != NULL) {
        e->used = ++t->clock;
    }
    return e;
}

/* Some entry of the first bucket that has one, from a random one on; count is not 0. Of four
 * buckets one has an entry, or there are SEGMENT buckets only. */
static struct entry *sample(struct table *t) {
    uint64_t r = random_number(&t->random);
    size_t i = (size_t)(r % t->buckets);
    uint32_t count = 0;
    while (*bucket_at(t, i) == NULL) {
        i = i + 1 < t->buckets ? i + 1 : 0;
    }
    struct entry *e;
    for (e = *bucket_at(t, i); e != NULL; e = e->next) {
        count++;
    }
    e = *bucket_at(t, i);
    for (uint64_t skip = (r >> 40) % count; skip > 0; skip--) {
        e = e->next;
    }
    return e;
}

struct entry *table_random(struct table *t, int64_t now) {
    for (int tries = 0; t->count > 0 && tries < 100; tries++) {
        struct entry *e = sample(t);
        if (!entry_expired(e, now)) {
            return e;
        }
    }
    return NULL;
}

/* False: there is no room for so many bytes more. */
static bool make_room(struct table *t, size_t bytes) {
    if (t->max_bytes == 0) {
        return true;
    }
    if (bytes > t->max_bytes) {
        return false;
    }
    for (int n = 0; t->used_bytes + bytes > t->max_bytes; n++) {
        struct entry *oldest = NULL;
        for (int i = 0; i < SAMPLES && t->count > 0; i++) {
            struct entry *e = sample(t);
            if (oldest == NULL || t->clock - e->used > t->clock - oldest->used) {
                oldest = e;
            }
        }
        if (!t->evicts || oldest == NULL || n == EVICTIONS_MAX) {
            return false;
        }
        table_delete(t, oldest);
        t->evicted++;
    }
    return true;
}

void table_set_expiry(struct table *t, struct entry *e, int64_t expires_ms) {
    t->expiring -= e->expires_ms != 0;
    t->expiring += expires_ms != 0;
    e->expires_ms = expires_ms;
}

static void note_length(struct table *t, size_t len) {
    if (len > atomic_load_explicit(&t->largest, memory_order_relaxed)) {
        atomic_store_explicit(&t->largest, len, memory_order_relaxed);
    }
}

struct entry *table_set(struct table *t, struct slice key, uint64_t hash, struct slice value,
                        int64_t expires_ms, size_t extra) {
    struct entry *e = find_any(t, key, (uint32_t)hash), *made;
    note_length(t, value.len);
    if (e == NULL || value.len > e->room || (extra == 0 && e->room > 2 * value.len + 64)) {
        size_t bytes = entry_bytes(key.len, value.len + extra);
        if (!make_room(t, bytes) || (made = malloc(bytes - 8)) == NULL) {
            return NULL;
        }
        *made = (struct entry){.hash = (uint32_t)hash, .key_len = (uint32_t)key.len};
        made->room = (uint32_t)(bytes - 8 - offsetof(struct entry, bytes) - key.len);
        memcpy(made->bytes, key.p, key.len);
        e = find_any(t, key, (uint32_t)hash); /* it may have been evicted */
        if (e != NULL) {
            remove_at(t, link_of(t, e));
        }
        struct entry **first = bucket_at(t, bucket_of(t, made->hash));
        made->next = *first;
        *first = e = made;
        t->count++;
        t->used_bytes += entry_bytes(key.len, made->room);
        if (t->count > t->buckets) {
            (void)add_bucket(t);
        }
    }
    if (value.len > 0) {
        memmove(e->bytes + key.len, value.p, value.len);
    }
    e->value_len = (uint32_t)value.len;
    e->used = ++t->clock;
    table_set_expiry(t, e, expires_ms);
    return e;
}

/* ---- the whole ---- */

bool table_init(struct table *t) {
    uint64_t mixed = (uint64_t)now_ms() ^ (uint64_t)(uintptr_t)t;
    t->random = random_number(&mixed) ^ seed;
    t->segments = NULL;
    t->segments_room = t->buckets = t->mask = t->count = t->expiring = t->used_bytes = 0;
    atomic_store(&t->largest, 0);
    while (t->buckets < SEGMENT) {
        if (!add_bucket(t)) {
            return false;
        }
    }
    return true;
}

/* At most so many segments, from the last one on. True: all of it is freed. */
static bool trash_free(struct trash *trash, size_t segments) {
    for (; segments > 0 && trash->buckets > 0; segments--) {
        size_t from = (trash->buckets - 1) / SEGMENT;
        for (size_t i = 0; i < SEGMENT; i++) {
            for (struct entry *e = trash->segments[from][i], *next; e != NULL; e = next) {
                next = e->next;
                free(e);
            }
        }
        free(trash->segments[from]);
        trash->buckets = from * SEGMENT;
    }
    if (trash->buckets == 0) {
        free(trash->segments);
        return true;
    }
    return false;
}

void table_flush(struct table *t) {
    struct trash *trash = malloc(sizeof *trash);
    struct table empty = {.segments = NULL};
    if (trash == NULL || !table_init(&empty)) {
        free(trash);
        for (size_t i = 0; i < t->buckets; i++) { /* without memory: here and now */
            while (*bucket_at(t, i) != NULL) {
                remove_at(t, bucket_at(t, i));
            }
        }
        return;
    }
    *trash = (struct trash){t->trash, t->segments, t->buckets};
    t->trash = trash;
    t->segments = empty.segments;
    t->segments_room = empty.segments_room;
    t->buckets = empty.buckets;
    t->mask = empty.mask;
    t->used_bytes = empty.used_bytes;
    t->count = t->expiring = 0;
    atomic_store_explicit(&t->largest, 0, memory_order_relaxed);
}

void table_free(struct table *t) {
    table_flush(t);
    for (struct trash *trash = t->trash, *next; trash != NULL; trash = next) {
        next = trash->next;
        (void)trash_free(trash, SIZE_MAX);
        free(trash);
    }
    for (size_t i = 0; i < t->buckets; i += SEGMENT) {
        free(t->segments[i / SEGMENT]);
    }
    free(t->segments);
}

bool table_sweep(struct table *t, int64_t now) {
    uint64_t before = t->expired, end;
    size_t seen = 0;
    if (t->trash != NULL) {
        struct trash *trash = t->trash;
        if (trash_free(trash, TRASH_SEGMENTS)) {
            t->trash = trash->next;
            free(trash);
        }
        return true;
    }
    for (int i = 0; i < SWEEP_BUCKETS && t->expiring > 0; i++) {
        (void)table_walk(t, t->sweep_at, &end);
        struct entry **link = bucket_at(t, bucket_of(t, reversed((uint32_t)t->sweep_at)));
        while (*link != NULL) {
            seen += (*link)->expires_ms != 0;
            if (entry_expired(*link, now)) {
                remove_at(t, link);
                t->expired++;
            } else {
                link = &(*link)->next;
            }
        }
        t->sweep_at = end == TABLE_END ? 0 : end;
        shrink(t);
    }
    return t->expired - before > seen / 8; /* worth going on at once */
}
