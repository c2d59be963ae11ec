/* HTTP/1.1 on the connections of a service (xev/conn.h): requests are handed to one function, one
 * after the other, and replies go out in their order.
 *
 *     static bool on_request(xev_conn *conn, const http1_request *request) {
 *         http1_reply(conn, request, 404, "");
 *         return true;
 *     }
 *     static const xev_conn_handlers handlers = {.data = http1_on_data,
 *                                                .writable = http1_on_writable,
 *                                                .late = http1_on_late,
 *                                                .closed = http1_on_closed};
 *
 *     static http1_server server = {.request = on_request};
 *     xev_conn_options options = {.handlers = &handlers, .userdata = &server,
 *                                 .user_bytes = sizeof(http1_conn),
 *                                 .unconsumed_max_bytes = 2 * HTTP1_HEAD_MAX};
 *
 * The user's part of a connection begins with an http1_conn, the service's userdata with an
 * http1_server. What stands behind these is the program's. The four handlers may be called by ones
 * of the program's.
 *
 * What cannot be read is answered by its status, and the end of the connection; who does not send
 * all of a head in time (read_ms of the deadlines), or of a body (body_ms), by 408. Bodies of
 * requests are read and dropped, up to HTTP1_BODY_MAX.
 *
 * The service's high_bytes are HTTP1_HIGH_BYTES at most, as by default.
 *
 * Threads: all calls are made on the connection's loop, where they do not say otherwise.
 */
#ifndef EXAMPLES_HTTP1_SERVE_H
#define EXAMPLES_HTTP1_SERVE_H

#include "examples/http1/http1.h"
#include "xev/conn.h"

#define HTTP1_BODY_MAX ((uint64_t)1 << 20)
#define HTTP1_HIGH_BYTES (256u << 10)

/* Answer the request by one of the calls below, or by a stream that ends later, and return true; or
 * pause the connection and return false: after xev_conn_resume it is called with the same request
 * again. request points to memory that is gone when it returns. */
typedef bool (*http1_request_fn)(xev_conn *conn, const http1_request *request);

/* Of one loop. */
typedef struct http1_server {
    http1_request_fn request;
    uint64_t boundary; /* of the next multipart body; at first a number that nobody can guess */
    http1_clock clock; /* zero */
    uint32_t body_ms;  /* for all of a body, however steadily it drips; 0: 60 000 */
} http1_server;

/* Of one connection; zero at its beginning. All is private. */
typedef struct http1_conn {
    size_t seen;             /* of a head, see http1_parse */
    http1_body body;         /* of the request before, of which something is still to be dropped */
    uint64_t dropped;        /* of it by now, */
    int64_t body_began_ms;   /* ... and since when, by xev_loop_now */
    bool chunked, closing;   /* of the stream: by chunks; the connection ends behind it */
    struct http1_made *made; /* the body that is being made, */
    http1_request_fn again;  /* ... and who is asked again, in place of the program */
} http1_conn;

/* Handlers for its table. */
ptrdiff_t http1_on_data(xev_conn *conn, const void *data, size_t len_bytes);
void http1_on_writable(xev_conn *conn);
void http1_on_late(xev_conn *conn, xev_conn_reason which);
void http1_on_closed(xev_conn *conn, xev_conn_reason reason, int code);

/* ---- replies ---- */

/* A status, and a line of text that says what it is, where it may have a body. fields: more of the
 * head, each ended by CR LF, or "". request: NULL closes the connection behind the reply. */
void http1_reply(xev_conn *conn, const http1_request *request, int status, const char *fields);

/* Other replies: the first lines of the head, which http1_put and xev_conn_write go on with; and
 * what follows the last byte, the end of the connection where the request says so. */
void http1_head(http1_out *head, xev_conn *conn, const http1_request *request, int status);
void http1_done(xev_conn *conn, const http1_request *request);

/* A body whose length nobody knows before its end: in chunks, or to clients of HTTP/1.0 up to the
 * end of the connection. Returns whether a body is wanted; if not (HEAD), the reply is complete.
 * Until the end the connection is paused and busy; xev_conn_queued_bytes and the writable handler
 * tell how fast the client reads. */
bool http1_stream(xev_conn *conn, const http1_request *request, const char *type);
/* 0 bytes are nothing. */
void http1_stream_write(xev_conn *conn, const void *data, size_t len_bytes);
void http1_stream_end(xev_conn *conn);

/* The same for a body that takes time to make: make is called on threads of the pool, one call at a
 * time, as the client takes what was made. It puts the next piece to out, which is empty, and
 * returns 200, or 0: it was the last one. Any other status is the reply, if the first call returns
 * it; from a later one it resets the connection. release is called once, on the loop, when make
 * will not be called again. Returns what an http1_request_fn is then to return. */
typedef int (*http1_make_fn)(void *userdata, http1_out *out);
bool http1_reply_made(xev_conn *conn, const http1_request *request, const char *type,
                      void *userdata, http1_make_fn make, xev_conn_release_fn release);

/* ---- content ---- */

/* One state of something that is served: of a file, or made by the program. It is counted, since
 * replies lend its memory and its file to the connection. */
typedef struct http1_content {
    uint32_t refs;
    xev_fd fd;  /* whence it is sent; XEV_INVALID_FD: from data */
    char *data; /* size bytes, by malloc; or NULL */
    char *gzip; /* the same compressed, where that is worth it, by malloc; or NULL */
    size_t gzip_len;
    uint64_t size;
    uint64_t inode, changed_ns;  /* what tells this state of a file from others */
    int64_t modified;            /* seconds since 1970, */
    char date[HTTP1_DATE_BYTES]; /* ... and as text */
    char etag[40];               /* "\"abc\"" */
    const char *type;            /* static */
} http1_content;

/* Files up to this size are read, and compressed where they are text; others are sent from the
 * disk. */
#define HTTP1_MEMORY_MAX ((uint64_t)256 << 10)

/* The regular file at path, which is opened without waiting for the other end of a FIFO. Returns
 * 200, and *content has one reference; or *content is NULL: 304 (it is still in the state of old;
 * NULL: none), 301 (a directory), 403 (not for us, or no file), 404, 500, 503 (no memory, no
 * descriptor). It waits for the disk: call it on a thread of the pool. */
int http1_open(http1_content **content, const char *path, const http1_content *old);

/* 403, 404, 503 or 500, as a failed open, or opendir, has set errno. Any thread. */
int http1_status_of_errno(void);

/* The last release closes the file and frees the memory. One thread at a time. */
http1_content *http1_hold(http1_content *content);
void http1_release(void *content);

/* Answer a GET or HEAD: conditions, ranges and compression as the request says. The body goes out
 * without a copy in user space, but for small ones. The content stays until it is sent. */
void http1_reply_content(xev_conn *conn, const http1_request *request, http1_content *content);

#endif
