/* Bodies of unknown length: written by the program, or made on the pool. */
#include <stdlib.h>
#include <string.h>

#include "examples/http1/serve.h"
#include "xev/work.h"

struct http1_made {
    xev_conn *conn; /* NULL: gone */
    xev_completion work;
    http1_make_fn make;
    xev_conn_release_fn release;
    void *userdata;
    const char *type;
    int status; /* of the last call */
    bool begun, working;
    http1_out out; /* what was made last */
};

bool http1_stream(xev_conn *conn, const http1_request *request, const char *type) {
    http1_conn *h = xev_conn_user(conn);
    http1_request stream = *request;
    http1_out head;
    h->chunked = request->minor > 0;
    stream.keep_alive &= h->chunked; /* else the end of the connection is that of the body */
    http1_head(&head, conn, &stream, 200);
    http1_put(&head, "Content-Type: %s\r\n%s\r\n", type,
              h->chunked ? "Transfer-Encoding: chunked\r\n" : "");
    (void)xev_conn_write(conn, head.text, head.len);
    if (http1_is(request->method, "HEAD")) {
        http1_done(conn, &stream);
        return false;
    }
    h->closing = !stream.keep_alive;
    xev_conn_pause(conn);
    xev_conn_set_busy(conn, true);
    return true;
}

void http1_stream_write(xev_conn *conn, const void *data, size_t len_bytes) {
    http1_conn *h = xev_conn_user(conn);
    char line[HTTP1_CHUNK_BYTES];
    if (!h->chunked) {
        (void)xev_conn_write(conn, data, len_bytes);
    } else if (len_bytes > 0) {
        const xev_vec vec[] = {
            {line, http1_chunk(len_bytes, line)}, {(void *)data, len_bytes}, {(void *)"\r\n", 2}};
        (void)xev_conn_writev(conn, vec, 3);
    }
}

void http1_stream_end(xev_conn *conn) {
    const http1_conn *h = xev_conn_user(conn);
    if (h->chunked) {
        (void)xev_conn_write(conn, "0\r\n\r\n", 5);
    }
    if (h->closing) {
        xev_conn_finish(conn);
    } else {
        xev_conn_resume(conn);
    }
    xev_conn_set_busy(conn, false);
}

/* ---- bodies that are made ---- */

static void made_free(struct http1_made *m) {
    if (m->conn != NULL) {
        http1_conn *h = xev_conn_user(m->conn);
        h->made = NULL;
        h->again = NULL;
    }
    m->release(m->userdata);
    free(m);
}

static int make_piece(void *userdata) {
    struct http1_made *m = userdata;
    m->status = m->make(m->userdata, &m->out);
    return 0;
}

static xev_cb_action on_made(xev_loop *loop, xev_completion *c, int result, void *userdata);

static void make_more(struct http1_made *m) {
    m->working = true;
    m->out.len = 0;
    xev_work_submit(xev_conn_service_loop(xev_conn_service_of(m->conn)), &m->work, XEV_LANE_FS,
                    make_piece, m, on_made);
}

static void write_made(struct http1_made *m) {
    http1_stream_write(m->conn, m->out.text, m->out.len);
    if (m->status == 0) {
        http1_stream_end(m->conn);
        made_free(m);
    } else if (xev_conn_queued_bytes(m->conn) <= HTTP1_HIGH_BYTES) {
        make_more(m);
    } /* else the writable handler does */
}

static xev_cb_action on_made(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct http1_made *m = userdata;
    (void)loop, (void)c;
    m->working = false;
    m->status = result < 0 ? 503 : m->status; /* no thread for it */
    if (m->conn == NULL) {
        made_free(m);
    } else if (!m->begun) {
        xev_conn_resume(m->conn);
    } else if (m->status != 200 && m->status != 0) {
        xev_conn_abort(m->conn);
    } else {
        write_made(m);
    }
    return XEV_DISARM;
}

/* The first piece is there. */
static bool reply_again(xev_conn *conn, const http1_request *request) {
    struct http1_made *m = ((http1_conn *)xev_conn_user(conn))->made;
    if (m->status != 200 && m->status != 0) {
        http1_reply(conn, request, m->status, "");
    } else if (http1_stream(conn, request, m->type)) {
        m->begun = true;
        write_made(m);
        return true;
    }
    made_free(m);
    return true;
}

bool http1_reply_made(xev_conn *conn, const http1_request *request, const char *type,
                      void *userdata, http1_make_fn make, xev_conn_release_fn release) {
    http1_conn *h = xev_conn_user(conn);
    struct http1_made *m = malloc(sizeof *m);
    if (m == NULL) {
        release(userdata);
        http1_reply(conn, request, 503, "");
        return true;
    }
    memset(m, 0, offsetof(struct http1_made, out.text));
    m->conn = conn;
    m->make = make;
    m->release = release;
    m->userdata = userdata;
    m->type = type;
    h->made = m;
    h->again = reply_again;
    xev_conn_pause(conn);
    make_more(m);
    return false;
}

void http1_on_writable(xev_conn *conn) {
    struct http1_made *m = ((http1_conn *)xev_conn_user(conn))->made;
    if (m != NULL && m->begun && !m->working) {
        make_more(m);
    }
}

void http1_on_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    struct http1_made *m = ((http1_conn *)xev_conn_user(conn))->made;
    (void)reason, (void)code;
    if (m != NULL) {
        m->conn = NULL;
        if (!m->working) {
            made_free(m);
        }
    }
}
