/* Heads of HTTP/1 requests and what RFC 9112 and 9110 say of them: the status with which a server
 * refuses one (0: it is accepted). Most of the refused ones have been used to make two servers
 * disagree about where a request ends. "\0" cannot stand in a string, so each has its length. */
#ifndef TESTS_HTTP1_CASES_H
#define TESTS_HTTP1_CASES_H

#include <stddef.h>

struct http1_case {
    int status;
    const char *what, *text;
    size_t len;
};

#define HOST "Host: a\r\n"
#define END "\r\n"
#define HEAD_CASE(status, what, text)                                                              \
    { status, what, text, sizeof(text) - 1 }
#define GET(status, what, fields) HEAD_CASE(status, what, "GET / HTTP/1.1\r\n" HOST fields END)
#define POST(status, what, fields) HEAD_CASE(status, what, "POST / HTTP/1.1\r\n" HOST fields END)
#define LINE(status, what, line) HEAD_CASE(status, what, line "\r\n" HOST END)

static const struct http1_case http1_cases[] = {
    /* the request line */
    LINE(0, "origin form", "GET /a/b?c=d HTTP/1.1"),
    LINE(0, "absolute form", "GET http://a/b HTTP/1.1"),
    LINE(0, "asterisk form", "OPTIONS * HTTP/1.1"),
    LINE(0, "a method of one's own", "M-SEARCH /a HTTP/1.1"),
    LINE(0, "a later minor version", "GET / HTTP/1.2"),
    LINE(0, "version 1.0", "GET / HTTP/1.0"),
    HEAD_CASE(0, "version 1.0 without a host", "GET / HTTP/1.0\r\n\r\n"),
    HEAD_CASE(0, "an empty line before", "\r\nGET / HTTP/1.1\r\n" HOST END),
    LINE(400, "no version", "GET /"),
    LINE(505, "version 2.0", "GET / HTTP/2.0"),
    LINE(505, "version 0.9", "GET / HTTP/0.9"),
    LINE(400, "version in small letters", "GET / http/1.1"),
    LINE(400, "version with a leading zero", "GET / HTTP/01.1"),
    LINE(400, "version of three numbers", "GET / HTTP/1.1.1"),
    LINE(400, "version with two digits", "GET / HTTP/1.10"),
    LINE(400, "another protocol", "GET / ICE/1.1"),
    LINE(400, "two spaces", "GET  / HTTP/1.1"),
    LINE(400, "two spaces before the version", "GET /  HTTP/1.1"),
    LINE(400, "a space in the target", "GET /a b HTTP/1.1"),
    LINE(400, "a tab for a space", "GET\t/ HTTP/1.1"),
    LINE(400, "a space behind", "GET / HTTP/1.1 "),
    LINE(400, "a space before", " GET / HTTP/1.1"),
    LINE(400, "no method", "/ HTTP/1.1"),
    LINE(400, "a method with a separator", "GE(T / HTTP/1.1"),
    LINE(400, "a method with a control character", "GE\x01T / HTTP/1.1"),
    LINE(400, "no target", "GET HTTP/1.1"),
    LINE(400, "a target without a slash", "GET a HTTP/1.1"),
    LINE(400, "a fragment", "GET /#a HTTP/1.1"),
    LINE(400, "a control character in the target", "GET /\x01 HTTP/1.1"),
    LINE(400, "a byte that is not ASCII in the target", "GET /\xc3\xa9 HTTP/1.1"),
    LINE(400, "a NUL in the target", "GET /\0 HTTP/1.1"),
    LINE(400, "a carriage return in the target", "GET /\r/ HTTP/1.1"),
    LINE(400, "asterisk form of GET", "GET * HTTP/1.1"),
    LINE(400, "authority form of GET", "GET a:80 HTTP/1.1"),
    LINE(0, "authority form of CONNECT", "CONNECT a:80 HTTP/1.1"),
    LINE(400, "CONNECT to a path", "CONNECT /a HTTP/1.1"),
    HEAD_CASE(400, "lines end in a line feed alone", "GET / HTTP/1.1\nHost: a\n\n"),
    HEAD_CASE(400, "the first line does", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    HEAD_CASE(400, "the last line does", "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    HEAD_CASE(400, "a carriage return alone", "GET / HTTP/1.1\rHost: a\r\n\r\n"),
    /* fields */
    GET(0, "an empty value", "A:\r\n"),
    GET(0, "spaces and tabs around a value", "A: \t b c \t\r\n"),
    GET(0, "bytes that are not ASCII in a value", "A: \xff\xc3\xa9\r\n"),
    GET(0, "a tab in a value", "A: b\tc\r\n"),
    GET(0, "all characters of a name", "!#$%&'*+-.^_`|~09azAZ: b\r\n"),
    GET(400, "a space before the colon", "A : b\r\n"),
    GET(400, "a tab before the colon", "A\t: b\r\n"),
    GET(400, "no colon", "A\r\n"),
    GET(400, "no name", ": b\r\n"),
    GET(400, "a name with a separator", "A(b): c\r\n"),
    GET(400, "a name with a bracket", "A[b]: c\r\n"),
    GET(400, "a name that is not ASCII", "\xc3\xa9: c\r\n"),
    GET(400, "a name with a control character", "A\x0b: c\r\n"),
    GET(400, "a line that is folded", "A: b\r\n c\r\n"),
    GET(400, "a line that is folded by a tab", "A: b\r\n\tc\r\n"),
    HEAD_CASE(400, "a space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    GET(400, "a NUL in a value", "A: b\0c\r\n"),
    GET(400, "a carriage return in a value", "A: b\rc\r\n"),
    GET(400, "a line feed in a value", "A: b\nB: c\r\n"),
    GET(400, "a control character in a value", "A: b\x01\r\n"),
    GET(400, "a delete character in a value", "A: b\x7f\r\n"),
    /* the host */
    HEAD_CASE(400, "no host", "GET / HTTP/1.1\r\n\r\n"),
    HEAD_CASE(0, "an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    HEAD_CASE(0, "a host with a port", "GET / HTTP/1.1\r\nHost: a.b:80\r\n\r\n"),
    HEAD_CASE(0, "an address as the host", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
    GET(400, "two hosts", "Host: b\r\n"),
    GET(400, "the same host twice", "Host: a\r\n"),
    HEAD_CASE(400, "a host with a slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    HEAD_CASE(400, "a host with a user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    HEAD_CASE(400, "a host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    HEAD_CASE(400, "a list of hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    /* the length */
    POST(0, "a length", "Content-Length: 5\r\n"),
    POST(0, "zero", "Content-Length: 0\r\n"),
    POST(0, "leading zeros", "Content-Length: 005\r\n"),
    POST(400, "no digits", "Content-Length:\r\n"),
    POST(400, "a plus", "Content-Length: +5\r\n"),
    POST(400, "below zero", "Content-Length: -1\r\n"),
    POST(400, "hexadecimal", "Content-Length: 0x5\r\n"),
    POST(400, "a space inside", "Content-Length: 5 5\r\n"),
    POST(400, "a list of lengths", "Content-Length: 5, 5\r\n"),
    POST(400, "two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"),
    POST(400, "the same length twice", "Content-Length: 5\r\nContent-Length: 5\r\n"),
    POST(400, "beyond 64 bits", "Content-Length: 18446744073709551616\r\n"),
    POST(400, "beyond 63 bits", "Content-Length: 9223372036854775808\r\n"),
    POST(400, "a fraction", "Content-Length: 5.0\r\n"),
    POST(400, "a vertical tab before",
         "Content-Length: \x0b"
         "5\r\n"),
    /* the coding */
    POST(0, "chunked", "Transfer-Encoding: chunked\r\n"),
    POST(0, "in other letters", "transfer-encoding: CHUNKED\r\n"),
    POST(400, "chunked with a length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    POST(400, "a length with chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    POST(400, "chunked twice", "Transfer-Encoding: chunked, chunked\r\n"),
    POST(400, "two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    POST(400, "not chunked at the end", "Transfer-Encoding: chunked, gzip\r\n"),
    POST(501, "another coding before chunked", "Transfer-Encoding: gzip, chunked\r\n"),
    POST(400, "another coding alone", "Transfer-Encoding: gzip\r\n"),
    POST(400, "identity", "Transfer-Encoding: identity\r\n"),
    POST(400, "an unknown coding", "Transfer-Encoding: xchunked\r\n"),
    POST(400, "no coding", "Transfer-Encoding:\r\n"),
    POST(400, "an empty part", "Transfer-Encoding: , chunked\r\n"),
    POST(400, "a parameter", "Transfer-Encoding: chunked;a=b\r\n"),
    POST(400, "a vertical tab before",
         "Transfer-Encoding: \x0b"
         "chunked\r\n"),
    POST(400, "quotes", "Transfer-Encoding: \"chunked\"\r\n"),
    POST(400, "a folded coding", "Transfer-Encoding:\r\n chunked\r\n"),
    POST(400, "a space before the colon", "Transfer-Encoding : chunked\r\n"),
    HEAD_CASE(400, "chunked in version 1.0",
              "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"),
    /* what is expected */
    POST(0, "100-continue", "Expect: 100-Continue\r\nContent-Length: 5\r\n"),
    POST(417, "something else", "Expect: 200-ok\r\nContent-Length: 5\r\n"),
    POST(417, "two things", "Expect: 100-continue, a\r\nContent-Length: 5\r\n"),
    /* the connection */
    GET(0, "close", "Connection: close\r\n"),
    GET(0, "a list", "Connection: keep-alive, Upgrade\r\n"),
    GET(0, "two fields", "Connection: keep-alive\r\nConnection: close\r\n"),
    GET(400, "a list with a bad name", "Connection: a b\r\n"),
};

enum { HTTP1_CASES = (int)(sizeof http1_cases / sizeof http1_cases[0]) };

/* Chunked bodies behind a head: the data that comes out, or NULL: refused. */
static const struct {
    const char *what, *text, *data;
} http1_chunked[] = {
    {"one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello"},
    {"several", "1\r\nh\r\n3\r\nell\r\n1\r\no\r\n0\r\n\r\n", "hello"},
    {"none", "0\r\n\r\n", ""},
    {"several zeros", "000\r\n\r\n", ""},
    {"leading zeros", "0005\r\nhello\r\n0\r\n\r\n", "hello"},
    {"letters of both kinds", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
     "01234567890123456789"},
    {"extensions", "5;a=b;c=\"d;e\"\r\nhello\r\n0;f\r\n\r\n", "hello"},
    {"trailers", "0\r\nA: b\r\nC:\r\n\r\n", ""},
    {"no size", "\r\nhello\r\n0\r\n\r\n", NULL},
    {"a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n", NULL},
    {"a plus", "+5\r\nhello\r\n0\r\n\r\n", NULL},
    {"below zero", "-5\r\nhello\r\n0\r\n\r\n", NULL},
    {"a space before", " 5\r\nhello\r\n0\r\n\r\n", NULL},
    {"a space behind", "5 \r\nhello\r\n0\r\n\r\n", NULL},
    {"not a digit", "5g\r\nhello\r\n0\r\n\r\n", NULL},
    {"beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n", NULL},
    {"beyond 63 bits", "8000000000000000\r\nhello\r\n0\r\n\r\n", NULL},
    {"too many zeros", "00000000000000000000000000000005\r\nhello\r\n0\r\n\r\n", NULL},
    {"a line feed alone behind the size", "5\nhello\r\n0\r\n\r\n", NULL},
    {"a line feed alone behind the data", "5\r\nhello\n0\r\n\r\n", NULL},
    {"a carriage return alone", "5\rhello\r\n0\r\n\r\n", NULL},
    {"more data than the size", "5\r\nhello!\r\n0\r\n\r\n", NULL},
    {"no line behind the data", "5\r\nhello0\r\n\r\n", NULL},
    {"a control character in an extension", "5;a\x01\r\nhello\r\n0\r\n\r\n", NULL},
    {"a line feed in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", NULL},
    {"a carriage return in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", NULL},
    {"a space before an extension", "5 ;a\r\nhello\r\n0\r\n\r\n", NULL},
    {"a trailer without a colon", "0\r\nA\r\n\r\n", NULL},
    {"a trailer with a space before the colon", "0\r\nA : b\r\n\r\n", NULL},
    {"a trailer that is folded", "0\r\nA: b\r\n c\r\n\r\n", NULL},
    {"a trailer that ends in a line feed", "0\r\nA: b\n\r\n", NULL},
    {"a line feed alone at the end", "0\r\n\n", NULL},
};

enum { HTTP1_CHUNKED = (int)(sizeof http1_chunked / sizeof http1_chunked[0]) };

#endif
