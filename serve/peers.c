/* How many connections each peer has: a table of the addresses that have any, for all shards. And
 * who is an operator.
 *
 * The table is split by hash into parts with a lock each. It is used where a connection begins and
 * ends, never while it is served. The hash begins with a random number, so that nobody can choose
 * addresses that fall together.
 */
#include <stdlib.h>
#include <string.h>

#include "serve/internal.h"
#include "xev/core/support.h"

#define FIRST_BUCKETS 16u

struct xev__peer {
    struct xev__peer *next;
    uint64_t hash;
    uint32_t count;
    uint8_t key[XEV__PEER_BYTES];
};

void xev__peers_init(struct xev__peers *p) {
    memset(p, 0, sizeof *p);
    p->seed = xev__serve_random();
    for (unsigned i = 0; i < XEV__PEER_PARTS; i++) {
        pthread_mutex_init(&p->part[i].lock, NULL);
    }
}

void xev__peers_deinit(struct xev__peers *p) {
    for (unsigned i = 0; i < XEV__PEER_PARTS; i++) {
        struct xev__peers_part *part = &p->part[i];
        assert(part->count == 0);
        free(part->buckets);
        pthread_mutex_destroy(&part->lock);
    }
}

static uint64_t stir(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t hash_of(const struct xev__peers *p, const uint8_t *key) {
    uint64_t word[2];
    _Static_assert(sizeof word == XEV__PEER_BYTES, "two words");
    memcpy(word, key, sizeof word);
    return stir(stir(word[0] ^ p->seed) ^ word[1]);
}

static struct xev__peers_part *part_of(struct xev__peers *p, uint64_t hash) {
    return &p->part[hash >> 32 & (XEV__PEER_PARTS - 1)];
}

/* Without memory the table stays as it is, with longer lists. */
static void grow_table(struct xev__peers_part *part) {
    uint32_t room = part->room > 0 ? part->room * 2 : FIRST_BUCKETS;
    struct xev__peer **buckets = calloc(room, sizeof *buckets);
    if (buckets == NULL) {
        return;
    }
    for (uint32_t i = 0; i < part->room; i++) {
        for (struct xev__peer *e = part->buckets[i], *next; e != NULL; e = next) {
            next = e->next;
            e->next = buckets[e->hash & (room - 1)];
            buckets[e->hash & (room - 1)] = e;
        }
    }
    free(part->buckets);
    part->buckets = buckets;
    part->room = room;
}

static int take_locked(struct xev__peers_part *part, const uint8_t *key, uint64_t hash,
                       uint32_t max, struct xev__peer **peer) {
    if (part->count >= part->room) {
        grow_table(part);
    }
    if (part->room == 0) {
        return XEV_ENOMEM;
    }
    struct xev__peer **at = &part->buckets[hash & (part->room - 1)];
    for (struct xev__peer *e = *at; e != NULL; e = e->next) {
        if (e->hash == hash && memcmp(e->key, key, sizeof e->key) == 0) {
            if (e->count >= max) {
                return XEV_ENOBUFS;
            }
            e->count++;
            *peer = e;
            return 0;
        }
    }
    struct xev__peer *e = malloc(sizeof *e);
    if (e == NULL) {
        return XEV_ENOMEM;
    }
    *e = (struct xev__peer){.next = *at, .hash = hash, .count = 1};
    memcpy(e->key, key, sizeof e->key);
    *at = *peer = e;
    part->count++;
    return 0;
}

int xev__peer_take(struct xev__peers *p, const uint8_t *key, uint32_t max,
                   struct xev__peer **peer) {
    uint64_t hash = hash_of(p, key);
    struct xev__peers_part *part = part_of(p, hash);
    assert(max > 0);
    *peer = NULL;
    pthread_mutex_lock(&part->lock);
    int rc = take_locked(part, key, hash, max, peer);
    pthread_mutex_unlock(&part->lock);
    return rc;
}

void xev__peer_give(struct xev__peers *p, struct xev__peer *peer) {
    struct xev__peers_part *part = part_of(p, peer->hash);
    pthread_mutex_lock(&part->lock);
    assert(peer->count > 0 && part->count > 0);
    if (--peer->count == 0) {
        struct xev__peer **at = &part->buckets[peer->hash & (part->room - 1)];
        while (*at != peer) {
            at = &(*at)->next;
        }
        *at = peer->next;
        free(peer);
        part->count--;
    }
    pthread_mutex_unlock(&part->lock);
}

/* ---- addresses ---- */

static bool is_v4(const uint8_t *key) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(key, mapped, sizeof mapped) == 0;
}

void xev__peer_network(uint8_t *key) {
    if (!is_v4(key)) { /* a network that one customer has */
        memset(key + 8, 0, 8);
    }
}

/* ---- operators ---- */

static bool in_network(const struct xev__network *n, const uint8_t *key) {
    uint32_t whole = n->bits / 8, rest = n->bits % 8;
    return memcmp(n->key, key, whole) == 0 &&
           (rest == 0 || (n->key[whole] ^ key[whole]) >> (8 - rest) == 0);
}

bool xev__serve_is_operator(const struct xev__rules *rules, const uint8_t *key) {
    if (key == NULL) {
        return rules->unix_operators;
    }
    for (uint32_t i = 0; i < rules->networks_len; i++) {
        if (in_network(&rules->networks[i], key)) {
            return true;
        }
    }
    return false;
}

/* "10.0.0.0/8", "::1". */
static int parse_network(const char *word, struct xev__network *n) {
    char text[XEV_ADDR_TEXT_BYTES];
    xev_addr addr;
    size_t len = strlen(word);
    if (len >= sizeof text) {
        return XEV_EINVAL;
    }
    memcpy(text, word, len + 1);
    char *slash = strchr(text, '/');
    uint32_t bits = UINT32_MAX;
    if (slash != NULL) {
        *slash = '\0';
        if (!xev__serve_parse_number(slash + 1, 128, &bits)) {
            return XEV_EINVAL;
        }
    }
    if (xev_addr_parse(&addr, text, 0) < 0) {
        return XEV_EINVAL;
    }
    xev__serve_address(&addr, n->key);
    uint32_t skipped = xev_addr_family(&addr) == XEV_AF_INET ? 96 : 0;
    if (bits != UINT32_MAX && bits > 128 - skipped) {
        return XEV_EINVAL;
    }
    n->bits = bits == UINT32_MAX ? 128 : bits + skipped;
    return 0;
}

int xev__serve_parse_operators(struct xev__rules *rules, const char *text) {
    struct xev__network networks[XEV__NETWORKS_MAX];
    uint32_t len = 0;
    bool with_unix = false;
    for (const char *p = text + strspn(text, " ,"); *p != '\0'; p += strspn(p, " ,")) {
        char word[64];
        size_t n = strcspn(p, " ,");
        size_t kept = n < sizeof word ? n : sizeof word - 1;
        memcpy(word, p, kept);
        word[kept] = '\0';
        p += n;
        if (strcmp(word, "unix") == 0) {
            with_unix = true;
        } else if (len == XEV__NETWORKS_MAX) {
            return xev__refuse("operators: more than 64", word);
        } else if (kept < n || parse_network(word, &networks[len++]) < 0) {
            return xev__refuse("operators: no address, network or \"unix\"", word);
        }
    }
    memcpy(rules->networks, networks, len * sizeof *networks);
    rules->networks_len = len;
    rules->unix_operators = with_unix;
    return 0;
}
