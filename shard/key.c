/* Which shard a key belongs to: SipHash-1-3, as in CPython and Rust's maps. Keys come from peers,
 * and with a secret seed a peer cannot choose keys that all belong to one shard. */
#include <stddef.h>

#include "shard/internal.h"

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotated(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static inline void sip_round(struct sip *s) {
    s->v0 += s->v1;
    s->v1 = rotated(s->v1, 13) ^ s->v0;
    s->v0 = rotated(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotated(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotated(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotated(s->v1, 17) ^ s->v2;
    s->v2 = rotated(s->v2, 32);
}

static inline void sip_take(struct sip *s, uint64_t word) {
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

/* Four bytes as a number, the first one lowest, on every machine. In this form compilers make it
 * one load. */
static inline uint64_t four_at(const uint8_t *p) {
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
}

/* The same of len bytes, below 8. */
static inline uint64_t bytes_at(const uint8_t *p, size_t len) {
    uint64_t word = len >= 4 ? four_at(p) : 0;
    for (size_t i = len & 4; i < len; i++) {
        word |= (uint64_t)p[i] << 8 * i;
    }
    return word;
}

uint64_t xev_key_hash(const void *key, size_t len_bytes, uint64_t seed) {
    xev__shard_check(key != NULL || len_bytes == 0, "xev_key_hash", "key is null");
    struct sip s = {0x736f6d6570736575 ^ seed, 0x646f72616e646f6d, 0x6c7967656e657261 ^ seed,
                    0x7465646279746573};
    const uint8_t *p = key;
    size_t left = len_bytes;
    for (; left >= 8; p += 8, left -= 8) {
        sip_take(&s, four_at(p) | four_at(p + 4) << 32);
    }
    sip_take(&s, bytes_at(p, left) | (uint64_t)len_bytes << 56);
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

xev_shard *xev_shard_of_key(xev_runtime *handle, const void *key, size_t len_bytes) {
    xev__shard_check(handle != NULL && (key != NULL || len_bytes == 0), "xev_shard_of_key",
                     "runtime or key is null");
    struct xev__visit visit = xev__visit_runtime(handle);
    xev__shard_check(visit.rt != NULL, "xev_shard_of_key", "runtime is not running");
    uint64_t hash = xev_key_hash(key, len_bytes, visit.rt->options.key_seed);
    xev_shard *shard = &visit.rt->shards[(hash >> 32) * visit.rt->count >> 32];
    xev__visit_leave(visit);
    return shard;
}
