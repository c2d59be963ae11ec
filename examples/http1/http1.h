/* HTTP/1.1 for a server: requests are read, heads and bodies by length or in chunks; replies are
 * written, their heads, chunks and the parts of several ranges. No input or output, no memory of
 * its own: it reads bytes that the caller has, and writes to memory that the caller has.
 *
 * Reading is strict where RFC 9112 lets a server be (a line ends in CR LF, one length, no folding,
 * only the chunked coding): what two servers read differently is what requests are smuggled in.
 * Debian's http-parser 2.9, built as Debian builds it, takes 42 of the requests and bodies that
 * tests/http1_cases.h refuses, a space before the colon of Transfer-Encoding among them; so
 * this is not built on it.
 *
 * Threads: any; nothing is shared.
 */
#ifndef EXAMPLES_HTTP1_HTTP1_H
#define EXAMPLES_HTTP1_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The limits of a head, in bytes and fields. */
#define HTTP1_TARGET_MAX 8192u
#define HTTP1_HEAD_MAX 16384u
#define HTTP1_FIELDS_MAX 64u

/* A part of the head; not ended by a NUL. It points to the caller's bytes. */
typedef struct http1_text {
    const char *at;
    size_t len;
} http1_text;

typedef struct http1_field {
    http1_text name, value; /* the value without spaces and tabs around it */
} http1_field;

/* The body that follows a head. */
typedef struct http1_body {
    uint64_t left; /* of the length, or of the chunk */
    uint32_t line; /* bytes of this line by now */
    uint8_t state; /* private */
} http1_body;

typedef struct http1_request {
    http1_text method; /* "GET"; case counts */
    http1_text target; /* as it was sent, printable ASCII; begins with '/' but in other forms */
    http1_text path;   /* of the target, escapes as they are; "*" or "" in other forms */
    http1_text query;  /* behind the '?', or "" */
    http1_field fields[HTTP1_FIELDS_MAX];
    uint32_t fields_len;
    uint32_t minor;  /* of HTTP/1.minor */
    bool keep_alive; /* the client wants another request on this connection */
    bool expects;    /* "100 Continue" before it sends the body */
    bool has_body;   /* of more than 0 bytes, as far as is known */
    http1_body body;
} http1_request;

/* Parse the head at the beginning of len bytes. Returns its length in bytes; 0: it is not whole,
 * and may become right with more bytes; or a status below 0, with which the request is to be
 * answered before the connection is closed: -400, -414 (target too long), -417 (Expect), -431 (head
 * too long, too many fields), -501 (a coding besides chunked), -505 (not HTTP/1). *seen, 0 for a
 * new request, keeps how much has been looked through, so that a head in small pieces costs no
 * more. */
int http1_parse(http1_request *request, const char *data, size_t len, size_t *seen);

/* The value of the first field of that name, whose case does not count; at: NULL: there is none. */
http1_text http1_field_value(const http1_request *request, const char *name);

/* Is it that text? is_word: letters of both cases are the same. */
bool http1_is(http1_text text, const char *word);
bool http1_is_word(http1_text text, const char *word);

/* The next element of a list that is separated by commas, without spaces around it; elements that
 * are empty are left out. *list becomes what is behind it. False: there is none. */
bool http1_next(http1_text *list, http1_text *element);

/* Take the next of the body out of len bytes: how many of them belong to it, of which *piece is
 * data (it may be empty). Call again with what is behind them until the body is done (then 0 is
 * returned), or there are no more. -400: a chunk is wrong. */
int http1_body_take(http1_body *body, const char *data, size_t len, http1_text *piece);
bool http1_body_done(const http1_body *body);

/* What a conditional request comes to, for something with that tag ("\"abc\"", or "W/\"abc\"") and
 * time of change in seconds since 1970: 200 (it is answered as if there were no condition), 304 or
 * 412. */
int http1_conditions(const http1_request *request, const char *etag, int64_t modified);

/* Parts of size bytes, none of them empty; at most so many are given. */
#define HTTP1_SPANS_MAX 16u
typedef struct http1_span {
    uint64_t at, len; /* bytes */
} http1_span;

/* The parts of size bytes that a GET asks for: 206, and they are *count of spans, in the order in
 * which they were asked for; those that lie outside are left out. 416: all of them do. 200, with
 * one span, all of it: no range; ranges of another state (If-Range), in other units or malformed;
 * more than HTTP1_SPANS_MAX; or more bytes together than there are, so that overlapping ranges make
 * no reply longer than the whole (nginx does the same). */
int http1_ranges(const http1_request *request, const char *etag, int64_t modified, uint64_t size,
                 http1_span spans[HTTP1_SPANS_MAX], uint32_t *count);

/* Is the word in the list of that field (Accept-Encoding, say), and not with a weight of 0? */
bool http1_accepts(const http1_request *request, const char *field, const char *word);

/* Decode the escapes of a path, "%41", into out (ended by a NUL, out_bytes with it), and take its
 * "." and ".." and empty segments away. Returns the length, or a status below 0: -400 (a wrong
 * escape, a NUL, above the root), -414 (no room). The result begins with '/'. */
int http1_path(http1_text path, char *out, size_t out_bytes);

/* "Sun, 06 Nov 1994 08:49:37 GMT" of seconds since 1970, in out; and back (any of the three forms
 * of RFC 9110 is a date): false: it is none. */
#define HTTP1_DATE_BYTES 30
void http1_date(int64_t seconds, char out[HTTP1_DATE_BYTES]);
bool http1_parse_date(http1_text text, int64_t *seconds);

/* "text/html; charset=utf-8", by the end of a name; "application/octet-stream" for one that is not
 * known. *is_text: compressing it is worth the while. */
const char *http1_type(const char *name, bool *is_text);

/* ---- replies ---- */

/* "Not Found"; "Unknown" for a number that has none here. */
const char *http1_reason(int status);

/* Text that grows to the size of this; len is 0 at the beginning, the text need not be set. What
 * finds no room is left out, all of it, and full says so. */
typedef struct http1_out {
    size_t len; /* bytes of text, without a NUL */
    bool full;
    char text[HTTP1_HEAD_MAX];
} http1_out;

__attribute__((format(printf, 2, 3))) void http1_put(http1_out *out, const char *format, ...);

/* A name as text of HTML, or as one segment of a link. */
void http1_put_html(http1_out *out, const char *name);
void http1_put_link(http1_out *out, const char *name);

/* The time in its text form, which is made once a second; all zero at the beginning. */
typedef struct http1_clock {
    int64_t second;
    char date[HTTP1_DATE_BYTES];
} http1_clock;

/* The status line and what every reply says: Server, Date, Connection (where the client would not
 * know otherwise). Further fields and an empty line follow, by http1_put. */
void http1_begin(http1_out *out, int status, const http1_request *request, http1_clock *clock);

/* The body of a 206 with several spans of size bytes (RFC 9110, 15.3.7.2): what stands before each
 * span's bytes is out's text from ends[i - 1] (or 0) to ends[i], what stands behind the last is
 * from ends[count - 1] to out->len. Returns the length of the whole body; its type is
 * "multipart/byteranges; boundary=" and boundary, which the data must not contain: a number that
 * nobody can guess. type is each part's. */
uint64_t http1_multipart(http1_out *out, const http1_span *spans, uint32_t count, uint64_t size,
                         const char *type, const char *boundary, size_t ends[HTTP1_SPANS_MAX]);

/* A body in chunks: before len bytes (> 0) of data comes this line, behind them CR LF; at the end
 * "0" and two CR LF. Returns the line's length. For clients of HTTP/1.1; to others the end of the
 * connection is the end of the body. */
#define HTTP1_CHUNK_BYTES 20
size_t http1_chunk(size_t len, char out[HTTP1_CHUNK_BYTES]);

#endif
