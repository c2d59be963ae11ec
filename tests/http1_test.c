/* The http1 module: what is accepted and refused, whole and in pieces; bodies, paths, dates. */
#include "examples/http1/http1.h"

#include "tests/http1_cases.h"
#include "tests/random.h"

enum { LIMIT = 40000 };

static http1_request request;

/* As a server would: more and more of the bytes, from a buffer that ends where they end. */
static int parse_in_pieces(const char *text, size_t len, size_t step) {
    size_t seen = 0;
    for (size_t have = step;; have += step) {
        size_t n = have < len ? have : len;
        char *copy = malloc(n); /* a read beyond its end is found by the sanitizers */
        CHECK(copy != NULL);
        memcpy(copy, text, n);
        int rc = http1_parse(&request, copy, n, &seen);
        free(copy);
        if (rc != 0 || n == len) {
            return rc;
        }
    }
}

TEST(heads_are_accepted_and_refused_as_the_standard_says) {
    for (int i = 0; i < HTTP1_CASES; i++) {
        const struct http1_case *t = &http1_cases[i];
        for (size_t step = t->len; step > 0; step = step > 2 ? step / 2 : step - 1) {
            int rc = parse_in_pieces(t->text, t->len, step);
            if (rc != (t->status == 0 ? (int)t->len : -t->status)) {
                CHECK_FAIL("%s, in pieces of %zu: %d", t->what, step, rc);
            }
        }
    }
}

TEST(the_parts_of_a_head_are_found) {
    static const char text[] = "POST http://h/a/b?c=d?e HTTP/1.1\r\nHost: h\r\nAccept:  x , y\t\r\n"
                               "Connection: Upgrade, CLOSE\r\nContent-Length: 7\r\n"
                               "Expect: 100-continue\r\naccept: z\r\n\r\nrest";
    size_t seen = 0;
    http1_text list, item;
    CHECK_EQ(http1_parse(&request, text, sizeof text - 1, &seen), sizeof text - 1 - 4);
    CHECK_EQ(seen, 0);
    CHECK(http1_is(request.method, "POST"));
    CHECK(!http1_is(request.method, "post"));
    CHECK(http1_is_word(request.method, "post"));
    CHECK(http1_is(request.path, "/a/b"));
    CHECK(http1_is(request.query, "c=d?e"));
    CHECK_EQ(request.fields_len, 6);
    CHECK_EQ(request.minor, 1);
    CHECK(!request.keep_alive && request.expects && request.has_body);
    CHECK_EQ(request.body.left, 7);
    list = http1_field_value(&request, "ACCEPT");
    CHECK(http1_is(list, "x , y"));
    CHECK(http1_next(&list, &item) && http1_is(item, "x"));
    CHECK(http1_next(&list, &item) && http1_is(item, "y"));
    CHECK(!http1_next(&list, &item));
    CHECK(http1_field_value(&request, "Accep").at == NULL);
}

/* keep_alive after a head of that version with that field. */
static bool keeps(const char *version, const char *field) {
    char text[128];
    size_t seen = 0;
    int len = snprintf(text, sizeof text, "GET / HTTP/%s\r\nHost: a\r\n%s\r\n", version, field);
    CHECK_EQ(http1_parse(&request, text, (size_t)len, &seen), len);
    return request.keep_alive;
}

TEST(a_connection_is_kept_as_the_version_and_the_field_say) {
    CHECK(keeps("1.1", ""));
    CHECK(!keeps("1.0", ""));
    CHECK(keeps("1.0", "Connection: keep-alive\r\n"));
    CHECK(!keeps("1.1", "Connection: close\r\n"));
    CHECK(!keeps("1.1", "Connection: close\r\nConnection: keep-alive\r\n"));
    CHECK(!keeps("1.1", "Connection: keep-alive, close\r\n"));
    CHECK(!keeps("1.0", "Connection: x\r\n"));
}

TEST(heads_have_limits) {
    static char text[LIMIT];
    size_t seen = 0;
    memset(text, 'a', sizeof text);
    memcpy(text, "GET /", 5);
    CHECK_EQ(http1_parse(&request, text, 8000, &seen), 0);
    CHECK_EQ(http1_parse(&request, text, 9000, &seen), -414);
    seen = 0;
    memcpy(text + 9000, " HTTP/1.1\r\nHost: a\r\n\r\n", 22);
    CHECK_EQ(http1_parse(&request, text, 9022, &seen), -414);
    seen = 0;
    memset(text, 'a', sizeof text);
    memcpy(text, "GET / HTTP/1.1\r\nA: ", 19);
    CHECK_EQ(http1_parse(&request, text, HTTP1_HEAD_MAX, &seen), 0);
    CHECK_EQ(http1_parse(&request, text, HTTP1_HEAD_MAX + 1, &seen), -431);
    for (uint32_t fields = HTTP1_FIELDS_MAX; fields <= HTTP1_FIELDS_MAX + 1; fields++) {
        int len = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (uint32_t i = 1; i < fields; i++) {
            len += snprintf(text + len, sizeof text - (size_t)len, "A: b\r\n");
        }
        len += snprintf(text + len, sizeof text - (size_t)len, "\r\n");
        seen = 0;
        CHECK_EQ(http1_parse(&request, text, (size_t)len, &seen),
                 fields <= HTTP1_FIELDS_MAX ? len : -431);
    }
}

/* Whether the line or the target is too long does not depend on how much of the head is there. */
TEST(a_long_request_line_is_refused_the_same_whole_and_in_pieces) {
    static char text[LIMIT];
    for (size_t method = 1; method <= 9000; method += method < 100 ? 1 : 1000) {
        memset(text, 'M', method);
        text[method] = ' ';
        memset(text + method + 1, '/', HTTP1_TARGET_MAX);
        size_t len = method + 1 + HTTP1_TARGET_MAX;
        len += (size_t)sprintf(text + len, " HTTP/1.1\r\nHost: a\r\n\r\n");
        int rc = parse_in_pieces(text, len, len);
        CHECK_EQ(rc, method < 53 ? (int)len : -414);
        CHECK_EQ(parse_in_pieces(text, len, 1000), rc);
    }
}

/* ---- bodies ---- */

/* The data of a body in pieces of step bytes, in out; *used of the text belong to it. */
static int take_body(http1_body body, const char *text, size_t len, size_t step, char *out,
                     size_t *used) {
    size_t at = 0, out_len = 0;
    while (at < len && !http1_body_done(&body)) {
        http1_text piece;
        size_t n = len - at < step ? len - at : step;
        char *copy = malloc(n);
        CHECK(copy != NULL);
        memcpy(copy, text + at, n);
        int rc = http1_body_take(&body, copy, n, &piece);
        if (rc > 0) {
            CHECK(piece.len == 0 || (piece.at >= copy && piece.at + piece.len <= copy + n));
            memcpy(out + out_len, piece.at, piece.len);
        }
        free(copy);
        if (rc < 0) {
            return rc;
        }
        CHECK_GT(rc, 0);
        CHECK_LE(rc, n);
        out_len += piece.len;
        at += (size_t)rc;
    }
    *used = at;
    return http1_body_done(&body) ? (int)out_len : -1;
}

static http1_body body_of(const char *field) {
    (void)keeps("1.1", field);
    return request.body;
}

TEST(chunks_are_taken_and_refused_as_the_standard_says) {
    char out[256];
    for (int i = 0; i < HTTP1_CHUNKED; i++) {
        const char *text = http1_chunked[i].text, *data = http1_chunked[i].data;
        size_t used = 0;
        for (size_t step = strlen(text); step > 0; step--) {
            int rc = take_body(body_of("Transfer-Encoding: chunked\r\n"), text, strlen(text), step,
                               out, &used);
            if (rc != (data != NULL ? (int)strlen(data) : -400)) {
                CHECK_FAIL("%s, in pieces of %zu: %d", http1_chunked[i].what, step, rc);
            }
            if (data != NULL) {
                CHECK_EQ(used, strlen(text));
                CHECK_MEM_EQ(out, data, strlen(data));
            }
        }
    }
}

TEST(a_body_ends_where_its_length_says) {
    char out[16];
    size_t used;
    for (size_t step = 1; step <= 9; step++) {
        CHECK_EQ(take_body(body_of("Content-Length: 5\r\n"), "helloGET", 8, step, out, &used), 5);
        CHECK_EQ(used, 5);
        CHECK_MEM_EQ(out, "hello", 5);
    }
    http1_body none = body_of("");
    CHECK(http1_body_done(&none));
    none = body_of("Content-Length: 0\r\n");
    CHECK(http1_body_done(&none));
}

TEST(lines_of_chunks_have_limits) {
    static char text[LIMIT], out[16];
    size_t used;
    memset(text, 'a', sizeof text);
    memcpy(text, "5;", 2);
    http1_body chunked = body_of("Transfer-Encoding: chunked\r\n");
    CHECK_EQ(take_body(chunked, text, sizeof text, 4096, out, &used), -400);
    memcpy(text, "0\r\n", 3);
    CHECK_EQ(take_body(chunked, text, sizeof text, 4096, out, &used), -400);
}

/* ---- what is made of noise ---- */

/* Whole and in pieces the answer is the same, and nothing beyond the bytes is read. Most bytes are
 * of a case, and some are changed. */
static void noisy(uint64_t seed) {
    static const char alphabet[] = "\r\n \t:,;/?%#0123456789abcdefGETHTTP\0\x01\x7f\x80\xff";
    uint64_t rng = mix(seed);
    char text[512], out[2][512];
    bool chunks = rng_below(&rng, 3) == 0;
    const char *from;
    size_t len;
    if (chunks) {
        from = http1_chunked[rng_below(&rng, HTTP1_CHUNKED)].text;
        len = strlen(from);
    } else {
        const struct http1_case *t = &http1_cases[rng_below(&rng, HTTP1_CASES)];
        from = t->text;
        len = t->len;
    }
    CHECK_LE(len, sizeof text);
    memcpy(text, from, len);
    rng_mutate(&rng, text, &len, sizeof text, alphabet, sizeof alphabet);
    size_t step = 1 + rng_below(&rng, 20), used[2] = {0, 0};
    int rc[2];
    if (chunks) {
        http1_body body = body_of("Transfer-Encoding: chunked\r\n");
        rc[0] = take_body(body, text, len, len, out[0], &used[0]);
        rc[1] = take_body(body, text, len, step, out[1], &used[1]);
        CHECK(rc[0] < 0 || memcmp(out[0], out[1], (size_t)rc[0]) == 0);
    } else {
        rc[0] = parse_in_pieces(text, len, len);
        rc[1] = parse_in_pieces(text, len, step);
    }
    if (rc[0] != rc[1] || used[0] != used[1]) {
        CHECK_FAIL("seed %" PRIu64 ": whole %d, in pieces of %zu %d", seed, rc[0], step, rc[1]);
    }
}

TEST_TIMEOUT(noise_is_read_the_same_whole_and_in_pieces, 60) { for_seeds(100000, noisy); }

/* ---- conditions and ranges ---- */

static const http1_request *request_with(const char *method, const char *fields) {
    static char text[512];
    size_t seen = 0;
    int len = snprintf(text, sizeof text, "%s / HTTP/1.1\r\nHost: a\r\n%s\r\n", method, fields);
    CHECK_EQ(http1_parse(&request, text, (size_t)len, &seen), len);
    return &request;
}

TEST(conditions_are_looked_at_in_their_order) {
    enum { CHANGED = 784111777 };
    static const struct {
        int status;
        const char *fields;
    } rows[] = {
        {200, ""},
        {200, "If-Match: \"a\"\r\n"},
        {200, "If-Match: \"b\", \"a\"\r\n"},
        {200, "If-Match: *\r\n"},
        {412, "If-Match: \"b\"\r\n"},
        {412, "If-Match: W/\"a\"\r\n"},
        {412, "If-Match: \"b\"\r\nIf-None-Match: \"a\"\r\n"},
        {304, "If-None-Match: \"a\"\r\n"},
        {304, "If-None-Match: \"b\",W/\"a\"\r\n"},
        {304, "If-None-Match: *\r\n"},
        {200, "If-None-Match: \"b\"\r\n"},
        {304, "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"},
        {304, "If-Modified-Since: Sun, 06 Nov 1994 08:49:38 GMT\r\n"},
        {200, "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n"},
        {200, "If-Modified-Since: yesterday\r\n"},
        {200, "If-None-Match: \"b\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:38 GMT\r\n"},
        {200, "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"},
        {412, "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n"},
        {200, "If-Match: \"a\"\r\nIf-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int status = http1_conditions(request_with("GET", rows[i].fields), "\"a\"", CHANGED);
        if (status != rows[i].status) {
            CHECK_FAIL("%s: %d", rows[i].fields, status);
        }
    }
    const char *none = "If-None-Match: \"a\"\r\n", *match = "If-Match: \"a\"\r\n";
    CHECK_EQ(http1_conditions(request_with("PUT", none), "\"a\"", CHANGED), 412);
    CHECK_EQ(http1_conditions(request_with("GET", none), "W/\"a\"", CHANGED), 304);
    CHECK_EQ(http1_conditions(request_with("GET", match), "W/\"a\"", CHANGED), 412);
}

/* "206 0+10 99+1": the status and the spans, of size bytes. */
static const char *ranges(const char *method, const char *fields, uint64_t size) {
    static char out[512];
    http1_span spans[HTTP1_SPANS_MAX];
    uint32_t count = 0;
    const http1_request *r = request_with(method, fields);
    int len = snprintf(out, sizeof out, "%d", http1_ranges(r, "\"a\"", 7, size, spans, &count));
    CHECK(count >= 1 && count <= HTTP1_SPANS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        len += snprintf(out + len, sizeof out - (size_t)len, " %" PRIu64 "+%" PRIu64, spans[i].at,
                        spans[i].len);
    }
    return out;
}

/* What is well-formed nginx 1.22 answers so, too. */
TEST(ranges_are_read) {
    static const struct {
        const char *expected, *fields; /* of 100 bytes */
    } rows[] = {
        {"200 0+100", ""},
        {"206 0+10", "Range: bytes=0-9\r\n"},
        {"206 99+1", "Range: bytes=99-99\r\n"},
        {"206 90+10", "Range: Bytes=90-\r\n"},
        {"206 90+10", "Range: bytes=90-1000\r\n"},
        {"206 95+5", "Range: bytes=-5\r\n"},
        {"206 0+100", "Range: bytes=-500\r\n"},
        {"416 0+100", "Range: bytes=100-\r\n"},
        {"416 0+100", "Range: bytes=100-200\r\n"},
        {"416 0+100", "Range: bytes=-0\r\n"},
        {"206 0+2 3+2", "Range: bytes=0-1,3-4\r\n"},
        {"206 3+2 0+2 97+3", "Range: bytes=3-4 ,, 0-1,\t-3\r\n"},
        {"206 0+2", "Range: bytes=0-1,100-200\r\n"},
        {"206 5+1 5+1", "Range: bytes=5-5,5-5\r\n"},
        {"416 0+100", "Range: bytes=100-,-0\r\n"},
        {"206 0+50 50+50", "Range: bytes=0-49,50-\r\n"},
        {"200 0+100", "Range: bytes=0-49,49-\r\n"},
        {"200 0+100", "Range: bytes=0-,0-,0-,0-\r\n"},
        {"206 0+1 0+1 0+1 0+1 0+1 0+1 0+1 0+1 0+1 0+1 0+1 0+1 0+1 0+1 0+1 0+1",
         "Range: bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0\r\n"},
        {"200 0+100", /* one more */
         "Range: bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0\r\n"},
        {"200 0+100", "Range: bytes=9-0\r\n"},
        {"200 0+100", "Range: bytes=0-1,9-0\r\n"},
        {"200 0+100", "Range: bytes=0-1,x\r\n"},
        {"200 0+100", "Range: bytes=\r\n"},
        {"200 0+100", "Range: bytes=,\r\n"},
        {"200 0+100", "Range: bytes=-\r\n"},
        {"200 0+100", "Range: bytes=a-b\r\n"},
        {"200 0+100", "Range: lines=0-1\r\n"},
        {"200 0+100", "Range: bytes=99999999999999999999-\r\n"},
        {"206 0+10", "Range: bytes=0-9\r\nIf-Range: \"a\"\r\n"},
        {"200 0+100", "Range: bytes=0-9\r\nIf-Range: \"b\"\r\n"},
        {"200 0+100", "Range: bytes=0-9\r\nIf-Range: W/\"a\"\r\n"},
        {"206 0+10", "Range: bytes=0-9\r\nIf-Range: Thu, 01 Jan 1970 00:00:07 GMT\r\n"},
        {"200 0+100", "Range: bytes=0-9\r\nIf-Range: Thu, 01 Jan 1970 00:00:08 GMT\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        CHECK_STR_EQ(ranges("GET", rows[i].fields, 100), rows[i].expected);
    }
    CHECK_STR_EQ(ranges("HEAD", "Range: bytes=0-9\r\n", 100), "200 0+100");
    CHECK_STR_EQ(ranges("GET", "Range: bytes=0-9\r\n", 0), "416 0+0");
}

/* ---- what is written ---- */

static http1_out written;

static bool was_written(const char *text) {
    bool is = written.len == strlen(text) && memcmp(written.text, text, written.len) == 0;
    written.len = 0;
    return is;
}

TEST(several_ranges_stand_in_one_body) {
    const http1_span spans[] = {{0, 2}, {99, 1}};
    size_t ends[HTTP1_SPANS_MAX];
    written.len = 0;
    uint64_t len = http1_multipart(&written, spans, 2, 100, "a/b", "xyz", ends);
    CHECK_EQ(len, written.len + 3);
    CHECK_EQ(memcmp(written.text + ends[0], "\r\n--xyz\r\n", 9), 0);
    CHECK_EQ(memcmp(written.text + ends[1], "\r\n--xyz--\r\n", 11), 0);
    CHECK(was_written("--xyz\r\nContent-Type: a/b\r\nContent-Range: bytes 0-1/100\r\n\r\n"
                      "\r\n--xyz\r\nContent-Type: a/b\r\nContent-Range: bytes 99-99/100\r\n\r\n"
                      "\r\n--xyz--\r\n"));
    CHECK(!written.full);
}

TEST(chunks_that_are_written_can_be_read) {
    static const size_t lens[] = {1, 9, 10, 255, 256, 5000};
    static char body[8192], got[8192];
    size_t len = 0, sum = 0, used;
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        len += http1_chunk(lens[i], body + len);
        memset(body + len, 'a' + (int)i, lens[i]);
        memcpy(body + len + lens[i], "\r\n", 2);
        len += lens[i] + 2;
        sum += lens[i];
    }
    memcpy(body + len, "0\r\n\r\n", 5);
    int rc = take_body(body_of("Transfer-Encoding: chunked\r\n"), body, len + 5, 7, got, &used);
    CHECK_EQ(rc, (int)sum);
    CHECK_EQ(used, len + 5);
    char line[HTTP1_CHUNK_BYTES];
    CHECK_EQ(http1_chunk(SIZE_MAX, line), 2 * sizeof(size_t) + 2);
}

TEST(a_head_says_whether_the_connection_stays) {
    http1_clock clock = {0, ""};
    http1_request *r = &request;
    for (int minor = 0; minor < 2; minor++) {
        for (int stays = 0; stays < 2; stays++) {
            *r = (http1_request){.minor = (uint32_t)minor, .keep_alive = stays != 0};
            written.len = 0;
            http1_begin(&written, 404, r, &clock);
            written.text[written.len] = '\0';
            CHECK(strncmp(written.text, "HTTP/1.1 404 Not Found\r\nServer: xev\r\nDate: ", 43) ==
                  0);
            const char *field = strstr(written.text, "Connection: ");
            CHECK_STR_EQ(field != NULL ? field : "", stays == 0   ? "Connection: close\r\n"
                                                     : minor == 0 ? "Connection: keep-alive\r\n"
                                                                  : "");
        }
    }
    written.len = 0;
    http1_begin(&written, 400, NULL, &clock);
    written.text[written.len] = '\0';
    CHECK(strstr(written.text, "Connection: close\r\n") != NULL);
}

TEST(names_are_escaped) {
    written.len = 0;
    http1_put_html(&written, "a b<&>\"'\x01\xc3\xa9");
    CHECK(was_written("a b&#60;&#38;&#62;&#34;&#39;&#1;\xc3\xa9"));
    http1_put_link(&written, "a-b_c.d~:/?#%\xc3\"<");
    CHECK(was_written("a-b_c.d~%3A%2F%3F%23%25%C3%22%3C"));
}

/* All of a piece, or nothing. */
TEST(text_that_finds_no_room_is_left_out) {
    written.len = 0;
    written.full = false;
    while (!written.full) {
        http1_put(&written, "%s", "0123456789");
    }
    CHECK_EQ(written.len, sizeof written.text / 10 * 10);
    CHECK_EQ(memcmp(written.text + written.len - 10, "0123456789", 10), 0);
}

static bool accepts_gzip(const char *value) {
    char field[128];
    snprintf(field, sizeof field, "Accept-Encoding: %s\r\n", value);
    return http1_accepts(request_with("GET", field), "Accept-Encoding", "gzip");
}

TEST(a_weight_of_zero_accepts_nothing) {
    CHECK(accepts_gzip("gzip"));
    CHECK(accepts_gzip("br, GZIP"));
    CHECK(accepts_gzip("gzip;q=0.5"));
    CHECK(accepts_gzip("gzip ; q=1"));
    CHECK(!accepts_gzip("gzip;q=0"));
    CHECK(!accepts_gzip("gzip; q=0.000"));
    CHECK(!accepts_gzip("br, xgzip"));
    CHECK(!accepts_gzip(""));
}

/* ---- paths and dates ---- */

static const char *path_of(const char *text) {
    static char out[64];
    int rc = http1_path((http1_text){text, strlen(text)}, out, sizeof out);
    CHECK(rc < 0 || (size_t)rc == strlen(out));
    return rc == -400 ? "400" : rc == -414 ? "414" : out;
}

TEST(paths_are_decoded_and_stay_below_the_root) {
    CHECK_STR_EQ(path_of("/"), "/");
    CHECK_STR_EQ(path_of("/a/b"), "/a/b");
    CHECK_STR_EQ(path_of("/a/b/"), "/a/b/");
    CHECK_STR_EQ(path_of("//a//./b/."), "/a/b/");
    CHECK_STR_EQ(path_of("/a/../b"), "/b");
    CHECK_STR_EQ(path_of("/a/b/.."), "/a/");
    CHECK_STR_EQ(path_of("/a/.."), "/");
    CHECK_STR_EQ(path_of("/a%20b%41"), "/a bA");
    CHECK_STR_EQ(path_of("/%2e%2e/a"), "400");
    CHECK_STR_EQ(path_of("/.."), "400");
    CHECK_STR_EQ(path_of("/a/../../b"), "400");
    CHECK_STR_EQ(path_of("/a/%2e%2E/%2e./b"), "400");
    CHECK_STR_EQ(path_of("/a%2f..%2f..%2fb"), "400");
    CHECK_STR_EQ(path_of("/a%2f../b"), "/b");
    CHECK_STR_EQ(path_of("/..a/...b/c.."), "/..a/...b/c..");
    CHECK_STR_EQ(path_of("/a%00b"), "400");
    CHECK_STR_EQ(path_of("/a%"), "400");
    CHECK_STR_EQ(path_of("/a%4"), "400");
    CHECK_STR_EQ(path_of("/a%4g"), "400");
    CHECK_STR_EQ(path_of("/a%+1"), "400");
    CHECK_STR_EQ(path_of("a"), "400");
    CHECK_STR_EQ(path_of(""), "400");
    CHECK_STR_EQ(path_of("/0123456789012345678901234567890123456789012345678901234567890123456789"),
                 "414");
    /* Whatever it is made of, no segment is "..". */
    uint64_t rng = 1;
    for (int i = 0; i < 200000; i++) {
        static const char *const parts[] = {"/", ".", "..", "a", "%2e", "%2f", "%", "/../"};
        char text[128] = "/";
        for (uint32_t n = rng_below(&rng, 12); n > 0; n--) {
            strcat(text, parts[rng_below(&rng, 8)]);
        }
        const char *path = path_of(text);
        CHECK(path[0] == '/' || path[0] == '4');
        CHECK(strstr(path, "/../") == NULL && strstr(path, "//") == NULL);
        CHECK(strlen(path) < 3 || strcmp(path + strlen(path) - 3, "/..") != 0);
    }
}

TEST(dates_are_written_and_read) {
    static const char *const same[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                       "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    static const char *const none[] = {"", "x", "Sun, 06 Nov 1994 08:49:37", "784111777",
                                       "Sun, 06 Nov 1994 08:49:37 GMT, x"};
    char text[HTTP1_DATE_BYTES];
    int64_t seconds = 0;
    http1_date(784111777, text);
    CHECK_STR_EQ(text, same[0]);
    http1_date(INT64_MAX, text);
    CHECK_STR_EQ(text, "Thu, 01 Jan 1970 00:00:00 GMT");
    for (int i = 0; i < 3; i++) {
        CHECK(http1_parse_date((http1_text){same[i], strlen(same[i])}, &seconds));
        CHECK_EQ(seconds, 784111777);
    }
    for (int i = 0; i < 5; i++) {
        CHECK(!http1_parse_date((http1_text){none[i], strlen(none[i])}, &seconds));
    }
    CHECK_STR_EQ(http1_reason(404), "Not Found");
    CHECK_STR_EQ(http1_reason(999), "Unknown");
}
