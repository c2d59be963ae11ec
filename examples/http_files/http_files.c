/* An HTTP/1.1 server of the files below a directory, on every core.
 *
 * Each shard has its own connections and its own cache of files. A request whose file is not in the
 * cache leaves its bytes unconsumed and pauses the connection; when the file is there the data
 * handler gets them again. So requests of a pipeline are answered in their order, and nothing of a
 * request has to be kept.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "examples/http_files/files.h"
#include "examples/random.h"
#include "examples/server.h"

#define BODY_MAX ((uint64_t)1 << 20) /* of a request; it is dropped */
#define COPY_MAX 16384u              /* larger bodies are lent, not copied */
#define PART_BYTES ((uint64_t)1 << 30)

struct client {
    size_t seen;             /* of a head, see http1_parse */
    http1_body body;         /* of the request before, that is still to be dropped */
    uint64_t dropped;        /* of it by now */
    struct waiter waiter;    /* for a file */
    struct listing *listing; /* that is being sent */
    xev_conn *conn;
};

struct shard {
    struct files files;
    http1_clock clock;
    uint64_t boundary; /* between ranges */
};

/* What a request is answered with. */
struct reply {
    int status;
    const http1_request *request; /* NULL: none that could be read */
    struct file *file;            /* of 200, 206, 304, 416 */
    bool gz;
    uint32_t count; /* of spans */
    http1_span spans[HTTP1_SPANS_MAX];
};

static struct shard *shard_of(xev_conn *conn) {
    return xev_conn_service_userdata(xev_conn_service_of(conn));
}

/* ---- replies ---- */

static void send_span(xev_conn *conn, const struct reply *r, http1_span span) {
    struct file *f = r->file;
    const char *data = r->gz ? f->gz : f->data;
    int rc = 0;
    if (data != NULL && span.len <= COPY_MAX) {
        (void)xev_conn_write(conn, data + span.at, (size_t)span.len);
        return;
    }
    for (uint64_t end = span.at + span.len, at = span.at; rc == 0 && at < end;) {
        size_t n = (size_t)(end - at < PART_BYTES ? end - at : PART_BYTES);
        rc = data != NULL ? xev_conn_write_lent(conn, data + at, n, file_hold(f), file_release)
                          : xev_conn_write_file(conn, f->fd, at, n, file_hold(f), file_release);
        if (rc < 0) {
            file_release(f);
            xev_conn_abort(conn); /* the head has promised more */
        }
        at += n;
    }
}

/* The end of the head, and the spans of the file. */
static void send_file(xev_conn *conn, const struct reply *r, http1_out *head) {
    http1_out parts; /* what stands between the spans */
    size_t ends[HTTP1_SPANS_MAX] = {0}, at = 0;
    uint64_t len = r->spans[0].len;
    char boundary[20];
    parts.len = 0;
    if (r->count > 1) {
        snprintf(boundary, sizeof boundary, "%016llx",
                 (unsigned long long)shard_of(conn)->boundary++);
        len = http1_multipart(&parts, r->spans, r->count, r->file->size, r->file->type, boundary,
                              ends);
        http1_put(head, "Content-Type: multipart/byteranges; boundary=%s\r\n", boundary);
    } else {
        if (r->status == 206) {
            http1_put(
                head, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)r->spans[0].at,
                (unsigned long long)(r->spans[0].at + len - 1), (unsigned long long)r->file->size);
        }
        http1_put(head, "%sContent-Type: %s\r\n", r->gz ? "Content-Encoding: gzip\r\n" : "",
                  r->file->type);
    }
    http1_put(head, "Content-Length: %llu\r\n\r\n", (unsigned long long)len);
    (void)xev_conn_write(conn, head->text, head->len);
    for (uint32_t i = 0; !http1_is(r->request->method, "HEAD") && i < r->count; i++) {
        (void)xev_conn_write(conn, parts.text + at, ends[i] - at);
        at = ends[i];
        send_span(conn, r, r->spans[i]);
    }
    (void)xev_conn_write(conn, parts.text + at, parts.len - at);
}

/* The fields of a status that has no file in its body, and a text that says what it is. */
static void send_status(xev_conn *conn, const struct reply *r, http1_out *head) {
    const http1_request *q = r->request;
    char text[64];
    int len = 0;
    if (r->status == 301) { /* "//a/" would be another host's */
        http1_text t = q->path;
        for (; t.len > 1 && t.at[1] == '/'; t.len--) {
            t.at++;
        }
        http1_put(head, "Location: %.*s/\r\n", (int)t.len, t.at);
    } else if (r->status == 405 || r->status == 204) {
        http1_put(head, "Allow: GET, HEAD, OPTIONS\r\n");
    } else if (r->status == 416) {
        http1_put(head, "Content-Range: bytes */%llu\r\n", (unsigned long long)r->file->size);
    }
    if (r->status != 204 && r->status != 304) {
        len = snprintf(text, sizeof text, "%d %s\n", r->status, http1_reason(r->status));
        http1_put(head, "Content-Type: text/plain\r\nContent-Length: %d\r\n", len);
    }
    http1_put(head, "\r\n%.*s", q != NULL && http1_is(q->method, "HEAD") ? 0 : len, text);
    (void)xev_conn_write(conn, head->text, head->len);
}

static void reply(xev_conn *conn, const struct reply *r) {
    http1_out head;
    head.len = 0;
    http1_begin(&head, r->status, r->request, &shard_of(conn)->clock);
    if (r->file != NULL && r->status < 400) {
        char modified[HTTP1_DATE_BYTES];
        http1_date(r->file->modified, modified);
        http1_put(&head, "Last-Modified: %s\r\nETag: %s%s\r\nAccept-Ranges: bytes\r\n%s", modified,
                  r->gz ? "W/" : "", r->file->etag,
                  r->file->gz != NULL ? "Vary: Accept-Encoding\r\n" : "");
    }
    if (r->status == 200 || r->status == 206) {
        send_file(conn, r, &head);
    } else {
        send_status(conn, r, &head);
    }
    if (r->request == NULL || !r->request->keep_alive) {
        xev_conn_finish(conn);
    }
}

void answer_status(xev_conn *conn, int status, const http1_request *request) {
    reply(conn, &(struct reply){.status = status, .request = request});
}

static void answer(xev_conn *conn, const http1_request *q, struct file *f) {
    struct reply r = {.status = f->status, .request = q};
    if (f->status == 200) {
        r.file = f;
        r.status = http1_conditions(q, f->etag, f->modified);
        if (r.status == 200) {
            r.status = http1_ranges(q, f->etag, f->modified, f->size, r.spans, &r.count);
        }
        r.gz = r.status == 200 && f->gz != NULL && http1_accepts(q, "Accept-Encoding", "gzip");
        r.spans[0].len = r.gz ? f->gz_len : r.spans[0].len;
    }
    reply(conn, &r);
}

/* ---- connections ---- */

static void on_ready(struct waiter *w) {
    struct client *k = (struct client *)(void *)((char *)w - offsetof(struct client, waiter));
    xev_conn_resume(k->conn);
}

/* Bytes of a body, that nobody wants. */
static ptrdiff_t drop_body(xev_conn *conn, struct client *k, const char *data, size_t len) {
    http1_text piece;
    int n = http1_body_take(&k->body, data, len, &piece);
    k->dropped += piece.len;
    if (n < 0 || k->dropped > BODY_MAX) {
        answer_status(conn, n < 0 ? 400 : 413, NULL);
        return (ptrdiff_t)len;
    }
    return n;
}

static ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    struct client *k = xev_conn_user(conn);
    http1_request q;
    char path[2048];
    if (!http1_body_done(&k->body)) {
        return drop_body(conn, k, data, len_bytes);
    }
    int n = http1_parse(&q, data, len_bytes, &k->seen);
    if (n == 0) {
        return 0;
    }
    if (n < 0) {
        answer_status(conn, -n, NULL);
        return (ptrdiff_t)len_bytes;
    }
    bool asks = http1_is(q.method, "GET") || http1_is(q.method, "HEAD");
    bool options = http1_is(q.method, "OPTIONS");
    if ((!asks && !options) || q.body.left > BODY_MAX) {
        answer_status(conn, !asks && !options ? 405 : 413, NULL);
        return (ptrdiff_t)len_bytes;
    }
    struct file *f = NULL;
    if (asks) {
        int rc = http1_path(q.path, path, sizeof path);
        if (rc < 0) {
            answer_status(conn, -rc, NULL);
            return (ptrdiff_t)len_bytes;
        }
        k->conn = conn;
        f = files_get(&shard_of(conn)->files, path, &k->waiter);
        if (f == NULL) {
            xev_conn_pause(conn);
            return 0;
        }
    }
    k->body = q.body;
    k->dropped = 0;
    if (q.expects) {
        (void)xev_conn_write(conn, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
    if (asks && f->status == FILE_LIST) {
        struct shard *s = shard_of(conn);
        list_start(&k->listing, conn, &s->files, &q, path, &s->clock);
    } else if (asks) {
        answer(conn, &q, f);
    } else {
        answer_status(conn, 204, &q);
    }
    return n;
}

static void on_late(xev_conn *conn, xev_conn_reason which) {
    if (which == XEV_CONN_READ_LATE) {
        answer_status(conn, 408, NULL);
    }
}

static void on_writable(xev_conn *conn) {
    struct client *k = xev_conn_user(conn);
    if (k->listing != NULL) {
        list_next(k->listing);
    }
}

static void on_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    struct client *k = xev_conn_user(conn);
    (void)reason, (void)code;
    files_forget(&k->waiter);
    if (k->listing != NULL) {
        list_closed(k->listing);
    }
}

static const xev_conn_handlers handlers = {
    .data = on_data, .writable = on_writable, .late = on_late, .closed = on_closed};

/* ---- the server ---- */

static const char *root = ".";
static bool lists;

static int on_init(xev_shard *self, void *userdata) {
    struct server *server = userdata;
    struct shard *s = xev_service_part(server->service, xev_shard_id(self));
    s->files.root = root;
    s->files.lists = lists;
    s->files.ready = on_ready;
    files_init(&s->files, xev_shard_loop(self));
    return random_fill(&s->boundary, sizeof s->boundary) ? 0 : XEV_ENOSYS;
}

static void on_deinit(xev_shard *self, void *userdata) {
    struct server *server = userdata;
    struct shard *s = xev_service_part(server->service, xev_shard_id(self));
    files_free(&s->files);
}

int main(int argc, char **argv) {
    static const struct server_flag flags[] = {
        {"root", "DIR", "the directory that is served (.)", .text = &root},
        {"list", NULL, "list directories that have no index.html", .on = &lists},
        {.name = NULL}};
    struct server server = {
        .program = "http_files", .host = "127.0.0.1", .port = 8080, .flags = flags};
    server_parse(&server, argc, argv);
    struct stat st;
    if (stat(root, &st) < 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "http_files: --root takes a directory, not '%s'\n", root);
        return 2;
    }
    server.runtime.init = on_init;
    server.runtime.deinit = on_deinit;
    const xev_service_options options = {
        .shard_bytes = sizeof(struct shard),
        .conns = {.handlers = &handlers,
                  .user_bytes = sizeof(struct client),
                  .unconsumed_max_bytes = 2 * HTTP1_HEAD_MAX,
                  .high_bytes = HIGH_BYTES,
                  .deadlines = {.idle_ms = 75000}},
    };
    return server_serve(&server, &options);
}
