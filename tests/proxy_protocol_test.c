/* The PROXY protocol: what is read and refused, whole and in pieces; what is written is read back;
 * noise. */
#include "xev/proxy_protocol.h"

#include <stdlib.h>
#include <string.h>

#include "tests/proxy_cases.h"
#include "tests/random.h"
#include "xev/unix.h"

/* From memory that ends where the bytes end. */
static int read_exactly(xev_proxy_header *h, const char *text, size_t len) {
    char *copy = malloc(len > 0 ? len : 1);
    CHECK(copy != NULL);
    memcpy(copy, text, len);
    memset(h, 0xff, sizeof *h);
    int rc = xev_proxy_read(h, copy, len);
    free(copy);
    CHECK_LE(rc, (int)len);
    if (rc <= 0) {
        CHECK_EQ(xev_addr_family(&h->source), XEV_AF_UNSPEC);
    }
    return rc;
}

static void check_addr(const char *what, const xev_addr *addr, const char *wanted) {
    char text[XEV_ADDR_TEXT_BYTES] = "";
    (void)xev_addr_format(addr, text, sizeof text);
    if (strcmp(text, wanted != NULL ? wanted : "") != 0) {
        CHECK_FAIL("%s: %s", what, text);
    }
}

/* The answer to the first bytes of a text: at each length nothing, until it is decided for good. */
static int read_growing(xev_proxy_header *h, const char *what, const char *text, size_t len) {
    for (size_t n = 0; n <= len; n++) {
        int rc = read_exactly(h, text, n);
        if (rc != 0) {
            xev_proxy_header whole;
            if (read_exactly(&whole, text, len) != rc || (rc > 0 && (size_t)rc != n) ||
                memcmp(&whole, h, sizeof whole) != 0) {
                CHECK_FAIL("%s: after %zu bytes %d, after all %d", what, n, rc,
                           read_exactly(&whole, text, len));
            }
            return rc;
        }
    }
    return 0;
}

TEST(headers_are_read_and_refused) {
    for (int i = 0; i < PROXY_CASES; i++) {
        const struct proxy_case *t = &proxy_cases[i];
        xev_proxy_header h;
        int rc = read_growing(&h, t->what, t->text, t->len);
        if (rc != (t->code == 0 ? (int)t->len : t->code)) {
            CHECK_FAIL("%s: %d", t->what, rc);
        }
        check_addr(t->what, &h.source, t->source);
        check_addr(t->what, &h.destination, t->destination);
        if (rc > 0) { /* what follows is none of its */
            char more[300];
            memcpy(more, t->text, t->len);
            memcpy(more + t->len, "\r\nPROXY", 7);
            CHECK_EQ(read_exactly(&h, more, t->len + 7), rc);
        }
    }
}

TEST(the_longest_header_is_read) {
    static char text[XEV_PROXY_READ_MAX + 1] =
        PROXY_SIG "\x21\x11\x0f\xf0\1\2\3\4\5\6\7\x08\0\x50\0\x51";
    xev_proxy_header h;
    CHECK_EQ(read_exactly(&h, text, XEV_PROXY_READ_MAX - 1), 0);
    CHECK_EQ(read_exactly(&h, text, XEV_PROXY_READ_MAX), XEV_PROXY_READ_MAX);
    check_addr("longest", &h.source, "1.2.3.4:80");
    CHECK_EQ(xev_proxy_read(&h, NULL, 0), 0);
}

TEST(what_is_written_is_read_back) {
    static const char *const pairs[][3] = {
        /* source, destination, version 1 */
        {"1.2.3.4:5", "6.7.8.9:10", "PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n"},
        {"[::1]:5", "[fe80::1]:65535", "PROXY TCP6 ::1 fe80::1 5 65535\r\n"},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"},
        {"unix:/run/a", "unix:@b", "PROXY UNKNOWN\r\n"},
        {"1.2.3.4:5", "[::1]:5", "PROXY UNKNOWN\r\n"},
        {NULL, NULL, "PROXY UNKNOWN\r\n"},
        {"1.2.3.4:5", NULL, "PROXY UNKNOWN\r\n"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        for (uint32_t version = 1; version <= 2; version++) {
            char out[XEV_PROXY_WRITE_MAX];
            xev_proxy_header h = {0}, back;
            CHECK(pairs[i][0] == NULL || xev_addr_from_text(&h.source, pairs[i][0]) == 0);
            CHECK(pairs[i][1] == NULL || xev_addr_from_text(&h.destination, pairs[i][1]) == 0);
            int len = xev_proxy_write(&h, version, out);
            CHECK_GT(len, 0);
            CHECK_LE(len, XEV_PROXY_WRITE_MAX);
            CHECK_EQ(read_exactly(&back, out, (size_t)len), len);
            if (version == 1) {
                CHECK_EQ(strlen(pairs[i][2]), len);
                CHECK_MEM_EQ(out, pairs[i][2], (size_t)len);
            }
            bool known = i < 3 || (i == 3 && version == 2);
            static const xev_addr none;
            CHECK_MEM_EQ(&back.source, known ? &h.source : &none, sizeof none);
            CHECK_MEM_EQ(&back.destination, known ? &h.destination : &none, sizeof none);
        }
    }
}

/* A case with some bytes changed: decided once and for good at some length, and what is read can be
 * written and read again. */
static void noisy(uint64_t seed) {
    static const char alphabet[] = "\r\n \t:.%[]0123456789abcfPROXYTCPUNKW\0\1\x11\x21\x31\x80\xff";
    uint64_t rng = mix(seed);
    char text[512], out[XEV_PROXY_WRITE_MAX];
    const struct proxy_case *t = &proxy_cases[rng_below(&rng, PROXY_CASES)];
    size_t len = t->len;
    memcpy(text, t->text, len);
    rng_mutate(&rng, text, &len, sizeof text, alphabet, sizeof alphabet);
    xev_proxy_header h, back;
    char what[40];
    snprintf(what, sizeof what, "seed %" PRIu64, seed);
    int rc = read_growing(&h, what, text, len);
    if (rc > 0) {
        for (uint32_t version = 1; version <= 2; version++) {
            int n = xev_proxy_write(&h, version, out);
            CHECK_EQ(read_exactly(&back, out, (size_t)n), n);
            bool text_of_unix = version == 1 && xev_addr_family(&h.source) == XEV_AF_UNIX;
            if (!text_of_unix && memcmp(&h, &back, sizeof h) != 0) {
                CHECK_FAIL("%s: read back otherwise", what);
            }
        }
    }
}

TEST_TIMEOUT(noise_is_decided_once_and_for_good, 60) { for_seeds(50000, noisy); }
