/* Requests in, replies out: RESP2 and RESP3, and requests as lines of text. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "examples/kv_sharded/kv.h"

#define LINE_MAX_BYTES 65536u

/* ---- replies ---- */

/* For len more bytes; NULL: no memory. */
static inline char *buffer_room(struct buffer *b, size_t len) {
    if (b->room - b->len < len) {
        size_t room = b->room * 2 > b->len + len ? b->room * 2 : b->len + len + 4096;
        char *p = realloc(b->p, room);
        if (p == NULL) {
            b->failed = true;
            return NULL;
        }
        b->p = p;
        b->room = room;
    }
    return b->p + b->len;
}

void buffer_free(struct buffer *b) {
    free(b->p);
    *b = (struct buffer){0};
}

void put_bytes(struct buffer *b, const void *data, size_t len) {
    char *to = buffer_room(b, len);
    if (to != NULL && len > 0) {
        memcpy(to, data, len);
        b->len += len;
    }
}

void put_text(struct buffer *b, const char *text) { put_bytes(b, text, strlen(text)); }

void put_number(struct buffer *b, char mark, long long n) {
    char text[24], *p = text + sizeof text, *to = buffer_room(b, sizeof text);
    unsigned long long u = n < 0 ? 0ull - (unsigned long long)n : (unsigned long long)n;
    if (to == NULL) {
        return;
    }
    if (n >= 0 && n < 10) { /* most are */
        memcpy(to, (char[]){mark, (char)('0' + n), '\r', '\n'}, 4);
        b->len += 4;
        return;
    }
    *--p = '\n';
    *--p = '\r';
    do {
        *--p = (char)('0' + u % 10);
    } while ((u /= 10) != 0);
    if (n < 0) {
        *--p = '-';
    }
    *--p = mark;
    memcpy(to, p, (size_t)(text + sizeof text - p));
    b->len += (size_t)(text + sizeof text - p);
}

void put_bulk(struct buffer *b, struct slice s) {
    if (buffer_room(b, s.len + 32) != NULL) {
        put_number(b, '$', s.len);
        memcpy(b->p + b->len, s.p != NULL ? s.p : "", s.len);
        memcpy(b->p + b->len + s.len, "\r\n", 2);
        b->len += s.len + 2;
    }
}

void put_nil(struct buffer *b, bool resp3) { put_text(b, resp3 ? "_\r\n" : "$-1\r\n"); }

void put_error(struct buffer *b, const char *format, ...) {
    char text[320] = "-";
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text + 1, sizeof text - 1, format, args);
    va_end(args);
    for (char *p = text; *p != '\0'; p++) { /* what a peer sent may be in it */
        *p = *p == '\r' || *p == '\n' ? ' ' : *p;
    }
    put_text(b, text);
    put_bytes(b, "\r\n", 2);
}

/* ---- requests ---- */

static ptrdiff_t malformed(struct requests *r, const char *error) {
    r->error = error;
    return -1;
}

/* Room for so many more arguments; NULL: no memory. */
static inline struct slice *room_for(struct requests *r, long count) {
    void *args = buffer_room(&r->args, (size_t)count * sizeof(struct slice));
    r->error = "ERR out of memory";
    return args;
}

/* A number and its line end, from *at on, which moves behind it. 1; 0: incomplete; -1: none. */
static inline int line_number(const char **at, const char *end, long *n) {
    const char *q = *at, *first;
    if (end - q > 3 && *q >= '0' && *q <= '9' && memcmp(q + 1, "\r\n", 2) == 0) {
        *n = *q - '0'; /* most have one digit */
        *at = q + 3;
        return 1;
    }
    bool minus = q < end && *q == '-';
    long value = 0;
    first = q += minus;
    for (const char *stop = end - q > 10 ? q + 10 : end; q < stop && *q >= '0' && *q <= '9'; q++) {
        value = value * 10 + (*q - '0');
    }
    if (end - q < 2) {
        return q - first > 9 || (q < end && (q == first || *q != '\r')) ? -1 : 0;
    }
    *n = minus ? -value : value;
    *at = q + 2;
    return (size_t)(q - first) - 1 < 9 && memcmp(q, "\r\n", 2) == 0 ? 1 : -1;
}

static ptrdiff_t parse_bulks(struct requests *r, const char *p, size_t len) {
    const char *q = p + 1, *end = p + len;
    long count, bulk;
    int rc = line_number(&q, end, &count);
    r->need = len + 1;
    if (rc < 0 || (rc > 0 && count > (long)ARGS_MAX)) {
        return malformed(r, "ERR Protocol error: invalid multibulk length");
    }
    count = rc > 0 && count > 0 ? count : 0;
    struct slice *args = room_for(r, count);
    if (rc == 0 || args == NULL) {
        return rc == 0 ? 0 : -1;
    }
    for (long i = 0; i < count; i++) {
        if (q == end) {
            return 0;
        }
        if (*q++ != '$') {
            return malformed(r, "ERR Protocol error: expected '$'");
        }
        rc = line_number(&q, end, &bulk);
        if (rc < 0 || (rc > 0 && (unsigned long)bulk > REQUEST_MAX)) {
            return malformed(r, "ERR Protocol error: invalid bulk length");
        }
        if (rc == 0) {
            return 0;
        }
        if (q - p + bulk + 2 > (long)REQUEST_MAX) {
            return malformed(r, "ERR Protocol error: too big request");
        }
        if (end - q < bulk + 2) {
            r->need = (size_t)(q - p + bulk + 2);
            return 0;
        }
        if (memcmp(q + bulk, "\r\n", 2) != 0) {
            return malformed(r, "ERR Protocol error: expected CRLF after a bulk");
        }
        args[i] = (struct slice){q, (uint32_t)bulk, 0};
        q += bulk + 2;
    }
    r->args.len += (size_t)count * sizeof *args;
    return q - p;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Words, with spaces between. */
static ptrdiff_t parse_line(struct requests *r, const char *p, size_t len) {
    const char *end = memchr(p, '\n', len < LINE_MAX_BYTES ? len : LINE_MAX_BYTES), *word;
    if (end == NULL) {
        r->need = len + 1;
        return len < LINE_MAX_BYTES ? 0
                                    : malformed(r, "ERR Protocol error: too big inline request");
    }
    for (const char *q = p; q < end; q++) {
        for (word = q; q < end && !is_space(*q);) {
            q++;
        }
        struct slice *arg = q > word ? room_for(r, 1) : NULL;
        if (arg != NULL) {
            *arg = (struct slice){word, (uint32_t)(q - word), 0};
            r->args.len += sizeof *arg;
        } else if (q > word) {
            return -1;
        }
    }
    return end + 1 - p;
}

ptrdiff_t request_parse(struct requests *r, const char *p, size_t len) {
    return *p == '*' ? parse_bulks(r, p, len) : parse_line(r, p, len);
}

/* ---- arguments ---- */

bool word_is(struct slice s, const char *word) {
    return strlen(word) == s.len && strncasecmp(s.p, word, s.len) == 0;
}

bool number_parse(struct slice s, long long *n) {
    bool minus = s.len > 0 && s.p[0] == '-';
    uint32_t i = minus, count = s.len - i;
    unsigned long long u = 0, max = (unsigned long long)LLONG_MAX + minus;
    if (count == 0 || count > 19 || (s.p[i] == '0' && s.len > 1)) {
        return false;
    }
    for (; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        u = u * 10 + (unsigned)(s.p[i] - '0'); /* 19 digits fit */
    }
    *n = minus ? (long long)(0 - u) : (long long)u;
    return u <= max;
}

/* Of a class ("[a-z]") that begins at *at, which moves behind it. */
static bool class_match(struct slice pattern, size_t *at, unsigned char c) {
    size_t i = *at + 1;
    bool not = i < pattern.len && pattern.p[i] == '^', found = false;
    for (i += not ; i < pattern.len && pattern.p[i] != ']'; i++) {
        i += pattern.p[i] == '\\' && i + 1 < pattern.len;
        unsigned char from = (unsigned char)pattern.p[i], to = from;
        if (i + 2 < pattern.len && pattern.p[i + 1] == '-') {
            i += 2;
            to = (unsigned char)pattern.p[i];
        }
        found |= from <= to ? c >= from && c <= to : c >= to && c <= from;
    }
    *at = i < pattern.len ? i + 1 : i;
    return found != not ;
}

/* When something does not match, only the last star takes one byte more: no exponential time. */
bool glob_match(struct slice pattern, struct slice s) {
    size_t p = 0, i = 0, star = SIZE_MAX, star_i = 0;
    while (i < s.len || p < pattern.len) {
        size_t next = p + 1;
        bool matches = p < pattern.len && i < s.len;
        if (p < pattern.len && pattern.p[p] == '*') {
            star = ++p;
            star_i = i;
            continue;
        }
        if (matches && pattern.p[p] == '[') {
            next = p;
            matches = class_match(pattern, &next, (unsigned char)s.p[i]);
        } else if (matches && pattern.p[p] != '?') {
            p += pattern.p[p] == '\\' && p + 1 < pattern.len;
            next = p + 1;
            matches = pattern.p[p] == s.p[i];
        }
        if (matches) {
            p = next;
            i++;
        } else if (star != SIZE_MAX && star_i < s.len) {
            p = star;
            i = ++star_i;
        } else {
            return false;
        }
    }
    return true;
}
