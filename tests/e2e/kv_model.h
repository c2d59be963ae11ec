/* Random commands for a key-value store, and what a simple model says that they answer. */
#ifndef TESTS_E2E_KV_MODEL_H
#define TESTS_E2E_KV_MODEL_H

#include <inttypes.h>
#include <limits.h>

#include "tests/e2e/kv_scene.h"

enum { MODEL_KEYS = 48, MODEL_VALUE_MAX = 300, MODEL_WORDS = 512, MODEL_REPLY = 4096 };

struct model {
    uint64_t rng;
    struct {
        bool there, expires;
        char value[MODEL_VALUE_MAX + 1];
    } keys[MODEL_KEYS];
};

/* How a reply is compared. */
enum how {
    EXACT,
    TIME,   /* a number, or a little less: time goes by */
    LENGTH, /* its first line: an array in any order */
    KIND,   /* its first byte, and whether it is nil: a random key */
};

struct step {
    char words[MODEL_WORDS], reply[MODEL_REPLY];
    enum how how;
};

static inline uint32_t model_below(struct model *m, uint32_t n) {
    return (uint32_t)(random_next(&m->rng) >> 16) % n;
}

__attribute__((format(printf, 2, 3))) static inline void model_reply(struct step *st,
                                                                     const char *format, ...) {
    size_t len = strlen(st->reply);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(st->reply + len, sizeof st->reply - len, format, args);
    va_end(args);
    CHECK_LT(len + (size_t)n, sizeof st->reply);
}

__attribute__((format(printf, 2, 3))) static inline void model_words(struct step *st,
                                                                     const char *format, ...) {
    size_t len = strlen(st->words);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(st->words + len, sizeof st->words - len, format, args);
    va_end(args);
    CHECK_LT(len + (size_t)n, sizeof st->words);
}

static inline void model_bulk(struct step *st, const char *text) {
    model_reply(st, "$%zu\r\n%s\r\n", strlen(text), text);
}

static inline void model_value_or_nil(struct model *m, struct step *st, uint32_t k) {
    if (m->keys[k].there) {
        model_bulk(st, m->keys[k].value);
    } else {
        model_reply(st, "$-1\r\n");
    }
}

static inline void model_random_value(struct model *m, char *to) {
    uint32_t kind = model_below(m, 10);
    if (kind < 4) {
        snprintf(to, MODEL_VALUE_MAX, "%d", (int)model_below(m, 2000) - 1000);
        return;
    }
    uint32_t len = kind == 4 ? 100 + model_below(m, 30) : 1 + model_below(m, 12);
    for (uint32_t i = 0; i < len; i++) {
        to[i] = (char)('a' + model_below(m, 26));
    }
    to[len] = '\0';
}

static inline void model_put(struct model *m, uint32_t k, const char *value) {
    m->keys[k].there = true;
    memmove(m->keys[k].value, value, strlen(value) + 1);
}

static inline bool model_integer(const char *text, long long *n) {
    char *end, again[32];
    errno = 0;
    *n = strtoll(text, &end, 10);
    snprintf(again, sizeof again, "%lld", *n);
    return errno == 0 && strcmp(again, text) == 0;
}

static inline int model_count(const struct model *m) {
    int n = 0;
    for (int i = 0; i < MODEL_KEYS; i++) {
        n += m->keys[i].there;
    }
    return n;
}

static inline void model_set(struct model *m, struct step *st, uint32_t k) {
    static const char *const conditions[] = {"", "", "", " NX", " XX"};
    char value[MODEL_VALUE_MAX];
    static const char *const times[] = {"", "", "", "", " EX 100000", " PX 100000000"};
    uint32_t c = model_below(m, 5), time = model_below(m, 6);
    model_random_value(m, value);
    model_words(st, "%s k%u %s%s%s", model_below(m, 2) ? "SET" : "set", k, value, conditions[c],
                times[time]);
    bool done = c < 3 || (c == 3) != m->keys[k].there;
    model_reply(st, done ? "+OK\r\n" : "$-1\r\n");
    if (done) {
        m->keys[k].expires = time >= 4;
        model_put(m, k, value);
    }
}

static inline void model_incr(struct model *m, struct step *st, uint32_t k) {
    static const char *const names[] = {"INCR", "DECR", "INCRBY"};
    uint32_t which = model_below(m, 3);
    long long by = 1, n = 0;
    if (which < 2) {
        model_words(st, "%s k%u", names[which], k);
    } else {
        by = model_below(m, 20) == 0 ? LLONG_MAX - 1 : (long long)model_below(m, 100) - 50;
        model_words(st, "%s k%u %lld", names[which], k, by);
    }
    by = which == 1 ? -by : by;
    if (m->keys[k].there && !model_integer(m->keys[k].value, &n)) {
        model_reply(st, "-ERR value is not an integer or out of range\r\n");
    } else if (__builtin_add_overflow(n, by, &n)) {
        model_reply(st, "-ERR increment or decrement would overflow\r\n");
    } else {
        char text[32];
        snprintf(text, sizeof text, "%lld", n);
        m->keys[k].expires &= m->keys[k].there;
        model_put(m, k, text);
        model_reply(st, ":%lld\r\n", n);
    }
}

static inline void model_several(struct model *m, struct step *st) {
    static const char *const names[] = {"MGET", "MSET", "DEL", "EXISTS"};
    uint32_t which = model_below(m, 10), count = 1 + model_below(m, 6);
    int sum = 0;
    which = which < 4 ? 0 : which < 8 ? 1 : 2 + model_below(m, 2);
    model_words(st, "%s", names[which]);
    if (which == 0) {
        model_reply(st, "*%u\r\n", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = model_below(m, MODEL_KEYS + 4);
        bool there = k < MODEL_KEYS && m->keys[k].there;
        if (which == 1) {
            char value[MODEL_VALUE_MAX];
            k %= MODEL_KEYS;
            model_random_value(m, value);
            value[20] = '\0';
            model_words(st, " k%u %s", k, value);
            m->keys[k].expires = false;
            model_put(m, k, value);
            continue;
        }
        model_words(st, " k%u", k);
        sum += there;
        if (which == 0 && there) {
            model_bulk(st, m->keys[k].value);
        } else if (which == 0) {
            model_reply(st, "$-1\r\n");
        } else if (which != 3 && there) {
            m->keys[k].there = false;
        }
    }
    if (which == 1) {
        model_reply(st, "+OK\r\n");
    } else if (which > 1) {
        model_reply(st, ":%d\r\n", sum);
    }
}

static inline void model_expiry(struct model *m, struct step *st, uint32_t k) {
    bool there = m->keys[k].there, expires = there && m->keys[k].expires;
    switch (model_below(m, 6)) {
    case 0:
        model_words(st, "EXPIRE k%u 100000", k);
        model_reply(st, ":%d\r\n", there);
        m->keys[k].expires = there;
        break;
    case 1:
        model_words(st, "PEXPIRE k%u 100000000", k);
        model_reply(st, ":%d\r\n", there);
        m->keys[k].expires = there;
        break;
    case 2:
        model_words(st, "PEXPIRE k%u -1", k);
        model_reply(st, ":%d\r\n", there);
        m->keys[k].there = false;
        break;
    case 3:
        model_words(st, "PERSIST k%u", k);
        model_reply(st, ":%d\r\n", expires);
        m->keys[k].expires = false;
        break;
    case 4:
        model_words(st, "TTL k%u", k);
        model_reply(st, ":%d\r\n", !there ? -2 : !expires ? -1 : 100000);
        st->how = TIME;
        break;
    default:
        model_words(st, "PTTL k%u", k);
        model_reply(st, ":%d\r\n", !there ? -2 : !expires ? -1 : 100000000);
        st->how = TIME;
        break;
    }
}

static inline void model_one(struct model *m, struct step *st, uint32_t k) {
    char value[MODEL_VALUE_MAX];
    bool there = m->keys[k].there;
    model_random_value(m, value);
    switch (model_below(m, 6)) {
    case 0:
        model_words(st, "SETNX k%u %s", k, value);
        model_reply(st, ":%d\r\n", !there);
        if (!there) {
            m->keys[k].expires = false;
            model_put(m, k, value);
        }
        break;
    case 1:
        model_words(st, "GETSET k%u %s", k, value);
        model_value_or_nil(m, st, k);
        m->keys[k].expires = false;
        model_put(m, k, value);
        break;
    case 2:
        model_words(st, "STRLEN k%u", k);
        model_reply(st, ":%zu\r\n", there ? strlen(m->keys[k].value) : 0);
        break;
    case 3:
        model_words(st, "TYPE k%u", k);
        model_reply(st, there ? "+string\r\n" : "+none\r\n");
        break;
    default:
        if (there && strlen(m->keys[k].value) + strlen(value) > MODEL_VALUE_MAX) {
            model_words(st, "DEL k%u", k);
            model_reply(st, ":1\r\n");
            m->keys[k].there = false;
            break;
        }
        model_words(st, "APPEND k%u %s", k, value);
        if (there) {
            strcat(m->keys[k].value, value);
        } else {
            m->keys[k].expires = false;
            model_put(m, k, value);
        }
        model_reply(st, ":%zu\r\n", strlen(m->keys[k].value));
        break;
    }
}

static inline void model_rest(struct model *m, struct step *st) {
    switch (model_below(m, 40)) {
    case 0:
        model_words(st, "FLUSHALL");
        model_reply(st, "+OK\r\n");
        memset(m->keys, 0, sizeof m->keys);
        break;
    case 1:
    case 2:
    case 3:
    case 4:
        model_words(st, "KEYS k*");
        model_reply(st, "*%d\r\n", model_count(m));
        st->how = LENGTH;
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        model_words(st, "RANDOMKEY");
        model_reply(st, model_count(m) > 0 ? "$2\r\n" : "$-1\r\n");
        st->how = KIND;
        break;
    case 9:
    case 10:
        model_words(st, "GET");
        model_reply(st, "-ERR wrong number of arguments for 'get' command\r\n");
        break;
    case 11:
    case 12:
        model_words(st, "SET k1 v FOO");
        model_reply(st, "-ERR syntax error\r\n");
        break;
    case 13:
    case 14:
        model_words(st, "nope a b");
        model_reply(st, "-ERR unknown command 'nope', with args beginning with: 'a' 'b' \r\n");
        break;
    case 15:
    case 16:
        model_words(st, "PING");
        model_reply(st, "+PONG\r\n");
        break;
    default:
        model_words(st, "DBSIZE");
        model_reply(st, ":%d\r\n", model_count(m));
        break;
    }
}

/* The next command, and its reply. */
static inline void model_step(struct model *m, struct step *st) {
    uint32_t what = model_below(m, 100), k = model_below(m, MODEL_KEYS);
    st->words[0] = st->reply[0] = '\0';
    st->how = EXACT;
    if (what < 20) {
        model_words(st, model_below(m, 2) ? "GET k%u" : "get k%u", k);
        model_value_or_nil(m, st, k);
    } else if (what < 45) {
        model_set(m, st, k);
    } else if (what < 57) {
        model_incr(m, st, k);
    } else if (what < 69) {
        model_several(m, st);
    } else if (what < 83) {
        model_expiry(m, st, k);
    } else if (what < 97) {
        model_one(m, st, k);
    } else {
        model_rest(m, st);
    }
}

static inline bool model_same(enum how how, const char *a, const char *b) {
    long long x, y;
    switch (how) {
    case TIME:
        x = strtoll(a + 1, NULL, 10);
        y = strtoll(b + 1, NULL, 10);
        /* ms, or seconds; a test takes an hour at most */
        return *a == ':' && *b == ':' && (x == y || (x > 0 && y > 0 && llabs(x - y) <= 3600000));
    case LENGTH:
        return strcspn(a, "\n") == strcspn(b, "\n") && strncmp(a, b, strcspn(a, "\n")) == 0;
    case KIND:
        return *a == *b && (a[1] == '-') == (b[1] == '-');
    default:
        return strcmp(a, b) == 0;
    }
}

/* As an array, or now and then as a line. */
static inline void model_send(struct model *m, struct kv *c, const struct step *st) {
    if (model_below(m, 10) == 0) {
        kv_raw_text(c, st->words);
        kv_raw_text(c, "\r\n");
    } else {
        kv_words(c, st->words);
    }
}

#endif
