/* Listings of directories: replies whose length nobody knows before their end. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/http_files/files.h"

#define NAME_ROOM 4096u /* of a name, escaped twice */

struct listing {
    struct listing **at; /* the connection's pointer to it; NULL: that is gone */
    xev_conn *conn;
    xev_loop *loop;
    xev_completion work;
    http1_clock *clock;
    http1_request request; /* method, minor and keep_alive only */
    DIR *directory;
    int status; /* of the opening */
    bool begun, ended, working;
    http1_out out; /* what was read last */
    char path[];   /* in the file system */
};

/* ---- on a pool thread ---- */

static int read_some(void *userdata) {
    struct listing *l = userdata;
    const struct dirent *d;
    if (l->directory == NULL) {
        l->directory = opendir(l->path);
        l->status = l->directory != NULL ? 200 : status_of_errno();
        if (l->directory == NULL) {
            return 0;
        }
        http1_put(&l->out,
                  "<!DOCTYPE html>\n<meta charset=utf-8>\n<pre>\n<a href=\"../\">../</a>\n");
    }
    while (sizeof l->out.text - l->out.len > NAME_ROOM && (d = readdir(l->directory)) != NULL) {
        const char *slash = d->d_type == DT_DIR ? "/" : "";
        if (d->d_name[0] != '.') {
            http1_put(&l->out, "<a href=\"");
            http1_put_link(&l->out, d->d_name);
            http1_put(&l->out, "%s\">", slash);
            http1_put_html(&l->out, d->d_name);
            http1_put(&l->out, "%s</a>\n", slash);
        }
    }
    l->ended = sizeof l->out.text - l->out.len > NAME_ROOM;
    return 0;
}

static void listing_free(struct listing *l) {
    if (l->directory != NULL) {
        (void)closedir(l->directory);
    }
    free(l);
}

/* ---- on the loop ---- */

/* The head before the first names, and the names. */
static void write_some(struct listing *l) {
    http1_out head;
    char size[HTTP1_CHUNK_BYTES];
    bool chunked = l->request.minor > 0;
    head.len = 0;
    if (!l->begun) {
        l->request.keep_alive &= chunked;
        http1_begin(&head, 200, &l->request, l->clock);
        http1_put(&head, "Content-Type: text/html; charset=utf-8\r\n%s\r\n",
                  chunked ? "Transfer-Encoding: chunked\r\n" : "");
    }
    l->begun = true;
    if (http1_is(l->request.method, "HEAD")) {
        l->ended = true;
        (void)xev_conn_write(l->conn, head.text, head.len);
        return;
    }
    size_t len = l->out.len; /* 0: the names end just where the room did */
    char *last = (char[]){"\r\n0\r\n\r\n"};
    const xev_vec vec[] = {{head.text, head.len},
                           {size, chunked && len > 0 ? http1_chunk(len, size) : 0},
                           {l->out.text, len},
                           {last, chunked && len > 0 ? 2 : 0},
                           {last + 2, chunked && l->ended ? 5 : 0}};
    (void)xev_conn_writev(l->conn, vec, 5);
    l->out.len = 0;
}

static void list_end(struct listing *l) {
    xev_conn *conn = l->conn;
    *l->at = NULL;
    if (l->request.keep_alive) {
        xev_conn_resume(conn);
    } else {
        xev_conn_finish(conn);
    }
    xev_conn_set_busy(conn, false);
    listing_free(l);
}

static xev_cb_action on_read(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct listing *l = userdata;
    (void)loop, (void)c;
    l->working = false;
    if (l->at == NULL) {
        listing_free(l);
    } else if (result < 0 && l->begun) { /* no thread for it */
        xev_conn_abort(l->conn);         /* list_closed is called */
    } else if (result == XEV_ECANCELED) {
        return XEV_DISARM; /* the loop ends, and the connection */
    } else if (result < 0 || l->status != 200) {
        answer_status(l->conn, result < 0 ? 503 : l->status, &l->request);
        list_end(l);
    } else {
        write_some(l);
        if (l->ended) {
            list_end(l);
        } else if (xev_conn_queued_bytes(l->conn) <= HIGH_BYTES) {
            list_next(l); /* else the writable handler does */
        }
    }
    return XEV_DISARM;
}

void list_next(struct listing *l) {
    if (!l->working) {
        l->working = true;
        xev_work_submit(l->loop, &l->work, XEV_LANE_FS, read_some, l, on_read);
    }
}

void list_start(struct listing **at, xev_conn *conn, const struct files *files,
                const http1_request *request, const char *path, http1_clock *clock) {
    size_t bytes = strlen(files->root) + strlen(path) + 1;
    struct listing *l = malloc(sizeof *l + bytes);
    if (l == NULL) {
        xev_conn_abort(conn);
        return;
    }
    memset(l, 0, offsetof(struct listing, out.text));
    snprintf(l->path, bytes, "%s%s", files->root, path);
    l->at = at;
    l->conn = conn;
    l->loop = files->loop;
    l->clock = clock;
    l->request.keep_alive = request->keep_alive;
    l->request.minor = request->minor;
    l->request.method =
        http1_is(request->method, "HEAD") ? (http1_text){"HEAD", 4} : (http1_text){"GET", 3};
    *at = l;
    xev_conn_pause(conn);
    xev_conn_set_busy(conn, true);
    list_next(l);
}

void list_closed(struct listing *l) {
    l->at = NULL;
    if (!l->working) {
        listing_free(l);
    }
}
