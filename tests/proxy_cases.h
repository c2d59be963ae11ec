/* Headers of the PROXY protocol, right and wrong. */
#ifndef TESTS_PROXY_CASES_H
#define TESTS_PROXY_CASES_H

#include <stddef.h>

#include "xev/error.h"

#define PROXY_SIG "\r\n\r\n\0\r\nQUIT\n"
#define PROXY_CASE(what, text, code, source, destination)                                          \
    { what, text, sizeof text - 1, code, source, destination }

/* code 0: it is a whole header, and all of the text. */
static const struct proxy_case {
    const char *what, *text;
    size_t len;
    int code;
    const char *source, *destination; /* NULL: not said */
} proxy_cases[] = {
    PROXY_CASE("v1 tcp4", "PROXY TCP4 1.2.3.4 255.255.255.255 0 65535\r\n", 0, "1.2.3.4:0",
               "255.255.255.255:65535"),
    PROXY_CASE("v1 tcp6", "PROXY TCP6 ::1 fe80:0:0:0:0:0:0:1 1 2\r\n", 0, "[::1]:1", "[fe80::1]:2"),
    PROXY_CASE("v1 mapped", "PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", 0, "[::ffff:1.2.3.4]:1",
               "[::1]:2"),
    PROXY_CASE("v1 unknown", "PROXY UNKNOWN\r\n", 0, NULL, NULL),
    PROXY_CASE("v1 unknown, more", "PROXY UNKNOWN ffff::1 x  y\r\n", 0, NULL, NULL),
    PROXY_CASE("v1 other word", "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 small", "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 UNKNOWNS", "PROXY UNKNOWNS\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 no family", "PROXY \r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 nothing", "PROXY\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 LF", "PROXY UNKNOWN\n\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 CR alone", "PROXY UNKNOWN\rx\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 two spaces", "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 tab", "PROXY TCP4\t1.2.3.4 1.2.3.4 1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 last space", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 one word more", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 one word less", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 family 6 of 4", "PROXY TCP4 ::1 ::1 1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 family 4 of 6", "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 zero first", "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 256", "PROXY TCP4 256.2.3.4 1.2.3.4 1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 three parts", "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 port 65536", "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 port 00", "PROXY TCP4 1.2.3.4 1.2.3.4 00 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 port 080", "PROXY TCP4 1.2.3.4 1.2.3.4 080 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 port -1", "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 port long", "PROXY TCP4 1.2.3.4 1.2.3.4 4294967297 2\r\n", XEV_EPROTO, NULL,
               NULL),
    PROXY_CASE("v1 brackets", "PROXY TCP6 [::1] ::1 1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 scope", "PROXY TCP6 fe80::1%1 ::1 1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 NUL", "PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 NUL in unknown", "PROXY UNKNOWN \0\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v1 107 bytes",
               "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
               "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
               0, NULL, NULL),
    PROXY_CASE("v1 108 bytes",
               "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
               "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535 \r\n",
               XEV_EPROTO, NULL, NULL),
    PROXY_CASE("no header", "GET / HTTP/1.1\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("small letters", "proxy UNKNOWN\r\n", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v2 tcp4", PROXY_SIG "\x21\x11\0\x0c\1\2\3\4\5\6\7\x08\0\x50\xff\xff", 0,
               "1.2.3.4:80", "5.6.7.8:65535"),
    PROXY_CASE(
        "v2 tcp6",
        PROXY_SIG
        "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\2\0\1"
        "\0\2",
        0, "[::1]:1", "[fe80::2]:2"),
    PROXY_CASE("v2 more behind", PROXY_SIG "\x21\x11\0\x10\1\2\3\4\5\6\7\x08\0\x50\xff\xff\4\0\1\0",
               0, "1.2.3.4:80", "5.6.7.8:65535"),
    PROXY_CASE("v2 local", PROXY_SIG "\x20\x11\0\x0c\1\2\3\4\5\6\7\x08\0\x50\xff\xff", 0, NULL,
               NULL),
    PROXY_CASE("v2 local, empty", PROXY_SIG "\x20\x00\0\0", 0, NULL, NULL),
    PROXY_CASE("v2 unspec", PROXY_SIG "\x21\x00\0\3abc", 0, NULL, NULL),
    PROXY_CASE("v2 datagrams", PROXY_SIG "\x21\x12\0\x0c\1\2\3\4\5\6\7\x08\0\x50\xff\xff", 0, NULL,
               NULL),
    PROXY_CASE("v2 short tcp4", PROXY_SIG "\x21\x11\0\x0b\1\2\3\4\5\6\7\x08\0\x50\xff", XEV_EPROTO,
               NULL, NULL),
    PROXY_CASE("v2 short tcp6", PROXY_SIG "\x21\x21\0\x0c\1\2\3\4\5\6\7\x08\0\x50\xff\xff",
               XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v2 short unix", PROXY_SIG "\x21\x31\0\x0c\1\2\3\4\5\6\7\x08\0\x50\xff\xff",
               XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v2 version 1", PROXY_SIG "\x11\x11\0\0", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v2 version 3", PROXY_SIG "\x31\x11\0\0", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v2 command 2", PROXY_SIG "\x22\x11\0\0", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v2 family 4", PROXY_SIG "\x21\x41\0\0", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v2 protocol 3", PROXY_SIG "\x21\x13\0\0", XEV_EPROTO, NULL, NULL),
    PROXY_CASE("v2 too long", PROXY_SIG "\x21\x11\x0f\xf1", XEV_EMSGSIZE, NULL, NULL),
    PROXY_CASE("v2 bad signature", "\r\n\r\n\0\r\nQUIT\r\x21\x11\0\0", XEV_EPROTO, NULL, NULL),
};

enum { PROXY_CASES = sizeof proxy_cases / sizeof proxy_cases[0] };

#endif
