/* Redis's protocol: requests are read as they are meant, whole or in pieces, replies are written as
 * clients read them. */
#include "examples/resp/resp.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/test.h"

/* ---- requests ---- */

struct row {
    const char *text, *args; /* of args each is in brackets */
};

static const struct row good[] = {
    {"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "[GET][a]"},
    {"*1\r\n$0\r\n\r\n", "[]"},
    {"*1\r\n$12\r\nhello\r\nworld\r\n", "[hello\r\nworld]"},
    {"*0\r\n", ""},
    {"*-1\r\n", ""},
    {"*1\r\n$003\r\nabc\r\n", "[abc]"},
    {"\r\n", ""},
    {"\n", ""},
    {"GET a\n", "[GET][a]"},
    {"  SET \t key   value \r\n", "[SET][key][value]"},
    {"ECHO a\"b\r\n", "[ECHO][a\"b]"},
};

static const struct row bad[] = {
    {"*x\r\n", "invalid multibulk length"},
    {"*x\r\n$1\r\na\r\n", "invalid multibulk length"},
    {"*\r\n", "invalid multibulk length"},
    {"*1\n", "invalid multibulk length"},
    {"*1\rx", "invalid multibulk length"},
    {"*65537\r\n", "invalid multibulk length"},
    {"*99999999999", "invalid multibulk length"},
    {"*1\r\nx", "expected '$'"},
    {"*1\r\n$-1\r\n", "invalid bulk length"},
    {"*1\r\n$x\r\n", "invalid bulk length"},
    {"*1\r\n$:\r\n0123456789\r\n", "invalid bulk length"},
    {"*1\r\n$16777217\r\n", "invalid bulk length"},
    {"*1\r\n$16777216\r\n", "too big request"},
    {"*1\r\n$1\r\nabc", "expected CRLF after a bulk"},
};

/* Parsed alone, at the end of a block of its size, so that a byte behind it is seen to be read. */
static ptrdiff_t parse(resp_requests *r, const char *text, size_t len, char *args) {
    char *copy = malloc(len), *to = args;
    memcpy(copy, text, len);
    resp_clear(&r->args);
    ptrdiff_t used = resp_parse(r, copy, len);
    for (size_t i = 0; i < resp_count(r); i++) {
        resp_text arg = resp_args(r)[i];
        *to++ = '[';
        memcpy(to, arg.at, arg.len);
        to += arg.len;
        *to++ = ']';
    }
    *to = '\0';
    free(copy);
    return used;
}

TEST(requests_are_read_when_they_are_whole) {
    resp_requests r = {0};
    char args[64];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t len = strlen(good[i].text);
        CHECK_EQ(parse(&r, good[i].text, len, args), (ptrdiff_t)len);
        CHECK_STR_EQ(args, good[i].args);
        for (size_t part = 1; part < len; part++) {
            if (strcmp(good[i].text, "\r\n") != 0) {
                CHECK_EQ(parse(&r, good[i].text, part, args), 0);
                CHECK_STR_EQ(args, "");
                CHECK_GT(r.need, part);
                CHECK_LE(r.need, len);
            }
        }
    }
    resp_free(&r.args);
}

TEST(malformed_requests_are_named) {
    resp_requests r = {0};
    char args[64], wanted[96];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_EQ(parse(&r, bad[i].text, strlen(bad[i].text), args), -1);
        snprintf(wanted, sizeof wanted, "ERR Protocol error: %s", bad[i].args);
        CHECK_STR_EQ(r.error, wanted);
    }
    resp_free(&r.args);
}

/* A request of the most bytes is taken, one byte more is not, whole or not. */
TEST(limits_hold) {
    resp_requests r = {0};
    size_t head = strlen("*1\r\n$16777000\r\n"), bulk = RESP_REQUEST_MAX - head - 2;
    char *text = malloc(RESP_REQUEST_MAX + 64);
    CHECK(text != NULL);
    for (size_t more = 0; more < 2; more++) {
        size_t len = RESP_REQUEST_MAX + more;
        memset(text, 'x', len);
        snprintf(text, head + 1, "*1\r\n$%zu\r\n", bulk + more);
        text[head] = 'x';
        memcpy(text + len - 2, "\r\n", 2);
        resp_clear(&r.args);
        CHECK_EQ(resp_parse(&r, text, len), more > 0 ? -1 : (ptrdiff_t)len);
        resp_clear(&r.args);
        CHECK_EQ(resp_parse(&r, text, head), more > 0 ? -1 : 0);
        if (more == 0) {
            CHECK_EQ(r.need, len);
        }
    }
    CHECK_STR_EQ(r.error, "ERR Protocol error: too big request");
    memset(text, 'x', RESP_LINE_MAX);
    CHECK_EQ(resp_parse(&r, text, RESP_LINE_MAX - 1), 0);
    CHECK_EQ(resp_parse(&r, text, RESP_LINE_MAX), -1);
    CHECK_STR_EQ(r.error, "ERR Protocol error: too big inline request");
    free(text);
    resp_free(&r.args);
}

/* ---- replies ---- */

TEST(replies_are_written_for_both_versions) {
    resp_out out = {0};
    resp_put_text(&out, "+OK\r\n");
    resp_put_number(&out, ':', 0);
    resp_put_number(&out, ':', -7);
    resp_put_number(&out, '*', 9);
    resp_put_number(&out, ':', 10);
    resp_put_number(&out, ':', LLONG_MAX);
    resp_put_number(&out, ':', LLONG_MIN);
    resp_put_bulk(&out, resp_text_of(""));
    resp_put_bulk(&out, resp_text_of("0123456789"));
    resp_put_nil(&out, false);
    resp_put_nil(&out, true);
    resp_put_map(&out, false, 7);
    resp_put_map(&out, true, 7);
    resp_put_error(&out, "ERR no '%s'", "a\r\nb");
    resp_put(&out, "", 1);
    CHECK(!out.failed);
    CHECK_STR_EQ(out.at, "+OK\r\n:0\r\n:-7\r\n*9\r\n:10\r\n:9223372036854775807\r\n"
                         ":-9223372036854775808\r\n$0\r\n\r\n$10\r\n0123456789\r\n$-1\r\n_\r\n"
                         "*14\r\n%7\r\n-ERR no 'a  b'\r\n");
    resp_clear(&out);
    CHECK_EQ(out.len, 0);
    CHECK(out.at != NULL);
    for (int i = 0; i < 100000; i++) {
        resp_put_bulk(&out, resp_text_of("0123456789"));
    }
    CHECK_EQ(out.len, 100000 * 17);
    resp_clear(&out); /* so much is given back */
    CHECK(out.at == NULL);
}

/* ---- arguments ---- */

TEST(numbers_are_as_redis_writes_them) {
    static const char *const wrong[] = {
        "",
        "-",
        "+1",
        "01",
        "-0",
        " 1",
        "1 ",
        "1.",
        "x",
        "0x1",
        "--1",
        "9223372036854775808",
        "-9223372036854775809",
        "11111111111111111111",
    };
    long long n;
    CHECK(resp_number(resp_text_of("0"), &n) && n == 0);
    CHECK(resp_number(resp_text_of("-12"), &n) && n == -12);
    CHECK(resp_number(resp_text_of("9223372036854775807"), &n) && n == LLONG_MAX);
    CHECK(resp_number(resp_text_of("-9223372036854775808"), &n) && n == LLONG_MIN);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (resp_number(resp_text_of(wrong[i]), &n)) {
            CHECK_FAIL("'%s' is %lld", wrong[i], n);
        }
    }
    CHECK(resp_is(resp_text_of("GeT"), "get"));
    CHECK(!resp_is(resp_text_of("gett"), "get"));
    CHECK(!resp_is(resp_text_of("ge"), "get"));
}

TEST(patterns_match_as_redis_does) {
    static const struct {
        const char *pattern, *text;
        bool matches;
    } rows[] = {
        {"*", "", true},
        {"", "", true},
        {"", "a", false},
        {"a*c", "abbc", true},
        {"a*c", "abcd", false},
        {"a?c", "abc", true},
        {"a?c", "ac", false},
        {"[a-c]", "b", true},
        {"[c-a]", "b", true},
        {"[^a-c]", "b", false},
        {"[^a-c]", "d", true},
        {"[abc", "b", true},
        {"[a\\]]", "]", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
        {"a\\", "a\\", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (resp_glob(resp_text_of(rows[i].pattern), resp_text_of(rows[i].text)) !=
            rows[i].matches) {
            CHECK_FAIL("%s, %s", rows[i].pattern, rows[i].text);
        }
    }
}
