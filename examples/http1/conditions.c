/* Conditional requests, ranges and what a client accepts (RFC 9110, 12 to 14). */
#include <string.h>

#include "examples/http1/http1.h"

/* Is the tag in the list? "*" is any. The weak comparison leaves "W/" out of account, in the strong
 * one a weak tag equals none. */
static bool has_tag(http1_text list, const char *etag, bool weak) {
    http1_text tag;
    if (!weak && strncmp(etag, "W/", 2) == 0) {
        etag = "";
    }
    etag += strncmp(etag, "W/", 2) == 0 ? 2 : 0;
    while (http1_next(&list, &tag)) {
        if (weak && tag.len > 2 && memcmp(tag.at, "W/", 2) == 0) {
            tag = (http1_text){tag.at + 2, tag.len - 2};
        }
        if (http1_is(tag, "*") || (*etag != '\0' && http1_is(tag, etag))) {
            return true;
        }
    }
    return false;
}

int http1_conditions(const http1_request *request, const char *etag, int64_t modified) {
    bool reads = http1_is(request->method, "GET") || http1_is(request->method, "HEAD");
    http1_text field = http1_field_value(request, "If-Match");
    int64_t since;
    if (field.at != NULL) {
        if (!has_tag(field, etag, false)) {
            return 412;
        }
    } else {
        field = http1_field_value(request, "If-Unmodified-Since");
        if (field.at != NULL && http1_parse_date(field, &since) && modified > since) {
            return 412;
        }
    }
    field = http1_field_value(request, "If-None-Match");
    if (field.at != NULL) {
        return !has_tag(field, etag, true) ? 200 : reads ? 304 : 412;
    }
    field = http1_field_value(request, "If-Modified-Since");
    bool same = field.at != NULL && http1_parse_date(field, &since) && modified <= since;
    return reads && same ? 304 : 200;
}

/* Digits at the beginning of *t, at most 18 of them; the rest stays. */
static bool parse_digits(http1_text *t, uint64_t *n) {
    size_t i = 0;
    for (*n = 0; i < t->len && i < 18 && t->at[i] >= '0' && t->at[i] <= '9'; i++) {
        *n = *n * 10 + (uint64_t)(t->at[i] - '0');
    }
    *t = (http1_text){t->at + i, t->len - i};
    return i > 0;
}

/* "0-9", "90-", "-5". False: it is none of these. *len 0: it lies outside. */
static bool parse_span(http1_text t, uint64_t size, http1_span *span) {
    uint64_t first, last;
    bool has_first = parse_digits(&t, &first);
    if (t.len == 0 || t.at[0] != '-') {
        return false;
    }
    t = (http1_text){t.at + 1, t.len - 1};
    bool has_last = parse_digits(&t, &last);
    if (t.len > 0 || (!has_first && !has_last) || (has_first && has_last && first > last)) {
        return false;
    }
    if (!has_first) { /* so many bytes at the end */
        first = last == 0 ? size : last < size ? size - last : 0;
        has_last = false;
    }
    uint64_t end = has_last && last < size ? last + 1 : size;
    *span = (http1_span){first, first < end ? end - first : 0};
    return true;
}

static int parse_ranges(http1_text t, uint64_t size, http1_span *spans, uint32_t *count) {
    uint64_t sum = 0;
    uint32_t n = 0, asked = 0;
    http1_text element;
    http1_span span;
    if (t.len < 6 || !http1_is_word((http1_text){t.at, 6}, "bytes=")) {
        return 200;
    }
    t = (http1_text){t.at + 6, t.len - 6};
    for (; http1_next(&t, &element); asked++) {
        if (asked == HTTP1_SPANS_MAX || !parse_span(element, size, &span)) {
            return 200;
        }
        if (span.len > 0) {
            sum += span.len;
            spans[n++] = span;
        }
        if (sum > size) {
            return 200;
        }
    }
    *count = n > 0 ? n : 1;
    return n > 0 ? 206 : asked > 0 ? 416 : 200;
}

int http1_ranges(const http1_request *request, const char *etag, int64_t modified, uint64_t size,
                 http1_span spans[HTTP1_SPANS_MAX], uint32_t *count) {
    http1_text range = http1_field_value(request, "Range");
    http1_text still = http1_field_value(request, "If-Range");
    int64_t date;
    int status = 200;
    *count = 1;
    if (range.at != NULL && http1_is(request->method, "GET") &&
        (still.at == NULL || (http1_is(still, etag) && strncmp(etag, "W/", 2) != 0) ||
         (http1_parse_date(still, &date) && date == modified))) { /* it is no other file by now */
        status = parse_ranges(range, size, spans, count);
    }
    if (status != 206) {
        spans[0] = (http1_span){0, size};
    }
    return status;
}

/* "q=0", "q=0.000" */
static bool is_zero(http1_text parameters) {
    for (size_t i = 0; i < parameters.len; i++) {
        if (parameters.at[i] >= '1' && parameters.at[i] <= '9') {
            return false;
        }
    }
    return memchr(parameters.at, '0', parameters.len) != NULL;
}

bool http1_accepts(const http1_request *request, const char *field, const char *word) {
    http1_text list = http1_field_value(request, field), item;
    while (http1_next(&list, &item)) {
        const char *semicolon = memchr(item.at, ';', item.len);
        size_t len = semicolon != NULL ? (size_t)(semicolon - item.at) : item.len;
        http1_text parameters = {item.at + len, item.len - len};
        while (len > 0 && (item.at[len - 1] == ' ' || item.at[len - 1] == '\t')) {
            len--;
        }
        if (http1_is_word((http1_text){item.at, len}, word)) {
            return !is_zero(parameters);
        }
    }
    return false;
}
