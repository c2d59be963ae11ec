/* The head: its lines, and what its fields say of the body and the connection. */
#include "examples/http1/http1.h"

#include <string.h>
#include <strings.h>

enum { DONE, LENGTH, SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER };

/* ---- characters ---- */

static bool is_token_char(unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(http1_text t) {
    for (size_t i = 0; i < t.len; i++) {
        if (!is_token_char((unsigned char)t.at[i])) {
            return false;
        }
    }
    return t.len > 0;
}

/* Of a value: what can be seen, space, tab, and bytes that are not ASCII. */
static bool is_value_char(unsigned char c) { return c == '\t' || (c >= ' ' && c != 0x7f); }

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static http1_text trimmed(http1_text t) {
    while (t.len > 0 && is_blank(t.at[0])) {
        t.at++;
        t.len--;
    }
    while (t.len > 0 && is_blank(t.at[t.len - 1])) {
        t.len--;
    }
    return t;
}

bool http1_is(http1_text text, const char *word) {
    return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

bool http1_is_word(http1_text text, const char *word) {
    return text.len == strlen(word) && strncasecmp(text.at, word, text.len) == 0;
}

bool http1_next(http1_text *list, http1_text *element) {
    while (list->len > 0) {
        const char *comma = memchr(list->at, ',', list->len);
        size_t len = comma != NULL ? (size_t)(comma - list->at) : list->len;
        size_t with_comma = len + (comma != NULL);
        *element = trimmed((http1_text){list->at, len});
        list->at += with_comma;
        list->len -= with_comma;
        if (element->len > 0) {
            return true;
        }
    }
    return false;
}

/* ---- the request line ---- */

static int parse_version(http1_request *r, http1_text t) {
    if (t.len != 8 || memcmp(t.at, "HTTP/", 5) != 0 || t.at[5] < '0' || t.at[5] > '9' ||
        t.at[6] != '.' || t.at[7] < '0' || t.at[7] > '9') {
        return -400;
    }
    r->minor = (uint32_t)(t.at[7] - '0');
    return t.at[5] == '1' ? 0 : -505;
}

/* A target has one of four forms (RFC 9112, 3.2). */
static int parse_target(http1_request *r) {
    http1_text t = r->target;
    for (size_t i = 0; i < t.len; i++) {
        unsigned char c = (unsigned char)t.at[i];
        if (c <= ' ' || c >= 0x7f || c == '#') {
            return -400;
        }
    }
    r->path = (http1_text){t.at, 0};
    r->query = (http1_text){t.at + t.len, 0};
    if (http1_is(r->method, "CONNECT")) {
        bool authority = t.len > 0 && memchr(t.at, '/', t.len) == NULL && t.at[0] != '*';
        return authority ? 0 : -400;
    }
    if (http1_is(t, "*")) {
        r->path = t;
        return http1_is(r->method, "OPTIONS") ? 0 : -400;
    }
    if (t.len > 7 && strncasecmp(t.at, "http://", 7) == 0) {
        const char *slash = memchr(t.at + 7, '/', t.len - 7);
        if (slash == t.at + 7) {
            return -400; /* no host */
        }
        t = slash != NULL ? (http1_text){slash, (size_t)(t.at + t.len - slash)}
                          : (http1_text){"/", 1};
    }
    if (t.len == 0 || t.at[0] != '/') {
        return -400;
    }
    const char *mark = memchr(t.at, '?', t.len);
    r->path = (http1_text){t.at, mark != NULL ? (size_t)(mark - t.at) : t.len};
    if (mark != NULL) {
        r->query = (http1_text){mark + 1, (size_t)(t.at + t.len - mark - 1)};
    }
    return 0;
}

static int parse_request_line(http1_request *r, http1_text line) {
    const char *end = line.at + line.len;
    const char *first = memchr(line.at, ' ', line.len);
    if (first == NULL) {
        return -400;
    }
    r->method = (http1_text){line.at, (size_t)(first - line.at)};
    const char *second = memchr(first + 1, ' ', (size_t)(end - first - 1));
    if (second == NULL || !is_token(r->method)) {
        return -400;
    }
    r->target = (http1_text){first + 1, (size_t)(second - first - 1)};
    if (r->target.len > HTTP1_TARGET_MAX) {
        return -414;
    }
    int rc = parse_version(r, (http1_text){second + 1, (size_t)(end - second - 1)});
    return rc == 0 ? parse_target(r) : rc;
}

/* ---- fields ---- */

static int parse_field(http1_request *r, http1_text line) {
    const char *colon = memchr(line.at, ':', line.len);
    if (colon == NULL) {
        return -400;
    }
    http1_text name = {line.at, (size_t)(colon - line.at)};
    http1_text value = {colon + 1, (size_t)(line.at + line.len - colon - 1)};
    if (!is_token(name)) {
        return -400;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (!is_value_char((unsigned char)value.at[i])) {
            return -400;
        }
    }
    if (r->fields_len == HTTP1_FIELDS_MAX) {
        return -431;
    }
    r->fields[r->fields_len++] = (http1_field){name, trimmed(value)};
    return 0;
}

http1_text http1_field_value(const http1_request *request, const char *name) {
    for (uint32_t i = 0; i < request->fields_len; i++) {
        if (http1_is_word(request->fields[i].name, name)) {
            return request->fields[i].value;
        }
    }
    return (http1_text){NULL, 0};
}

/* What a host consists of, an address in brackets included; a port behind it. */
static bool is_host(http1_text t) {
    for (size_t i = 0; i < t.len; i++) {
        char c = t.at[i];
        bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    (c != '\0' && strchr("-._~!$&'()*+;=:[]%", c) != NULL);
        if (!good) {
            return false;
        }
    }
    return true;
}

static int parse_length(http1_text t, uint64_t *length) {
    *length = 0;
    for (size_t i = 0; i < t.len; i++) {
        if (t.at[i] < '0' || t.at[i] > '9') {
            return -400;
        }
        uint64_t digit = (uint64_t)(t.at[i] - '0');
        if (*length > ((uint64_t)INT64_MAX - digit) / 10) {
            return -400;
        }
        *length = *length * 10 + digit;
    }
    return t.len > 0 ? 0 : -400;
}

/* Chunked alone is what we can read. Behind another coding it still tells the end, without it as
 * the last one nothing does. */
static int parse_coding(http1_text t) {
    const char *comma = memchr(t.at, ',', t.len);
    if (comma == NULL) {
        return http1_is_word(t, "chunked") ? 0 : -400;
    }
    http1_text coding = {NULL, 0};
    int before = 0, chunked = 0;
    while (http1_next(&t, &coding)) {
        before++;
        chunked += http1_is_word(coding, "chunked");
    }
    return before > 1 && chunked == 1 && http1_is_word(coding, "chunked") ? -501 : -400;
}

static int parse_connection(http1_request *r, http1_text list) {
    http1_text option;
    while (http1_next(&list, &option)) {
        if (!is_token(option)) {
            return -400;
        }
        if (http1_is_word(option, "close")) {
            r->keep_alive = false;
        } else if (http1_is_word(option, "keep-alive") && r->minor == 0) {
            r->keep_alive = true;
        }
    }
    return 0;
}

/* What the fields say of the message itself. */
static int parse_framing(http1_request *r) {
    int hosts = 0, lengths = 0, codings = 0, rc = 0;
    bool closes = false;
    uint64_t length = 0;
    r->keep_alive = r->minor > 0;
    for (uint32_t i = 0; i < r->fields_len && rc == 0; i++) {
        http1_text name = r->fields[i].name, value = r->fields[i].value;
        if (http1_is_word(name, "Host")) {
            rc = hosts++ > 0 || !is_host(value) ? -400 : 0;
        } else if (http1_is_word(name, "Content-Length")) {
            rc = lengths++ > 0 ? -400 : parse_length(value, &length);
        } else if (http1_is_word(name, "Transfer-Encoding")) {
            rc = codings++ > 0 || r->minor == 0 ? -400 : parse_coding(value);
        } else if (http1_is_word(name, "Connection")) {
            rc = parse_connection(r, value);
            closes |= !r->keep_alive && r->minor > 0;
        } else if (http1_is_word(name, "Expect") && r->minor > 0) {
            r->expects = http1_is_word(value, "100-continue");
            rc = r->expects ? 0 : -417;
        }
    }
    if (rc < 0) {
        return rc;
    }
    if ((hosts == 0 && r->minor > 0) || (lengths > 0 && codings > 0)) {
        return -400;
    }
    r->keep_alive &= !closes;
    r->has_body = codings > 0 || length > 0;
    r->expects &= r->has_body;
    r->body = (http1_body){.left = length,
                           .state = codings > 0  ? SIZE
                                    : length > 0 ? LENGTH
                                                 : DONE};
    return 0;
}

/* ---- the head ---- */

/* The length of the head with the empty line at its end; 0: that is not there. A line feed without
 * a carriage return before it is an error that is found here, before more is waited for. */
static int find_end(const char *data, size_t len, size_t *seen) {
    while (*seen < len) {
        const char *lf = memchr(data + *seen, '\n', len - *seen);
        if (lf == NULL) {
            *seen = len;
            return 0;
        }
        size_t at = (size_t)(lf - data);
        if (at == 0 || data[at - 1] != '\r') {
            return -400;
        }
        *seen = at + 1;
        if (at >= 3 && data[at - 2] == '\n') {
            return (int)(at + 1);
        }
    }
    return 0;
}

/* With CR LF: room for the longest target. */
#define REQUEST_LINE_MAX (HTTP1_TARGET_MAX + 64)

int http1_parse(http1_request *request, const char *data, size_t len, size_t *seen) {
    /* One empty line before a request is left out: some clients send it behind a body. */
    size_t skip = len >= 2 && data[0] == '\r' && data[1] == '\n' ? 2 : 0;
    if (*seen < skip) {
        *seen = skip;
    }
    size_t limit = len < HTTP1_HEAD_MAX ? len : HTTP1_HEAD_MAX;
    /* The request line is refused for its length however much of the head is there. */
    if (limit > skip + REQUEST_LINE_MAX && memchr(data + skip, '\n', REQUEST_LINE_MAX) == NULL) {
        return -414;
    }
    int end = find_end(data, limit, seen);
    if (end <= 0) {
        return end < 0 || len <= HTTP1_HEAD_MAX ? end : -431;
    }
    *seen = 0; /* of the next request */
    request->fields_len = 0;
    request->expects = false;
    int rc = 0;
    bool first = true;
    for (const char *p = data + skip; rc == 0 && p < data + end - 2;) {
        const char *cr = memchr(p, '\r', (size_t)(data + end - p));
        if (cr[1] != '\n') {
            return -400; /* a carriage return alone */
        }
        http1_text line = {p, (size_t)(cr - p)};
        rc = first ? parse_request_line(request, line) : parse_field(request, line);
        first = false;
        p = cr + 2;
    }
    if (rc == 0) {
        rc = first ? -400 : parse_framing(request);
    }
    return rc < 0 ? rc : end;
}

/* ---- the body ---- */

/* The longest line of a chunk's size, or of a trailer. */
#define LINE_MAX 1024u

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The size of a chunk: left is what its digits say. */
static bool size_char(http1_body *b, char c) {
    int digit = hex_digit(c);
    if (digit >= 0) {
        b->left = b->left * 16 + (uint64_t)digit;
        return b->line <= 15 && b->left <= INT64_MAX; /* of at most 15 digits */
    }
    b->state = c == ';' ? EXTENSION : SIZE_LF;
    return b->line > 1 && (c == ';' || c == '\r');
}

/* A trailer's line is checked and dropped. A field's name ends in a colon; left counts what was
 * seen of the line: 0 nothing, 1 the name, 2 the value, 3 the CR of the empty line, 4 of another.
 */
enum { NOTHING, NAME, VALUE, LAST_CR, CR };

static bool trailer_char(http1_body *b, char c) {
    switch (b->left) {
    case NOTHING:
        b->left = c == '\r' ? LAST_CR : NAME;
        return c == '\r' || is_token_char((unsigned char)c);
    case NAME:
        b->left = c == ':' ? VALUE : NAME;
        return c == ':' || is_token_char((unsigned char)c);
    case VALUE:
        b->left = c == '\r' ? CR : VALUE;
        return c == '\r' || is_value_char((unsigned char)c);
    case LAST_CR:
        b->state = DONE;
        return c == '\n';
    default:
        b->left = NOTHING;
        b->line = 0;
        return c == '\n';
    }
}

static bool line_char(http1_body *b, char c) {
    b->line++;
    switch (b->state) {
    case SIZE:
        return size_char(b, c);
    case EXTENSION:
        b->state = c == '\r' ? SIZE_LF : EXTENSION;
        return c == '\r' || (b->line < LINE_MAX && is_value_char((unsigned char)c));
    case SIZE_LF:
        b->state = b->left > 0 ? DATA : TRAILER;
        b->line = 0;
        return c == '\n';
    case DATA_CR:
        b->state = DATA_LF;
        return c == '\r';
    case DATA_LF:
        b->state = SIZE;
        b->line = 0;
        return c == '\n';
    default:
        return b->line < LINE_MAX && trailer_char(b, c);
    }
}

int http1_body_take(http1_body *body, const char *data, size_t len, http1_text *piece) {
    size_t at = 0;
    *piece = (http1_text){data, 0};
    while (at < len && body->state != DONE) {
        if (body->state == LENGTH || body->state == DATA) {
            size_t n = body->left < len - at ? (size_t)body->left : len - at;
            n = n < INT32_MAX / 2 ? n : INT32_MAX / 2;
            *piece = (http1_text){data + at, n};
            body->left -= n;
            if (body->left == 0) {
                body->state = body->state == DATA ? DATA_CR : DONE;
            }
            return (int)(at + n);
        }
        if (!line_char(body, data[at++])) {
            return -400;
        }
    }
    return (int)at;
}

bool http1_body_done(const http1_body *body) { return body->state == DONE; }
