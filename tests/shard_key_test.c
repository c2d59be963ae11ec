/* Which shard a key belongs to. */
#include "tests/shard_scene.h"

/* CPython's hash() gives those of seed 0, run with PYTHONHASHSEED=0. */
TEST(the_hash_of_a_key_is_the_documented_one) {
    static uint8_t bytes[256];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
    }
    static const struct {
        const void *key;
        size_t len;
        uint64_t seed, hash;
    } rows[] = {
        {"", 0, 0, 0xd1fba762150c532c},
        {NULL, 0, 0, 0xd1fba762150c532c},
        {"a", 1, 0, 0x407448d2b89b1813},
        {"user:1234", 9, 0, 0x9c0b822c03ea855e},
        {"abcdefgh", 8, 0, 0x3f7b849c0b8e35ea},
        {bytes, 256, 0, 0x31ae646afba70308},
        {"", 0, 0x0123456789abcdef, 0x108a7dfce1f10be8},
        {"a", 1, 0x0123456789abcdef, 0xaf331263f509cdf6},
        {"user:1234", 9, 0x0123456789abcdef, 0x69230c3b7f349635},
        {"abcdefgh", 8, 0x0123456789abcdef, 0xd6cc2b15662e02fb},
        {bytes, 256, 0x0123456789abcdef, 0x590f2bc0b7567024},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        CHECK_EQ((int64_t)xev_key_hash(rows[i].key, rows[i].len, rows[i].seed),
                 (int64_t)rows[i].hash);
    }
}

static void check_places(xev_shard *self) {
    CHECK_EQ(xev_shard_id(xev_shard_of_key(&sc.rt, "user:1234", 9)), 2); /* of 7 */
    CHECK_EQ(xev_shard_id(xev_shard_of_key(&sc.rt, "abcdefgh", 8)), 5);
    CHECK_EQ(xev_shard_id(xev_shard_of_key(&sc.rt, NULL, 0)), 0);
    zero_stops_all(self);
}

TEST(a_key_belongs_to_the_documented_shard) {
    sc.o.key_seed = 0x0123456789abcdef;
    sc.body = check_places;
    CHECK_EQ(scene_run(7), 0);
}

/* ---- spread ---- */

enum { KEYS = 64 * 1024 };
typedef size_t (*make_key)(uint32_t number, char *key);

static size_t decimal(uint32_t number, char *key) {
    return (size_t)snprintf(key, 32, "user:%u", number);
}

static size_t padded(uint32_t number, char *key) {
    return (size_t)snprintf(key, 32, "%08u:session:data", number);
}

static size_t binary(uint32_t number, char *key) {
    memcpy(key, &number, sizeof number);
    return sizeof number;
}

static size_t multiple(uint32_t number, char *key) {
    uint64_t address = 0x7f0000000000 + (uint64_t)number * 4096;
    memcpy(key, &address, sizeof address);
    return sizeof address;
}

/* No shard has a share that chance would give it less than once in a million. */
static void check_spread(xev_shard *self, make_key make) {
    uint32_t shards = shards_of(self), count[SCENE_SHARDS] = {0};
    char key[32];
    for (uint32_t i = 0; i < KEYS; i++) {
        size_t len = make(i, key);
        count[xev_shard_id(xev_shard_of_key(&sc.rt, key, len))]++;
    }
    uint32_t mean = KEYS / shards;
    for (uint32_t i = 0; i < shards; i++) {
        uint32_t off = count[i] > mean ? count[i] - mean : mean - count[i];
        CHECK_LT((uint64_t)off * off, 25 * (uint64_t)mean); /* five standard deviations */
    }
}

static void check_spreads(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        check_spread(self, decimal);
        check_spread(self, padded);
        check_spread(self, binary);
        check_spread(self, multiple);
        stop_all(self);
    }
}

TEST(keys_spread_evenly) {
    static const uint32_t shards[] = {2, 3, 8, 61, SCENE_SHARDS};
    sc.body = check_spreads;
    for (size_t i = 0; i < sizeof shards / sizeof shards[0]; i++) {
        sc.o.key_seed = i;
        CHECK_EQ(scene_run(shards[i]), 0);
    }
}

/* Where one seed puts keys says nothing of where another one does. */
TEST(a_seed_places_all_keys_anew) {
    uint32_t same = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        same += xev_key_hash(&i, sizeof i, 1) >> 60 == xev_key_hash(&i, sizeof i, 2) >> 60;
    }
    CHECK_GT(same, KEYS / 16 - 320); /* five standard deviations */
    CHECK_LT(same, KEYS / 16 + 320);
}
