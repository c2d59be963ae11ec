/* Requests in, replies out: RESP2 and RESP3, and requests as lines of text. */
#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "examples/kv_sharded/kv.h"

#define BUFFER_KEPT (1u << 20) /* a larger one is given back */

/* ---- replies ---- */

char *buffer_room(struct buffer *b, size_t len) {
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

void buffer_clear(struct buffer *b) {
    if (b->room > BUFFER_KEPT) {
        free(b->p);
        b->p = NULL;
        b->room = 0;
    }
    b->len = 0;
    b->failed = false;
}

void put_bytes(struct buffer *b, const void *data, size_t len) {
    char *to = buffer_room(b, len);
    if (to != NULL && len > 0) {
        memcpy(to, data, len);
        b->len += len;
    }
}

void put_text(struct buffer *b, const char *text) { put_bytes(b, text, strlen(text)); }

/* The end of a number's text stands at end. Returns where it begins. */
static char *digits(char *end, long long n) {
    unsigned long long u = n < 0 ? 0ull - (unsigned long long)n : (unsigned long long)n;
    do {
        *--end = (char)('0' + u % 10);
    } while ((u /= 10) != 0);
    if (n < 0) {
        *--end = '-';
    }
    return end;
}

void put_number(struct buffer *b, char mark, long long n) {
    char text[24], *end = text + sizeof text, *from;
    *--end = '\n';
    *--end = '\r';
    from = digits(end, n);
    *--from = mark;
    put_bytes(b, from, (size_t)(text + sizeof text - from));
}

void put_bulk(struct buffer *b, struct slice s) {
    char *to = buffer_room(b, s.len + 32);
    if (to != NULL) {
        put_number(b, '$', (long long)s.len);
        to = b->p + b->len;
        if (s.len > 0) {
            memcpy(to, s.p, s.len);
        }
        to[s.len] = '\r';
        to[s.len + 1] = '\n';
        b->len += s.len + 2;
    }
}

void put_nil(struct buffer *b, bool resp3) { put_text(b, resp3 ? "_\r\n" : "$-1\r\n"); }

void put_error(struct buffer *b, const char *format, ...) {
    char text[320];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    for (size_t i = 0; i < len; i++) { /* what a peer sent may be in it */
        text[i] = text[i] == '\r' || text[i] == '\n' ? ' ' : text[i];
    }
    put_bytes(b, "-", 1);
    put_bytes(b, text, len);
    put_bytes(b, "\r\n", 2);
}

/* ---- requests ---- */

static inline bool add_arg(struct requests *r, const char *p, size_t len) {
    if (r->len == r->room) {
        size_t room = r->room == 0 ? 64 : 2 * r->room;
        struct slice *argv = realloc(r->argv, room * sizeof *argv);
        if (argv == NULL) {
            r->error = "ERR out of memory";
            return false;
        }
        r->argv = argv;
        r->room = room;
    }
    r->argv[r->len++] = (struct slice){p, len};
    return true;
}

static ptrdiff_t malformed(struct requests *r, const char *error) {
    r->error = error;
    return -1;
}

/* A number and its line end, from *at on, which moves behind it. 1; 0: incomplete; -1: none. */
static inline int line_number(const char *p, size_t len, size_t *at, long long *n) {
    const char *q = p + *at, *end = p + len, *first;
    uint32_t value = 0, digit;
    bool minus = q < end && *q == '-';
    for (first = q += minus; q < end && (digit = (uint32_t)(*q - '0')) <= 9; q++) {
        value = value * 10 + digit;
    }
    if (q - first > 9 || (q < end && (q == first || *q != '\r')) || (q + 1 < end && q[1] != '\n')) {
        return -1;
    }
    *n = minus ? -(long long)value : (long long)value;
    *at = (size_t)(q - p) + 2;
    return q + 1 < end;
}

static ptrdiff_t parse_bulks(struct requests *r, const char *p, size_t len) {
    long long count, bulk;
    size_t at = 1;
    int rc = line_number(p, len, &at, &count);
    if (rc < 0 || (rc > 0 && count > (long long)ARGS_MAX)) {
        return malformed(r, "ERR Protocol error: invalid multibulk length");
    }
    for (; rc > 0 && count > 0; count--) {
        if (at >= len) {
            r->need = at + 1;
            return 0;
        }
        if (p[at] != '$') {
            return malformed(r, "ERR Protocol error: expected '$'");
        }
        at++;
        rc = line_number(p, len, &at, &bulk);
        if (rc < 0 || (rc > 0 && (bulk < 0 || bulk > (long long)REQUEST_MAX))) {
            return malformed(r, "ERR Protocol error: invalid bulk length");
        }
        if (rc == 0) {
            break;
        }
        if (at + (size_t)bulk + 2 > REQUEST_MAX) {
            return malformed(r, "ERR Protocol error: too big request");
        }
        if (len < at + (size_t)bulk + 2) {
            r->need = at + (size_t)bulk + 2;
            return 0;
        }
        if (p[at + (size_t)bulk] != '\r' || p[at + (size_t)bulk + 1] != '\n') {
            return malformed(r, "ERR Protocol error: expected CRLF after a bulk");
        }
        if (!add_arg(r, p + at, (size_t)bulk)) {
            return -1;
        }
        at += (size_t)bulk + 2;
    }
    r->need = at + 1;
    return rc > 0 ? (ptrdiff_t)at : 0;
}

static int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10 : -1;
}

/* The byte after a backslash in a word in double quotes; *q moves behind it. */
static char unescaped(const char **q, const char *end) {
    static const char from[] = "nrtba", to[] = "\n\r\t\b\a";
    if (**q == 'x' && end - *q > 2 && hex((*q)[1]) >= 0 && hex((*q)[2]) >= 0) {
        *q += 3;
        return (char)(hex((*q)[-2]) << 4 | hex((*q)[-1]));
    }
    char c = *(*q)++;
    const char *found = c != '\0' ? strchr(from, c) : NULL;
    return found != NULL ? to[found - from] : c;
}

/* One word from *q on, quotes taken off, into text. False: the quotes are not balanced. */
static bool parse_word(struct requests *r, const char **q, const char *end) {
    char quote = **q == '"' || **q == '\'' ? *(*q)++ : '\0';
    size_t from = r->text.len;
    while (*q < end && (quote != '\0' ? **q != quote : !isspace((unsigned char)**q))) {
        char c = *(*q)++;
        if (c == '\\' && *q < end && quote == '"') {
            c = unescaped(q, end);
        } else if (c == '\\' && *q < end && quote == '\'' && **q == '\'') {
            c = *(*q)++;
        }
        put_bytes(&r->text, &c, 1); /* there is room: see parse_line */
    }
    if (quote != '\0' && (*q == end || (++*q < end && !isspace((unsigned char)**q)))) {
        return false;
    }
    return add_arg(r, r->text.p + from, r->text.len - from);
}

static ptrdiff_t parse_line(struct requests *r, const char *p, size_t len) {
    const char *end = memchr(p, '\n', len < INLINE_MAX ? len : INLINE_MAX), *q = p;
    if (end == NULL) {
        r->need = len + 1;
        return len < INLINE_MAX ? 0 : malformed(r, "ERR Protocol error: too big inline request");
    }
    r->text.len = 0;
    if (buffer_room(&r->text, (size_t)(end - p) + 1) == NULL) {
        return malformed(r, "ERR out of memory");
    }
    for (;;) {
        while (q < end && isspace((unsigned char)*q)) {
            q++;
        }
        if (q == end) {
            return end + 1 - p;
        }
        if (!parse_word(r, &q, end)) {
            return malformed(r, "ERR Protocol error: unbalanced quotes in request");
        }
    }
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
    size_t i = minus, count = s.len - i;
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
        if (pattern.p[i] == '\\' && i + 1 < pattern.len) {
            i++;
        }
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
