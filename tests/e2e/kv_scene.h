/* A client of examples/kv_sharded, or of any server that speaks Redis's protocol. */
#ifndef TESTS_E2E_KV_SCENE_H
#define TESTS_E2E_KV_SCENE_H

#include <stdarg.h>

#include "tests/e2e/server.h"

struct kv {
    int fd;
    char *in; /* read, from at on not yet used */
    size_t in_len, in_room, at;
    char *out; /* requests that are not yet sent */
    size_t out_len, out_room;
    char *reply; /* the last one, as it came, and a NUL */
    size_t reply_len, reply_room;
};

static inline void grow(char **p, size_t *room, size_t len) {
    if (len > *room) {
        *room = 2 * len;
        *p = realloc(*p, *room);
        CHECK(*p != NULL);
    }
}

static inline struct kv kv_of_fd(int fd) {
    struct timeval limit = {.tv_sec = 60L * test_slowdown()};
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    return (struct kv){.fd = fd};
}

static inline struct kv kv_connect(const struct server *s) { return kv_of_fd(client(s)); }

static inline void kv_close(struct kv *c) {
    close_fd(c->fd);
    free(c->in);
    free(c->out);
    free(c->reply);
}

/* ---- requests ---- */

static inline void kv_raw(struct kv *c, const void *data, size_t len) {
    grow(&c->out, &c->out_room, c->out_len + len + 1);
    memcpy(c->out + c->out_len, data, len);
    c->out_len += len;
}

static inline void kv_raw_text(struct kv *c, const char *text) { kv_raw(c, text, strlen(text)); }

static inline void kv_head(struct kv *c, char mark, size_t n) {
    char text[32];
    kv_raw(c, text, (size_t)snprintf(text, sizeof text, "%c%zu\r\n", mark, n));
}

static inline void kv_arg(struct kv *c, const void *data, size_t len) {
    kv_head(c, '$', len);
    kv_raw(c, data, len);
    kv_raw(c, "\r\n", 2);
}

static inline void kv_arg_text(struct kv *c, const char *text) { kv_arg(c, text, strlen(text)); }

/* The words of text, which single spaces divide, as one request. */
static inline void kv_words(struct kv *c, const char *text) {
    size_t count = 1;
    for (const char *p = text; *p != '\0'; p++) {
        count += *p == ' ';
    }
    kv_head(c, '*', count);
    for (size_t len; count-- > 0; text += len + 1) {
        len = strcspn(text, " ");
        kv_arg(c, text, len);
    }
}

__attribute__((format(printf, 2, 3))) static inline void kv_request(struct kv *c,
                                                                    const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    CHECK_LT(n, (int)sizeof text);
    kv_words(c, text);
}

/* Sends; while the server takes nothing, its replies are read. */
static inline void kv_flush(struct kv *c) {
    for (size_t at = 0; at < c->out_len;) {
        struct pollfd p = {.fd = c->fd, .events = POLLOUT | POLLIN};
        CHECK_GT(poll(&p, 1, 60000 * test_slowdown()), 0);
        if ((p.revents & POLLOUT) != 0) {
            ssize_t n = send(c->fd, c->out + at, c->out_len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
            CHECK(n > 0 || errno == EAGAIN);
            at += n > 0 ? (size_t)n : 0;
        }
        if ((p.revents & POLLIN) != 0) {
            grow(&c->in, &c->in_room, c->in_len + 65536);
            ssize_t n = recv(c->fd, c->in + c->in_len, 65536, MSG_DONTWAIT);
            CHECK(n > 0 || errno == EAGAIN);
            c->in_len += n > 0 ? (size_t)n : 0;
        }
    }
    c->out_len = 0;
}

/* ---- replies ---- */

/* False: the end of the connection. */
static inline bool kv_fill(struct kv *c) {
    if (c->at > 0) {
        memmove(c->in, c->in + c->at, c->in_len - c->at);
        c->in_len -= c->at;
        c->at = 0;
    }
    grow(&c->in, &c->in_room, c->in_len + 65536);
    ssize_t n = recv(c->fd, c->in + c->in_len, 65536, 0);
    if (n < 0 && errno == EAGAIN) {
        CHECK_FAIL("no reply in a minute");
    }
    c->in_len += n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* Moves so many bytes to the reply. */
static inline bool kv_take(struct kv *c, size_t len) {
    grow(&c->reply, &c->reply_room, c->reply_len + len + 1);
    while (len > 0) {
        if (c->at == c->in_len && !kv_fill(c)) {
            return false;
        }
        size_t n = c->in_len - c->at < len ? c->in_len - c->at : len;
        memcpy(c->reply + c->reply_len, c->in + c->at, n);
        c->reply_len += n;
        c->at += n;
        len -= n;
    }
    c->reply[c->reply_len] = '\0';
    return true;
}

static inline bool kv_take_reply(struct kv *c) {
    size_t from = c->reply_len;
    do {
        if (!kv_take(c, 1)) {
            return false;
        }
    } while (c->reply[c->reply_len - 1] != '\n');
    char mark = c->reply[from];
    long n = strtol(c->reply + from + 1, NULL, 10);
    if ((mark == '$' || mark == '=') && n >= 0) {
        return kv_take(c, (size_t)n + 2);
    }
    n = mark == '%' ? 2 * n : mark == '*' || mark == '~' ? n : 0;
    bool whole = true;
    while (whole && n-- > 0) {
        whole = kv_take_reply(c);
    }
    return whole;
}

/* The next reply; valid until the one after. */
static inline const char *kv_reply(struct kv *c) {
    c->reply_len = 0;
    if (!kv_take_reply(c)) {
        CHECK_FAIL("the server closed the connection instead of a reply");
    }
    return c->reply;
}

static inline void kv_end(struct kv *c) {
    if (c->at < c->in_len || kv_fill(c)) {
        CHECK_FAIL("instead of the end: %.*s", (int)(c->in_len - c->at), c->in + c->at);
    }
}

/* One request, and its reply. */
__attribute__((format(printf, 2, 3))) static inline const char *kv_ask(struct kv *c,
                                                                       const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    CHECK_LT(n, (int)sizeof text);
    kv_words(c, text);
    kv_flush(c);
    return kv_reply(c);
}

static inline long long kv_number(struct kv *c, const char *words) {
    const char *reply = kv_ask(c, "%s", words);
    if (reply[0] != ':') {
        CHECK_FAIL("%s: %s", words, reply);
    }
    return strtoll(reply + 1, NULL, 10);
}

/* A number of INFO. */
static inline long long kv_info(struct kv *c, const char *name) {
    char wanted[64];
    const char *reply = kv_ask(c, "INFO"), *found;
    snprintf(wanted, sizeof wanted, "\n%s:", name);
    found = strstr(reply, wanted);
    if (found == NULL) {
        CHECK_FAIL("no %s in %s", name, reply);
    }
    return strtoll(found + strlen(wanted), NULL, 10);
}

static inline void kv_expect(struct kv *c, const char *words, const char *reply) {
    const char *got = kv_ask(c, "%s", words);
    if (strcmp(got, reply) != 0) {
        CHECK_FAIL("%s: %s instead of %s", words, got, reply);
    }
}

/* ---- the server ---- */

static inline void kv_stop(struct server *s) {
    server_signal(s, SIGTERM);
    server_wait_end(s);
    check_exit(s, 0);
    CHECK_STR_EQ(s->err_text, "");
}

static inline void kv_kill(struct server *s) {
    server_signal(s, SIGKILL);
    server_wait_end(s);
    CHECK(WIFSIGNALED(s->status) && WTERMSIG(s->status) == SIGKILL);
}

#endif
