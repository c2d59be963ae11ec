/* Requests in, replies out: RESP2 and RESP3, and requests as lines of text. */
#include "examples/resp/resp.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define NUMBER_BYTES 24 /* mark, sign, digits, line end */

/* ---- replies ---- */

char *resp_grow(resp_out *out, size_t len) {
    size_t room = out->room * 2 > out->len + len ? out->room * 2 : out->len + len + 4096;
    char *p = realloc(out->at, room);
    if (p == NULL) {
        out->failed = true;
        return NULL;
    }
    out->at = p;
    out->room = room;
    return p + out->len;
}

void resp_free(resp_out *out) {
    free(out->at);
    *out = (resp_out){0};
}

/* Returns its end. to has room for NUMBER_BYTES. */
static inline char *write_number(char *to, char mark, long long n) {
    unsigned long long u = n < 0 ? 0ull - (unsigned long long)n : (unsigned long long)n;
    size_t digits = 1;
    if (u == (unsigned long long)n && u < 10) { /* most are */
        memcpy(to, (char[]){mark, (char)('0' + u), '\r', '\n'}, 4);
        return to + 4;
    }
    for (unsigned long long rest = u; rest > 9; rest /= 10) {
        digits++;
    }
    *to++ = mark;
    if (n < 0) {
        *to++ = '-';
    }
    for (char *p = to + digits; p > to; u /= 10) {
        *--p = (char)('0' + u % 10);
    }
    return (char *)memcpy(to + digits, "\r\n", 2) + 2;
}

int resp_put_number(resp_out *out, char mark, long long n) {
    char *to = resp_room(out, NUMBER_BYTES);
    if (to != NULL) {
        out->len += (size_t)(write_number(to, mark, n) - to);
    }
    return 0;
}

int resp_put_bulk(resp_out *out, resp_text text) {
    char *from = resp_room(out, NUMBER_BYTES + text.len + 2), *to;
    if (from != NULL) {
        to = write_number(from, '$', text.len);
        memcpy(to, text.at != NULL ? text.at : "", text.len);
        memcpy(to + text.len, "\r\n", 2);
        out->len += (size_t)(to - from) + text.len + 2;
    }
    return 0;
}

int resp_put_nil(resp_out *out, bool resp3) {
    return resp_put_text(out, resp3 ? "_\r\n" : "$-1\r\n");
}

int resp_put_map(resp_out *out, bool resp3, int pairs) {
    return resp_put_number(out, resp3 ? '%' : '*', resp3 ? pairs : 2 * pairs);
}

int resp_put_error(resp_out *out, const char *format, ...) {
    char text[320] = "-";
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text + 1, sizeof text - 1, format, args);
    va_end(args);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\r' || *p == '\n' ? ' ' : *p;
    }
    resp_put_text(out, text);
    return resp_put_text(out, "\r\n");
}

/* ---- requests ---- */

static const char no_memory[] = "ERR out of memory";

static ptrdiff_t malformed(resp_requests *r, const char *error) {
    r->error = error;
    return -1;
}

static ptrdiff_t incomplete(resp_requests *r, size_t need) {
    r->need = need;
    return need <= RESP_REQUEST_MAX ? 0 : malformed(r, "ERR Protocol error: too big request");
}

/* A number and its line end, from *at on, which moves behind it. 1; 0: incomplete; -1: none. */
static int any_number(const char **at, const char *end, long *n) {
    const char *q = *at, *first;
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

/* Most have one digit, or two. */
static inline int line_number(const char **at, const char *end, long *n) {
    const char *q = *at;
    if (end - q >= 4) {
        unsigned digits = (unsigned)(*q++ - '0'), low = (unsigned)(*q - '0');
        bool two = low < 10;
        if (digits < 10 && memcmp(q + two, "\r\n", 2) == 0) {
            *n = (long)(two ? digits * 10 + low : digits);
            *at = q + two + 2;
            return 1;
        }
    }
    long value = 0; /* the caller's variables stay in registers */
    const char *behind = *at;
    int rc = any_number(&behind, end, &value);
    *n = value;
    *at = behind;
    return rc;
}

static ptrdiff_t parse_bulks(resp_requests *r, const char *p, size_t len) {
    len = len < RESP_REQUEST_MAX ? len : RESP_REQUEST_MAX;
    const char *q = p + 1, *end = p + len;
    long count, bulk;
    int rc = line_number(&q, end, &count);
    if (rc < 0 || (rc > 0 && count > (long)RESP_ARGS_MAX)) {
        return malformed(r, "ERR Protocol error: invalid multibulk length");
    }
    if (rc == 0) {
        return incomplete(r, len + 1);
    }
    size_t bytes = (count > 0 ? (size_t)count : 0) * sizeof(resp_text);
    resp_text *arg = (resp_text *)(void *)resp_room(&r->args, bytes);
    if (arg == NULL && bytes > 0) {
        return malformed(r, no_memory);
    }
    for (; count > 0; count--, arg++) {
        if (q == end) {
            return incomplete(r, len + 1);
        }
        if (*q++ != '$') {
            return malformed(r, "ERR Protocol error: expected '$'");
        }
        rc = line_number(&q, end, &bulk);
        if (rc < 0 || (rc > 0 && (unsigned long)bulk > RESP_REQUEST_MAX)) {
            return malformed(r, "ERR Protocol error: invalid bulk length");
        }
        if (rc == 0 || end - q < bulk + 2) {
            return incomplete(r, rc == 0 ? len + 1 : (size_t)(q - p + bulk + 2));
        }
        if (memcmp(q + bulk, "\r\n", 2) != 0) {
            return malformed(r, "ERR Protocol error: expected CRLF after a bulk");
        }
        *arg = (resp_text){q, (uint32_t)bulk, 0};
        q += bulk + 2;
    }
    r->args.len += bytes;
    return q - p;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Words, with spaces between. */
static ptrdiff_t parse_line(resp_requests *r, const char *p, size_t len) {
    const char *end = memchr(p, '\n', len < RESP_LINE_MAX ? len : RESP_LINE_MAX), *word;
    if (end == NULL) {
        r->need = len + 1;
        return len < RESP_LINE_MAX ? 0 : malformed(r, "ERR Protocol error: too big inline request");
    }
    for (const char *q = p; q < end; q++) {
        for (word = q; q < end && !is_space(*q);) {
            q++;
        }
        const resp_text arg = {word, (uint32_t)(q - word), 0};
        resp_put(&r->args, &arg, q > word ? sizeof arg : 0);
    }
    return r->args.failed ? malformed(r, no_memory) : end + 1 - p;
}

ptrdiff_t resp_parse(resp_requests *requests, const char *data, size_t len) {
    return *data == '*' ? parse_bulks(requests, data, len) : parse_line(requests, data, len);
}

/* ---- arguments ---- */

bool resp_is(resp_text text, const char *word) {
    return strlen(word) == text.len && strncasecmp(text.at, word, text.len) == 0;
}

bool resp_number(resp_text text, long long *n) {
    bool minus = text.len > 0 && text.at[0] == '-';
    uint32_t i = minus, count = text.len - i;
    unsigned long long u = 0, max = (unsigned long long)LLONG_MAX + minus;
    if (count == 0 || count > 19 || (text.at[i] == '0' && text.len > 1)) {
        return false;
    }
    for (; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') {
            return false;
        }
        u = u * 10 + (unsigned)(text.at[i] - '0'); /* 19 digits fit */
    }
    *n = minus ? (long long)(0 - u) : (long long)u;
    return u <= max;
}

/* Of a class ("[a-z]") that begins at *at, which moves behind it. */
static bool class_match(resp_text pattern, size_t *at, unsigned char c) {
    size_t i = *at + 1;
    bool not = i < pattern.len && pattern.at[i] == '^', found = false;
    for (i += not ; i < pattern.len && pattern.at[i] != ']'; i++) {
        i += pattern.at[i] == '\\' && i + 1 < pattern.len;
        unsigned char from = (unsigned char)pattern.at[i], to = from;
        if (i + 2 < pattern.len && pattern.at[i + 1] == '-') {
            i += 2;
            to = (unsigned char)pattern.at[i];
        }
        found |= from <= to ? c >= from && c <= to : c >= to && c <= from;
    }
    *at = i < pattern.len ? i + 1 : i;
    return found != not ;
}

/* When something does not match, only the last star takes one byte more. */
bool resp_glob(resp_text pattern, resp_text text) {
    size_t p = 0, i = 0, star = SIZE_MAX, star_i = 0;
    while (i < text.len || p < pattern.len) {
        size_t next = p + 1;
        bool matches = p < pattern.len && i < text.len;
        if (p < pattern.len && pattern.at[p] == '*') {
            star = ++p;
            star_i = i;
            continue;
        }
        if (matches && pattern.at[p] == '[') {
            next = p;
            matches = class_match(pattern, &next, (unsigned char)text.at[i]);
        } else if (matches && pattern.at[p] != '?') {
            p += pattern.at[p] == '\\' && p + 1 < pattern.len;
            next = p + 1;
            matches = pattern.at[p] == text.at[i];
        }
        if (matches) {
            p = next;
            i++;
        } else if (star != SIZE_MAX && star_i < text.len) {
            p = star;
            i = ++star_i;
        } else {
            return false;
        }
    }
    return true;
}
