/* Addresses from text, "host:port": what is accepted is written as text that is the same address,
 * and is what the other calls make of its parts. */
#include "xev/addr.h"

#include <stdbool.h>

#include "tests/fuzz/fuzz.h"
#include "xev/unix.h"

static const char *const seeds[] = {
    "127.0.0.1:80",
    "[::1]:80",
    "[::]:0",
    "[fe80::1%1]:65535",
    "[fe80::1%lo]:1",
    "[::ffff:1.2.3.4]:1",
    "255.255.255.255:65535",
    "0.0.0.0:00080",
    "unix:/run/app.sock",
    "unix:@name",
    "unix:@",
    "unix:a@b",
    "[1:2:3:4:5:6:7:8]:9",
    "1.2.3.4:65536",
    "::1:80",
    "[::1]",
    ":80",
    "",
    "[fe80::1%4294967297]:1",
    "[fe80::1%-1]:1",
    "[fe80::1% 1]:1",
    "[fe80::1%+1]:1",
    "[fe80::1%01]:1",
};

const char *const fuzz_words[] = {
    "::", "[",       "]",          "%", "unix:", "@", ":65535", "fe80",
    "0x", "1.2.3.4", "4294967295", "-", "+",     " ", NULL};

size_t fuzz_seed(size_t i, char *data) {
    if (i >= sizeof seeds / sizeof seeds[0]) {
        return SIZE_MAX;
    }
    memcpy(data, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}

static void check_same(const xev_addr *a, const xev_addr *b) {
    FUZZ_CHECK(memcmp(a, b, sizeof *a) == 0);
}

/* A literal host stands for itself: no sign, no space, and of a scope no number beyond 32 bits. */
static void check_host(const char *text, const xev_addr *addr) {
    char host[XEV_ADDR_TEXT_BYTES] = "";
    const char *colon = strrchr(text, ':');
    xev_addr again;
    FUZZ_CHECK(colon != NULL && (size_t)(colon - text) < sizeof host);
    memcpy(host, text, (size_t)(colon - text));
    FUZZ_CHECK(xev_addr_parse(&again, host, xev_addr_port(addr)) == 0);
    check_same(&again, addr);
    const char *scope = strchr(host, '%');
    if (scope != NULL && strspn(scope + 1, "+- \t\n\v\f\r0123456789") == strlen(scope + 1) - 1) {
        unsigned long long number = 0;
        for (const char *p = scope + 1; *p != ']'; p++) {
            FUZZ_CHECK(*p >= '0' && *p <= '9');
            number = number * 10 + (unsigned long long)(*p - '0');
            FUZZ_CHECK(number <= UINT32_MAX);
        }
    }
}

static void check_ip(const char *text, const xev_addr *addr) {
    uint8_t bytes[16];
    uint32_t len = xev_addr_bytes(addr, bytes);
    xev_addr plain;
    FUZZ_CHECK(len == (xev_addr_family(addr) == XEV_AF_INET ? 4 : 16));
    FUZZ_CHECK(xev_addr_from_bytes(&plain, bytes, len, xev_addr_port(addr)) == 0);
    if (strchr(text, '%') == NULL) {
        check_same(&plain, addr);
    }
    FUZZ_CHECK(xev_addr_from_bytes(&plain, bytes, len, 65536) == XEV_EINVAL);
    check_host(text, addr);
}

static void check_unix(const char *text, const xev_addr *addr) {
    size_t len;
    const char *name = xev_addr_unix_name(addr, &len);
    FUZZ_CHECK(strncmp(text, "unix:", 5) == 0 && len == strlen(text + 5));
    FUZZ_CHECK(len > 0 && len <= XEV_UNIX_NAME_MAX);
    FUZZ_CHECK(name[0] == (text[5] == '@' ? '\0' : text[5]));
    FUZZ_CHECK(memcmp(name + 1, text + 6, len - 1) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    char *text = malloc(len + 1), out[XEV_ADDR_TEXT_BYTES + 5] = "unix:";
    xev_addr addr, again;
    FUZZ_CHECK(text != NULL);
    if (len > 0) {
        memcpy(text, data, len);
    }
    text[len] = '\0';
    int rc = xev_addr_parse(&addr, text, 80);
    FUZZ_CHECK(rc == 0 || rc == XEV_EINVAL);
    rc = xev_addr_from_text(&addr, text);
    FUZZ_CHECK(rc == 0 || rc == XEV_EINVAL || rc == XEV_ENAMETOOLONG);
    if (rc == 0) {
        bool is_unix = xev_addr_family(&addr) == XEV_AF_UNIX;
        FUZZ_CHECK(xev_addr_format(&addr, out + (is_unix ? 5 : 0), XEV_ADDR_TEXT_BYTES) == 0);
        FUZZ_CHECK(xev_addr_from_text(&again, out) == 0);
        check_same(&again, &addr);
        if (is_unix) {
            check_unix(text, &addr);
        } else {
            check_ip(text, &addr);
        }
    }
    free(text);
    return 0;
}
