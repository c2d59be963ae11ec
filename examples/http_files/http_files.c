/* An HTTP/1.1 server of the files below a directory, on every core.
 *
 * Each shard has its own connections and its own cache of files. A request whose file is not in the
 * cache leaves its bytes unconsumed and pauses the connection; when the file is there the data
 * handler gets them again. So requests of a pipeline are answered in their order, and nothing of a
 * request has to be kept.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "examples/http_files/files.h"
#include "examples/server.h"

#define BODY_MAX ((uint64_t)1 << 20) /* of a request; it is dropped */
#define COPY_MAX 16384u              /* larger bodies are lent, not copied */
#define PART_BYTES ((uint64_t)1 << 30)

struct client {
    size_t seen;          /* of a head, see http1_parse */
    http1_body body;      /* of the request before, that is still to be dropped */
    uint64_t dropped;     /* of it by now */
    struct waiter waiter; /* for a file */
    xev_conn *conn;
};

struct shard {
    struct files files;
    int64_t second;
    char date[HTTP1_DATE_BYTES];
};

/* What a request is answered with. */
struct reply {
    int status;
    bool body, keep_alive, gz;
    struct file *file; /* of 200, 206, 304 */
    uint64_t at, len;  /* the range */
    http1_text location;
};

static struct shard *shard_of(xev_conn *conn) {
    return xev_conn_service_userdata(xev_conn_service_of(conn));
}

/* ---- replies ---- */

static void send_file(xev_conn *conn, const struct reply *r, const char *head, size_t head_len) {
    struct file *f = r->file;
    const char *data = r->gz ? f->gz : f->data;
    if (data != NULL && r->len <= COPY_MAX) {
        const xev_vec vec[] = {{(void *)(uintptr_t)head, head_len},
                               {(void *)(uintptr_t)(data + r->at), (size_t)r->len}};
        (void)xev_conn_writev(conn, vec, 2);
        return;
    }
    int rc = xev_conn_write(conn, head, head_len);
    for (uint64_t at = 0; rc == 0 && at < r->len;) {
        size_t n = (size_t)(r->len - at < PART_BYTES ? r->len - at : PART_BYTES);
        rc = data != NULL
                 ? xev_conn_write_lent(conn, data + r->at + at, n, file_hold(f), file_release)
                 : xev_conn_write_file(conn, f->fd, r->at + at, n, file_hold(f), file_release);
        if (rc < 0) {
            file_release(f);
            xev_conn_abort(conn); /* the head has promised more */
        }
        at += n;
    }
}

/* Text to the end of a head that has room. */
__attribute__((format(printf, 3, 4))) static void put(char *head, size_t *len, const char *format,
                                                      ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(head + *len, HTTP1_HEAD_MAX - *len, format, args);
    va_end(args);
    *len += n > 0 && (size_t)n < HTTP1_HEAD_MAX - *len ? (size_t)n : 0;
}

static void reply(xev_conn *conn, const struct reply *r) {
    struct shard *s = shard_of(conn);
    char head[HTTP1_HEAD_MAX], text[64];
    size_t len = 0;
    int64_t now = (int64_t)time(NULL);
    if (now != s->second) {
        s->second = now;
        http1_date(now, s->date);
    }
    put(head, &len, "HTTP/1.1 %d %s\r\nServer: xev\r\nDate: %s\r\n", r->status,
        http1_reason(r->status), s->date);
    if (!r->keep_alive) {
        put(head, &len, "Connection: close\r\n");
    }
    if (r->file != NULL && r->status < 400) {
        char modified[HTTP1_DATE_BYTES];
        http1_date(r->file->modified, modified);
        put(head, &len, "Last-Modified: %s\r\nETag: %s%s\r\nAccept-Ranges: bytes\r\n", modified,
            r->gz ? "W/" : "", r->file->etag);
        put(head, &len, "%s", r->file->gz != NULL ? "Vary: Accept-Encoding\r\n" : "");
    }
    if (r->status == 304 || r->status == 204) {
        put(head, &len, "%s\r\n", r->status == 204 ? "Allow: GET, HEAD, OPTIONS\r\n" : "");
        (void)xev_conn_write(conn, head, len);
    } else if (r->status == 200 || r->status == 206) {
        if (r->status == 206) {
            put(head, &len, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)r->at,
                (unsigned long long)(r->at + r->len - 1), (unsigned long long)r->file->size);
        }
        put(head, &len, "%sContent-Type: %s\r\nContent-Length: %llu\r\n\r\n",
            r->gz ? "Content-Encoding: gzip\r\n" : "", r->file->type, (unsigned long long)r->len);
        if (r->body) {
            send_file(conn, r, head, len);
        } else {
            (void)xev_conn_write(conn, head, len);
        }
    } else {
        int n = snprintf(text, sizeof text, "%d %s\n", r->status, http1_reason(r->status));
        if (r->status == 301) { /* "//a/" would be another host's */
            http1_text t = r->location;
            for (; t.len > 1 && t.at[1] == '/'; t.len--) {
                t.at++;
            }
            put(head, &len, "Location: %.*s/\r\n", (int)t.len, t.at);
        } else if (r->status == 405) {
            put(head, &len, "Allow: GET, HEAD, OPTIONS\r\n");
        } else if (r->status == 416) {
            put(head, &len, "Content-Range: bytes */%llu\r\n", (unsigned long long)r->file->size);
        }
        put(head, &len, "Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", n,
            r->body ? text : "");
        (void)xev_conn_write(conn, head, len);
    }
    if (!r->keep_alive) {
        xev_conn_finish(conn);
    }
}

static void refuse(xev_conn *conn, int status) {
    reply(conn, &(struct reply){.status = status, .body = true});
}

/* ---- requests ---- */

static void answer(xev_conn *conn, const http1_request *q, struct file *f) {
    struct reply r = {.status = f->status,
                      .body = !http1_is(q->method, "HEAD"),
                      .keep_alive = q->keep_alive,
                      .location = q->path};
    if (f->status == 200) {
        r.file = f;
        r.len = f->size;
        r.status = http1_conditions(q, f->etag, f->modified);
        if (r.status == 200) {
            r.status = http1_range(q, f->etag, f->modified, f->size, &r.at, &r.len);
        }
        r.gz = r.status == 200 && f->gz != NULL && http1_accepts(q, "Accept-Encoding", "gzip");
        r.len = r.gz ? f->gz_len : r.len;
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
        refuse(conn, n < 0 ? 400 : 413);
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
        refuse(conn, -n);
        return (ptrdiff_t)len_bytes;
    }
    bool asks = http1_is(q.method, "GET") || http1_is(q.method, "HEAD");
    bool options = http1_is(q.method, "OPTIONS");
    if ((!asks && !options) || q.body.left > BODY_MAX) {
        refuse(conn, !asks && !options ? 405 : 413);
        return (ptrdiff_t)len_bytes;
    }
    struct file *f = NULL;
    if (asks) {
        int rc = http1_path(q.path, path, sizeof path);
        if (rc < 0) {
            refuse(conn, -rc);
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
    if (asks) {
        answer(conn, &q, f);
    } else {
        reply(conn, &(struct reply){.status = 204, .keep_alive = q.keep_alive});
    }
    return n;
}

static void on_late(xev_conn *conn, xev_conn_reason which) {
    if (which == XEV_CONN_READ_LATE) {
        refuse(conn, 408);
    }
}

static void on_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    (void)reason;
    (void)code;
    files_forget(&((struct client *)xev_conn_user(conn))->waiter);
}

static const xev_conn_handlers handlers = {.data = on_data, .late = on_late, .closed = on_closed};

/* ---- the server ---- */

static const char *root = ".";

static int on_init(xev_shard *self, void *userdata) {
    struct server *server = userdata;
    struct shard *s = xev_service_part(server->service, xev_shard_id(self));
    files_init(&s->files, xev_shard_loop(self), root, on_ready);
    return 0;
}

static void on_deinit(xev_shard *self, void *userdata) {
    struct server *server = userdata;
    struct shard *s = xev_service_part(server->service, xev_shard_id(self));
    files_free(&s->files);
}

int main(int argc, char **argv) {
    static const struct server_flag flags[] = {
        {"root", "DIR", "the directory that is served (.)", .text = &root}, {.name = NULL}};
    struct server server = {
        .program = "http_files", .host = "127.0.0.1", .port = 8080, .flags = flags};
    server_parse(&server, argc, argv);
    server.runtime.init = on_init;
    server.runtime.deinit = on_deinit;
    const xev_service_options options = {
        .name = "http",
        .address = server.address,
        .shard_bytes = sizeof(struct shard),
        .accept_failed = server_accept_failed,
        .userdata = &server,
        .conns = {.handlers = &handlers,
                  .user_bytes = sizeof(struct client),
                  .unconsumed_max_bytes = 2 * HTTP1_HEAD_MAX,
                  .deadlines = {.idle_ms = 75000}},
    };
    struct stat st;
    if (stat(root, &st) < 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "http_files: --root takes a directory, not '%s'\n", root);
        return 2;
    }
    xev_serve *serve;
    xev_service *service = NULL;
    int rc = xev_serve_new(&serve);
    if (rc < 0 || (rc = xev_serve_add(serve, &options, &service)) < 0) {
        fprintf(stderr, "http_files: %s\n", xev_strerror(rc));
        return 1;
    }
    int code = server_run(&server, serve, service);
    xev_serve_free(serve);
    return code;
}
