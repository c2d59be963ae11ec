/* A connection's bytes, as the http1 module reads them: the same messages however the bytes are
 * cut; each ends where the most lenient readers see its end; a head that is written again is read
 * again; limits hold. And of each request its path, its ranges, its dates. */
#include "examples/http1/http1.h"

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/http1_lenient.h"
#include "tests/http1_cases.h"

const char *const fuzz_words[] = {"\r\n",
                                  "\n",
                                  "\r",
                                  " ",
                                  "\t",
                                  "\r\n\r\n",
                                  "GET / HTTP/1.1\r\nHost: a\r\n",
                                  "HTTP/1.0",
                                  "Content-Length: 5\r\n",
                                  "Transfer-Encoding: chunked\r\n",
                                  "chunked",
                                  "0\r\n\r\n",
                                  "5\r\nhello\r\n",
                                  "Connection: close\r\n",
                                  "Expect: 100-continue\r\n",
                                  "Range: bytes=0-1,-5\r\n",
                                  "If-Range: \"a\"\r\n",
                                  "If-None-Match: W/\"a\"\r\n",
                                  "Sun, 06 Nov 1994 08:49:37 GMT",
                                  "http://a",
                                  "%2e%2E/",
                                  "/../",
                                  "//",
                                  "?",
                                  NULL};

/* ---- seeds ---- */

#define NEXT "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET_OF(path, fields) "GET " path " HTTP/1.1\r\nHost: a\r\n" fields "\r\n" NEXT

static const char *const streams[] = {
    NEXT NEXT "\r\n" NEXT,
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" NEXT,
    "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello" NEXT,
    GET_OF("/a/./b/../c//%64%2f?x=%00", ""),
    GET_OF("/..", ""),
    GET_OF("/%2e%2e/a", ""),
    GET_OF("/%", ""),
    GET_OF("/", "Range: bytes=0-9,20-,-5\r\nIf-Range: \"a\"\r\n"),
    GET_OF("/", "Range: bytes=18446744073709551615-\r\n"),
    GET_OF("/", "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n"),
    GET_OF("/", "If-Unmodified-Since: Sun Nov  6 08:49:37 1994\r\n"),
    GET_OF("/", "Accept-Encoding: br;q=1, gzip;q=0.000\r\n"),
};

/* Heads about the limits: the lengths of method and target, how many fields follow, how long each
 * one's value is. */
static const struct {
    size_t method, target;
    int fields;
    size_t value;
} longs[] = {
    {3, 8192, 0, 0},    {3, 8193, 0, 0},     {100, 8192, 0, 0},    {9000, 1, 0, 0},
    {3, 1, 63, 1},      {3, 1, 64, 1},       {3, 1, 1, 16344},     {3, 1, 1, 16345},
    {3, 8192, 62, 100}, {3, 12000, 10, 500}, {100, 8192, 30, 300},
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static size_t put_long(char *data, size_t which) {
    char *at = data;
    memset(at, 'M', longs[which].method);
    at += longs[which].method;
    *at++ = ' ';
    memset(at, '/', longs[which].target);
    at += longs[which].target;
    at += sprintf(at, " HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < longs[which].fields; i++) {
        at += sprintf(at, "A: ");
        memset(at, 'v', longs[which].value);
        at += longs[which].value;
        at += sprintf(at, "\r\n");
    }
    return (size_t)(at - data) + (size_t)sprintf(at, "\r\n");
}

static size_t put_text(char *data, const char *text, size_t len, const char *next) {
    memcpy(data, text, len);
    memcpy(data + len, next, strlen(next));
    return len + strlen(next);
}

size_t fuzz_seed(size_t i, char *data) {
    if (i < COUNT(streams)) {
        return put_text(data, streams[i], strlen(streams[i]), "");
    }
    i -= COUNT(streams);
    if (i < COUNT(longs)) {
        return put_long(data, i);
    }
    i -= COUNT(longs);
    if (i < HTTP1_CASES) {
        return put_text(data, http1_cases[i].text, http1_cases[i].len, NEXT);
    }
    i -= HTTP1_CASES;
    if (i < HTTP1_CHUNKED) {
        static const char head[] =
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        size_t len = put_text(data, head, strlen(head), http1_chunked[i].text);
        return put_text(data + len, NEXT, strlen(NEXT), "") + len;
    }
    return SIZE_MAX;
}

/* ---- one request ---- */

static http1_request again;

static bool same_text(http1_text a, http1_text b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* The head, written from what was read, says the same. */
static void check_written(const http1_request *r, size_t head_len) {
    static char text[HTTP1_HEAD_MAX + 1];
    size_t len = 0, seen = 0;
    const http1_text parts[] = {r->method, {" ", 1}, r->target, {" HTTP/1.", 8}};
    for (size_t i = 0; i < COUNT(parts); i++) {
        memcpy(text + len, parts[i].at, parts[i].len);
        len += parts[i].len;
    }
    len += (size_t)sprintf(text + len, "%u\r\n", r->minor);
    for (uint32_t i = 0; i < r->fields_len; i++) {
        const http1_field *f = &r->fields[i];
        memcpy(text + len, f->name.at, f->name.len);
        text[len + f->name.len] = ':';
        len += f->name.len + 1;
        memcpy(text + len, f->value.at, f->value.len);
        memcpy(text + len + f->value.len, "\r\n", 2);
        len += f->value.len + 2;
    }
    memcpy(text + len, "\r\n", 2);
    len += 2;
    FUZZ_CHECK(len <= head_len);
    FUZZ_CHECK(http1_parse(&again, text, len, &seen) == (int)len && seen == 0);
    FUZZ_CHECK(same_text(again.method, r->method) && same_text(again.target, r->target));
    FUZZ_CHECK(same_text(again.path, r->path) && same_text(again.query, r->query));
    FUZZ_CHECK(again.minor == r->minor && again.fields_len == r->fields_len);
    for (uint32_t i = 0; i < r->fields_len; i++) {
        FUZZ_CHECK(same_text(again.fields[i].name, r->fields[i].name));
        FUZZ_CHECK(same_text(again.fields[i].value, r->fields[i].value));
    }
    FUZZ_CHECK(again.keep_alive == r->keep_alive && again.expects == r->expects);
    FUZZ_CHECK(again.has_body == r->has_body && again.body.left == r->body.left &&
               again.body.state == r->body.state && again.body.line == r->body.line);
}

/* What comes out has neither ".." nor empty segments, and written as a link comes out again. */
static void check_path(http1_text path) {
    static char out[HTTP1_TARGET_MAX + 2], second[HTTP1_TARGET_MAX + 2], segment[sizeof out];
    static http1_out link;
    int len = http1_path(path, out, sizeof out);
    if (len < 0) {
        FUZZ_CHECK(len == -400);
        return;
    }
    FUZZ_CHECK((size_t)len == strlen(out) && (size_t)len <= path.len && out[0] == '/');
    FUZZ_CHECK(strstr(out, "//") == NULL && strstr(out, "/../") == NULL &&
               strstr(out, "/./") == NULL);
    const char *last = strrchr(out, '/');
    FUZZ_CHECK(strcmp(last, "/..") != 0 && strcmp(last, "/.") != 0);
    link.len = 0;
    link.full = false;
    for (const char *p = out; *p != '\0';) {
        size_t n = strcspn(p + 1, "/");
        memcpy(segment, p + 1, n);
        segment[n] = '\0';
        http1_put(&link, "/");
        http1_put_link(&link, segment);
        p += n + 1;
    }
    if (!link.full) {
        FUZZ_CHECK(http1_path((http1_text){link.text, link.len}, second, sizeof second) == len);
        FUZZ_CHECK(strcmp(second, out) == 0);
    }
    int exactly = http1_path(path, second, (size_t)len + 1); /* ".." may need more on the way */
    FUZZ_CHECK(exactly == len || exactly == -414);
    FUZZ_CHECK(http1_path(path, second, (size_t)len) == -414);
}

static void check_ranges(const http1_request *r) {
    static const uint64_t sizes[] = {0, 1, 20, 100, INT64_MAX};
    static http1_out parts;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        http1_span spans[HTTP1_SPANS_MAX];
        size_t ends[HTTP1_SPANS_MAX];
        uint32_t count = 0;
        uint64_t sum = 0;
        int status = http1_ranges(r, "\"a\"", 784111777, sizes[i], spans, &count);
        FUZZ_CHECK(count >= 1 && count <= HTTP1_SPANS_MAX);
        if (status != 206) {
            FUZZ_CHECK((status == 200 || status == 416) && count == 1);
            FUZZ_CHECK(spans[0].at == 0 && spans[0].len == sizes[i]);
            continue;
        }
        for (uint32_t n = 0; n < count; n++) {
            FUZZ_CHECK(spans[n].len > 0 && spans[n].len <= sizes[i]);
            FUZZ_CHECK(spans[n].at <= sizes[i] - spans[n].len);
            sum += spans[n].len;
        }
        FUZZ_CHECK(sum <= sizes[i]);
        parts.len = 0;
        parts.full = false;
        uint64_t all = http1_multipart(&parts, spans, count, sizes[i], "a/b", "x", ends);
        FUZZ_CHECK(!parts.full && all == parts.len + sum && ends[count - 1] < parts.len);
    }
}

static void check_date(http1_text text) {
    char out[HTTP1_DATE_BYTES];
    int64_t seconds, second;
    if (!http1_parse_date(text, &seconds)) {
        return;
    }
    http1_date(seconds, out);
    FUZZ_CHECK(strlen(out) == HTTP1_DATE_BYTES - 1);
    FUZZ_CHECK(http1_parse_date((http1_text){out, strlen(out)}, &second));
    if (seconds >= -INT64_C(2208988800) && seconds < INT64_C(253402300800)) { /* 1900 to 9999 */
        FUZZ_CHECK(second == seconds);
    }
}

static bool is_within(http1_text t, const char *data, size_t len) {
    return t.len == 0 || (t.at >= data && t.at + t.len <= data + len);
}

static void check_request(const http1_request *r, const char *data, size_t len) {
    FUZZ_CHECK(len <= HTTP1_HEAD_MAX && r->target.len <= HTTP1_TARGET_MAX);
    FUZZ_CHECK(r->fields_len <= HTTP1_FIELDS_MAX && r->minor <= 9);
    FUZZ_CHECK(is_within(r->method, data, len) && is_within(r->target, data, len));
    FUZZ_CHECK(is_within(r->query, data, len));
    FUZZ_CHECK(is_within(r->path, data, len) || http1_is(r->path, "/"));
    for (uint32_t i = 0; i < r->fields_len; i++) {
        FUZZ_CHECK(r->fields[i].name.len > 0 && is_within(r->fields[i].name, data, len));
        FUZZ_CHECK(is_within(r->fields[i].value, data, len));
        check_date(r->fields[i].value);
    }
    FUZZ_CHECK(r->has_body == !http1_body_done(&r->body) && (r->has_body || !r->expects));
    check_written(r, len);
    if (r->path.len > 0 && r->path.at[0] == '/') {
        check_path(r->path);
    }
    check_ranges(r);
    int status = http1_conditions(r, "\"a\"", 784111777);
    FUZZ_CHECK(status == 200 || status == 304 || status == 412);
    (void)http1_accepts(r, "Accept-Encoding", "gzip");
}

/* ---- a connection ---- */

/* What was read, as text. */
typedef struct trace {
    size_t len;
    char text[1 << 20];
} trace;

static trace traces[2];

static void trace_put(trace *t, const char *what, const char *data, size_t len) {
    FUZZ_CHECK(len + 16 < sizeof t->text - t->len);
    t->len += (size_t)sprintf(t->text + t->len, "%s", what);
    if (len > 0) {
        memcpy(t->text + t->len, data, len);
        t->len += len;
    }
}

static void trace_number(trace *t, const char *what, size_t n) {
    char text[24];
    trace_put(t, what, text, (size_t)sprintf(text, "%zu", n));
}

static void trace_request(trace *t, const http1_request *r, size_t len) {
    trace_number(t, " head ", len);
    trace_put(t, " ", r->method.at, r->method.len);
    trace_put(t, " ", r->target.at, r->target.len);
    for (uint32_t i = 0; i < r->fields_len; i++) {
        trace_put(t, " ", r->fields[i].name.at, r->fields[i].name.len);
        trace_put(t, "=", r->fields[i].value.at, r->fields[i].value.len);
    }
    trace_number(t, " keep ", r->keep_alive);
    trace_number(t, " expects ", r->expects);
    trace_put(t, " body ", NULL, 0);
}

/* The message that begins at data ends behind message bytes, its head behind head, for everybody.
 * 0: it is not whole; SIZE_MAX: its end is not known yet. */
static void check_end(const char *data, size_t len, size_t head, size_t message) {
    for (int i = 0; i < 8; i++) {
        const lenient_reader reader = {(i & 1) != 0, (i & 2) != 0, (i & 4) != 0};
        size_t its_head, its_message = lenient_length(&reader, data, len, &its_head);
        FUZZ_CHECK(its_head == head && (its_message == message || message == SIZE_MAX));
    }
}

/* A connection: how far it is read. */
typedef struct reader {
    trace *trace;
    const char *data;
    size_t len;         /* of all the bytes */
    size_t at;          /* what is read by now */
    size_t begin, head; /* of the message: where, and the length of its head */
    size_t seen;        /* see http1_parse */
    http1_body body;
    bool in_body, ended;
    bool checks;
} reader;

static void end_message(reader *c) {
    c->in_body = false;
    trace_number(c->trace, " end ", c->at);
    if (c->checks) {
        check_end(c->data + c->begin, c->len - c->begin, c->head, c->at - c->begin);
    }
}

static int read_body(reader *c, const char *bytes, size_t len) {
    http1_text piece;
    int n = http1_body_take(&c->body, bytes, len, &piece);
    FUZZ_CHECK(n <= (int)len && (n > 0 || n == -400));
    if (n > 0) {
        FUZZ_CHECK(is_within(piece, bytes, len));
        trace_put(c->trace, "", piece.at, piece.len);
    }
    return n;
}

static int read_head(reader *c, const char *bytes, size_t len) {
    static http1_request request;
    int n = http1_parse(&request, bytes, len, &c->seen);
    FUZZ_CHECK(n <= (int)len && c->seen <= len);
    if (n > 0) {
        if (c->checks) {
            check_request(&request, bytes, (size_t)n);
            check_end(bytes, len, (size_t)n, SIZE_MAX);
        }
        trace_request(c->trace, &request, (size_t)n);
        c->begin = c->at;
        c->head = (size_t)n;
        c->body = request.body;
    }
    return n;
}

/* All that can be read of the first have bytes. */
static void read_on(reader *c, size_t have) {
    while (!c->ended && c->at < have) {
        char *bytes = fuzz_copy(c->data + c->at, have - c->at);
        int n = (c->in_body ? read_body : read_head)(c, bytes, have - c->at);
        free(bytes);
        if (n < 0) {
            trace_number(c->trace, " refused ", (size_t)-n);
            c->ended = true;
        }
        if (n <= 0) {
            return;
        }
        c->at += (size_t)n;
        c->in_body = true;
        if (http1_body_done(&c->body)) {
            end_message(c);
        }
    }
}

/* The bytes come in pieces: first of them, then step by step. */
static void read_all(trace *t, const char *data, size_t len, size_t first, size_t step) {
    reader c = {.trace = t, .data = data, .len = len, .checks = first == len};
    t->len = 0;
    for (size_t have = first;; have = have + step < len ? have + step : len) {
        read_on(&c, have);
        if (have == len) {
            break;
        }
    }
    if (!c.ended) {
        trace_number(t, " waits at ", c.at);
        if (c.checks && c.in_body) {
            check_end(data + c.begin, len - c.begin, c.head, 0);
        }
    }
}

static void check_pieces(const char *data, size_t len, size_t first, size_t step) {
    read_all(&traces[1], data, len, first, step);
    FUZZ_CHECK(traces[1].len == traces[0].len);
    FUZZ_CHECK(memcmp(traces[1].text, traces[0].text, traces[0].len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    const char *bytes = (const char *)data;
    if (len > FUZZ_SEED_MAX) {
        return 0;
    }
    read_all(&traces[0], bytes, len, len, 1);
    /* Where it is cut depends on the bytes, so that an input always does the same. */
    size_t hash = len;
    for (size_t i = 0; i < len; i++) {
        hash = hash * 31 + data[i];
    }
    size_t cut = len > 0 ? hash % len : 0;
    check_pieces(bytes, len, cut, len);
    check_pieces(bytes, len, cut % 7, 1 + len / 64);
    return 0;
}
