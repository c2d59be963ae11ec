/* Content: files, and replies that are made of them. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "examples/http1/serve.h"

#define COPY_MAX 16384u /* larger bodies are lent, not copied */
#define PART_BYTES ((uint64_t)1 << 30)

http1_content *http1_hold(http1_content *content) {
    content->refs++;
    return content;
}

void http1_release(void *content) {
    http1_content *c = content;
    assert(c->refs > 0);
    if (--c->refs == 0) {
        if (c->fd != XEV_INVALID_FD) {
            (void)close(c->fd);
        }
        free(c->data);
        free(c->gzip);
        free(c);
    }
}

/* ---- files ---- */

static void compress_text(http1_content *c) {
    z_stream z;
    memset(&z, 0, sizeof z);
    if (deflateInit2(&z, 6, Z_DEFLATED, 15 + 16 /* gzip */, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return;
    }
    size_t room = (size_t)(c->size - c->size / 8); /* less than an eighth is not worth it */
    c->gzip = malloc(room + 1);
    z.next_in = (Bytef *)c->data;
    z.avail_in = (uInt)c->size;
    z.next_out = (Bytef *)c->gzip;
    z.avail_out = (uInt)room;
    if (c->gzip != NULL && deflate(&z, Z_FINISH) == Z_STREAM_END) {
        c->gzip_len = z.total_out;
    } else {
        free(c->gzip);
        c->gzip = NULL;
    }
    (void)deflateEnd(&z);
}

static bool read_whole(http1_content *c, int fd) {
    c->data = malloc((size_t)c->size + 1);
    for (uint64_t at = 0; c->data != NULL && at < c->size;) {
        ssize_t n = read(fd, c->data + at, (size_t)(c->size - at));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false; /* it was cut short meanwhile */
        }
        at += (uint64_t)n;
    }
    return c->data != NULL;
}

int http1_status_of_errno(void) {
    bool none = errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG || errno == ELOOP;
    bool short_of = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
    return none ? 404 : errno == EACCES ? 403 : short_of ? 503 : 500;
}

/* The status; with 200 the file is the content's, or read. */
static int open_regular(http1_content *c, int fd, const char *path, const struct stat *st,
                        const http1_content *old) {
    bool is_text;
    c->type = http1_type(path, &is_text);
    c->size = (uint64_t)st->st_size;
    c->inode = st->st_ino;
    c->modified = st->st_mtim.tv_sec;
    c->changed_ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
    if (old != NULL && old->inode == c->inode && old->changed_ns == c->changed_ns &&
        old->size == c->size) {
        return 304;
    }
    http1_date(c->modified, c->date);
    snprintf(c->etag, sizeof c->etag, "\"%llx-%llx\"", (unsigned long long)c->changed_ns,
             (unsigned long long)c->size);
    if (c->size > HTTP1_MEMORY_MAX) {
        c->fd = fd;
    } else if (!read_whole(c, fd)) {
        return 503;
    } else if (is_text) {
        compress_text(c);
    }
    return 200;
}

int http1_open(http1_content **content, const char *path, const http1_content *old) {
    struct stat st;
    int status, fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    http1_content *c = *content = NULL;
    if (fd < 0 || fstat(fd, &st) < 0) {
        status = http1_status_of_errno();
    } else if (!S_ISREG(st.st_mode)) {
        status = S_ISDIR(st.st_mode) ? 301 : 403;
    } else if ((c = calloc(1, sizeof *c)) == NULL) {
        status = 503;
    } else {
        c->refs = 1;
        c->fd = XEV_INVALID_FD;
        status = open_regular(c, fd, path, &st, old);
    }
    if (fd >= 0 && (c == NULL || c->fd != fd)) {
        (void)close(fd);
    }
    if (status == 200) {
        *content = c;
    } else if (c != NULL) {
        http1_release(c);
    }
    return status;
}

/* ---- replies ---- */

static void send_span(xev_conn *conn, http1_content *c, const char *data, http1_span span) {
    if (data != NULL && span.len <= COPY_MAX) {
        (void)xev_conn_write(conn, data + span.at, (size_t)span.len);
        return;
    }
    int rc = 0;
    for (uint64_t end = span.at + span.len, at = span.at; rc == 0 && at < end;) {
        size_t n = (size_t)(end - at < PART_BYTES ? end - at : PART_BYTES);
        rc = data != NULL ? xev_conn_write_lent(conn, data + at, n, http1_hold(c), http1_release)
                          : xev_conn_write_file(conn, c->fd, at, n, http1_hold(c), http1_release);
        if (rc < 0) {
            http1_release(c);
            xev_conn_abort(conn); /* the head has promised more */
        }
        at += n;
    }
}

static void send_one(xev_conn *conn, const http1_request *request, http1_content *c,
                     http1_out *head, http1_span span, bool gzip) {
    http1_put(head, "%sContent-Type: %s\r\nContent-Length: %llu\r\n\r\n",
              gzip ? "Content-Encoding: gzip\r\n" : "", c->type, (unsigned long long)span.len);
    (void)xev_conn_write(conn, head->text, head->len);
    if (!http1_is(request->method, "HEAD")) {
        send_span(conn, c, gzip ? c->gzip : c->data, span);
    }
}

static void send_several(xev_conn *conn, http1_content *c, http1_out *head, const http1_span *spans,
                         uint32_t count) {
    http1_server *server = xev_conn_service_userdata(xev_conn_service_of(conn));
    http1_out parts; /* what stands between the spans */
    size_t ends[HTTP1_SPANS_MAX] = {0}, at = 0;
    char boundary[20];
    snprintf(boundary, sizeof boundary, "%016llx", (unsigned long long)server->boundary++);
    parts.len = 0;
    uint64_t len = http1_multipart(&parts, spans, count, c->size, c->type, boundary, ends);
    http1_put(head,
              "Content-Type: multipart/byteranges; boundary=%s\r\nContent-Length: %llu\r\n\r\n",
              boundary, (unsigned long long)len);
    (void)xev_conn_write(conn, head->text, head->len);
    for (uint32_t i = 0; i < count; i++) {
        (void)xev_conn_write(conn, parts.text + at, ends[i] - at);
        send_span(conn, c, c->data, spans[i]);
        at = ends[i];
    }
    (void)xev_conn_write(conn, parts.text + at, parts.len - at);
}

void http1_reply_content(xev_conn *conn, const http1_request *request, http1_content *c) {
    http1_span spans[HTTP1_SPANS_MAX];
    uint32_t count = 1;
    int status = http1_conditions(request, c->etag, c->modified);
    if (status == 200) {
        status = http1_ranges(request, c->etag, c->modified, c->size, spans, &count);
    }
    if (status >= 400) {
        char range[64] = "";
        if (status == 416) {
            snprintf(range, sizeof range, "Content-Range: bytes */%llu\r\n",
                     (unsigned long long)c->size);
        }
        http1_reply(conn, request, status, range);
        return;
    }
    bool gzip =
        status == 200 && c->gzip != NULL && http1_accepts(request, "Accept-Encoding", "gzip");
    http1_out head;
    http1_head(&head, conn, request, status);
    http1_put(&head, "Last-Modified: %s\r\nETag: %s%s\r\nAccept-Ranges: bytes\r\n%s", c->date,
              gzip ? "W/" : "", c->etag, c->gzip != NULL ? "Vary: Accept-Encoding\r\n" : "");
    if (status == 304) {
        http1_put(&head, "\r\n");
        (void)xev_conn_write(conn, head.text, head.len);
    } else if (count > 1) {
        send_several(conn, c, &head, spans, count);
    } else {
        if (status == 206) {
            http1_put(
                &head, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)spans[0].at,
                (unsigned long long)(spans[0].at + spans[0].len - 1), (unsigned long long)c->size);
        }
        spans[0].len = gzip ? c->gzip_len : spans[0].len;
        send_one(conn, request, c, &head, spans[0], gzip);
    }
    http1_done(conn, request);
}
