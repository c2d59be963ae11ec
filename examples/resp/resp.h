/* Redis's protocol for a server: requests are read, arrays of bulks and lines of text; replies are
 * written, for RESP2 and RESP3. No input or output: it reads bytes that the caller has, and writes
 * to memory that grows.
 *
 *     resp_requests requests = {0};
 *     ptrdiff_t used = resp_parse(&requests, data, len);
 *     if (used > 0 && resp_count(&requests) == 2 && resp_is(resp_args(&requests)[0], "echo")) {
 *         resp_put_bulk(&out, resp_args(&requests)[1]);
 *     }
 *
 * Threads: any; nothing is shared.
 */
#ifndef EXAMPLES_RESP_RESP_H
#define EXAMPLES_RESP_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The limits of a request: bytes, arguments, bytes of a line of text. */
#define RESP_REQUEST_MAX (16u << 20)
#define RESP_ARGS_MAX 65536u
#define RESP_LINE_MAX 65536u

#define RESP_KEPT_BYTES (1u << 20) /* of memory that an empty resp_out keeps */

/* Bytes that are someone else's; not ended by a NUL. */
typedef struct resp_text {
    const char *at;
    uint32_t len;
    uint32_t shard; /* of serve.h: who has this key */
} resp_text;

static inline resp_text resp_text_of(const char *text) {
    return (resp_text){text, (uint32_t)strlen(text), 0};
}

/* ---- replies ----
 *
 * All that put something return 0, so that a command may end with it. */

/* Bytes that grow as needed; zero at the beginning. failed: memory was short, and what is in it is
 * not whole. */
typedef struct resp_out {
    char *at;
    size_t len, room;
    bool failed;
} resp_out;

/* Make it empty, and give its memory back; or where that is not much, keep it. */
void resp_free(resp_out *out);
static inline void resp_clear(resp_out *out) {
    if (out->room > RESP_KEPT_BYTES) {
        resp_free(out);
    }
    out->len = 0;
    out->failed = false;
}

/* Memory for len bytes more, of which the caller says by out->len how many it has written; NULL:
 * there is none. */
char *resp_grow(resp_out *out, size_t len);
static inline char *resp_room(resp_out *out, size_t len) {
    return out->room - out->len >= len ? out->at + out->len : resp_grow(out, len);
}

static inline int resp_put(resp_out *out, const void *data, size_t len) {
    char *to = len > 0 ? resp_room(out, len) : NULL;
    if (to != NULL) {
        memcpy(to, data, len);
        out->len += len;
    }
    return 0;
}

/* As it is: "+OK\r\n". */
static inline int resp_put_text(resp_out *out, const char *text) {
    return resp_put(out, text, strlen(text));
}

/* ":12\r\n"; or the head of something else: "*3\r\n". */
int resp_put_number(resp_out *out, char mark, long long n);
int resp_put_bulk(resp_out *out, resp_text text);
int resp_put_nil(resp_out *out, bool resp3);
/* The head of a map of so many pairs; in RESP2 of an array of twice as many. */
int resp_put_map(resp_out *out, bool resp3, int pairs);
/* A line, which begins with a word such as ERR: of line ends in it (a peer's words) come spaces. */
__attribute__((format(printf, 2, 3))) int resp_put_error(resp_out *out, const char *format, ...);

/* ---- requests ---- */

typedef struct resp_requests {
    resp_out args;     /* of all that were parsed: see resp_args */
    size_t need;       /* of one that is not whole: how many bytes it has at least */
    const char *error; /* of one that is malformed: what to answer before the end */
} resp_requests;

/* Parse the request at the beginning of len (> 0) bytes, and add its arguments, which point to
 * these bytes; an empty line has none. Returns its length in bytes; 0: it is not whole; -1: it is
 * malformed, or memory is short. */
ptrdiff_t resp_parse(resp_requests *requests, const char *data, size_t len);

/* The arguments by now, and how many. */
static inline resp_text *resp_args(const resp_requests *requests) {
    return (resp_text *)(void *)requests->args.at;
}
static inline size_t resp_count(const resp_requests *requests) {
    return requests->args.len / sizeof(resp_text);
}

/* Is it that word, in letters of either case? */
bool resp_is(resp_text text, const char *word);

/* Is it a number as Redis writes it, "12" or "-3" and not "+1", "01" or " 1"? */
bool resp_number(resp_text text, long long *n);

/* Does it match a pattern of *, ?, [a-c], [^a] and \*? Takes no more steps than the product of
 * the lengths. */
bool resp_glob(resp_text pattern, resp_text text);

#endif
