/* Where a message ends for a reader that takes everything: what intermediaries and servers have
 * been seen to take. A request that the module accepts must end there for each of them, or it could
 * be smuggled past one. */
#ifndef TESTS_FUZZ_HTTP1_LENIENT_H
#define TESTS_FUZZ_HTTP1_LENIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* In what they differ. */
typedef struct lenient_reader {
    bool cr_ends;      /* a carriage return alone ends a line */
    bool first_length; /* of several lengths the first counts, not the last */
    bool length_wins;  /* a length counts beside a coding */
} lenient_reader;

typedef struct lenient_input {
    const char *at, *end;
} lenient_input;

/* The next line without what ends it. False: it is not whole. */
static inline bool lenient_line(const lenient_reader *r, lenient_input *in, lenient_input *line) {
    const char *p = in->at;
    while (p < in->end && *p != '\n' && !(r->cr_ends && *p == '\r')) {
        p++;
    }
    if (p == in->end || (*p == '\r' && p + 1 == in->end)) {
        return false;
    }
    *line = (lenient_input){in->at, p};
    while (line->end > line->at && line->end[-1] == '\r') {
        line->end--;
    }
    in->at = p + 1;
    if (*p == '\r' && in->at < in->end && *in->at == '\n') {
        in->at++;
    }
    return true;
}

static inline bool lenient_blank(char c) { return c != '\0' && strchr(" \t\v\f", c) != NULL; }

/* A number with what strtoull takes in front of it. */
static inline uint64_t lenient_number(lenient_input text, int base) {
    char copy[40];
    while (text.at < text.end && lenient_blank(*text.at)) {
        text.at++;
    }
    size_t len = (size_t)(text.end - text.at);
    len = len < sizeof copy - 1 ? len : sizeof copy - 1;
    memcpy(copy, text.at, len);
    copy[len] = '\0';
    return strtoull(copy, NULL, base);
}

static inline bool lenient_has(lenient_input text, const char *word) {
    size_t len = strlen(word);
    for (; (size_t)(text.end - text.at) >= len; text.at++) {
        if (strncasecmp(text.at, word, len) == 0) {
            return true;
        }
    }
    return false;
}

static inline bool lenient_chunks(const lenient_reader *r, lenient_input *in) {
    lenient_input line;
    for (;;) {
        if (!lenient_line(r, in, &line)) {
            return false;
        }
        uint64_t size = lenient_number(line, 16);
        if (size == 0) {
            break;
        }
        if (size > (uint64_t)(in->end - in->at)) {
            return false;
        }
        in->at += size;
        if (!lenient_line(r, in, &line)) { /* whatever it says */
            return false;
        }
    }
    do {
        if (!lenient_line(r, in, &line)) {
            return false;
        }
    } while (line.at < line.end);
    return true;
}

/* The length of the first message of len bytes at data, and of its head. 0: it is not whole. */
static inline size_t lenient_length(const lenient_reader *r, const char *data, size_t len,
                                    size_t *head) {
    lenient_input in = {data, data + len}, line, length = {NULL, NULL};
    bool chunked = false, is_coding = false, first = true;
    *head = 0;
    while (in.at < in.end && (*in.at == '\r' || *in.at == '\n')) {
        in.at++;
    }
    for (;; first = false) {
        if (!lenient_line(r, &in, &line)) {
            return 0;
        }
        if (line.at == line.end) {
            break;
        }
        const char *colon = memchr(line.at, ':', (size_t)(line.end - line.at));
        if (lenient_blank(*line.at)) { /* it is folded */
            chunked |= is_coding && lenient_has(line, "chunked");
        } else if (!first && colon != NULL) {
            lenient_input name = {line.at, colon}, value = {colon + 1, line.end};
            while (name.end > name.at && lenient_blank(name.end[-1])) {
                name.end--;
            }
            size_t n = (size_t)(name.end - name.at);
            is_coding = n == 17 && strncasecmp(name.at, "Transfer-Encoding", n) == 0;
            chunked |= is_coding && lenient_has(value, "chunked");
            if (n == 14 && strncasecmp(name.at, "Content-Length", n) == 0 &&
                (length.at == NULL || !r->first_length)) {
                length = value;
            }
        }
    }
    *head = (size_t)(in.at - data);
    if (chunked && (length.at == NULL || !r->length_wins)) {
        return lenient_chunks(r, &in) ? (size_t)(in.at - data) : 0;
    }
    uint64_t body = length.at != NULL ? lenient_number(length, 10) : 0;
    return body <= (uint64_t)(in.end - in.at) ? (size_t)(in.at - data) + (size_t)body : 0;
}

#endif
