/* The PROXY protocol: a header is decided once and for good at one length, and what is read is
 * written as what is read again. */
#include "xev/proxy_protocol.h"

#include "tests/fuzz/fuzz.h"
#include "tests/proxy_cases.h"

const char *const fuzz_words[] = {"\r\n",    "PROXY ", "TCP4 ", "TCP6 ", "UNKNOWN", " ",
                                  "1.2.3.4", "::",     "65535", "\x21",  "\x31",    NULL};

size_t fuzz_seed(size_t i, char *data) {
    if (i >= PROXY_CASES) {
        return SIZE_MAX;
    }
    memcpy(data, proxy_cases[i].text, proxy_cases[i].len);
    return proxy_cases[i].len;
}

static int read_copy(xev_proxy_header *h, const uint8_t *data, size_t len) {
    char *copy = fuzz_copy(data, len);
    int rc = xev_proxy_read(h, copy, len);
    free(copy);
    FUZZ_CHECK(rc <= (int)len && rc <= XEV_PROXY_READ_MAX);
    FUZZ_CHECK(rc >= 0 || rc == XEV_EPROTO || rc == XEV_EMSGSIZE);
    if (rc <= 0) {
        static const xev_proxy_header none;
        FUZZ_CHECK(memcmp(h, &none, sizeof none) == 0);
    }
    return rc;
}

static void check_written(const xev_proxy_header *h, uint32_t version) {
    char out[XEV_PROXY_WRITE_MAX];
    xev_proxy_header again;
    int len = xev_proxy_write(h, version, out);
    enum xev_family family = xev_addr_family(&h->source);
    FUZZ_CHECK(len > 0 && len <= XEV_PROXY_WRITE_MAX);
    FUZZ_CHECK(family == xev_addr_family(&h->destination));
    FUZZ_CHECK(read_copy(&again, (const uint8_t *)out, (size_t)len) == len);
    if (version == 1 && family == XEV_AF_UNIX) {
        FUZZ_CHECK(xev_addr_family(&again.source) == XEV_AF_UNSPEC);
    } else {
        FUZZ_CHECK(memcmp(h, &again, sizeof again) == 0);
    }
}

/* Where the answer changes for the first time, from "not whole yet". */
static size_t decided_at(const uint8_t *data, size_t len, size_t step) {
    xev_proxy_header h;
    size_t n = 0;
    while (n < len && read_copy(&h, data, n) == 0) {
        n = n + step < len ? n + step : len;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    xev_proxy_header whole, part;
    int rc = read_copy(&whole, data, len);
    if (rc == 0) {
        FUZZ_CHECK(len < XEV_PROXY_READ_MAX);
        FUZZ_CHECK(decided_at(data, len, 1 + len / 64) == len);
        return 0;
    }
    /* No byte more or less makes another answer of it. */
    size_t n = decided_at(data, len, 1);
    FUZZ_CHECK(rc < 0 || n == (size_t)rc);
    for (size_t more = 0; more < 3 && n + more <= len; more++) {
        FUZZ_CHECK(read_copy(&part, data, n + more) == rc);
        FUZZ_CHECK(memcmp(&part, &whole, sizeof whole) == 0);
    }
    if (rc > 0) {
        check_written(&whole, 1);
        check_written(&whole, 2);
    }
    return 0;
}
