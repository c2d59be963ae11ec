/* Requests and replies on connections. */
#include "examples/http1/serve.h"

#include <stdio.h>
#include <string.h>

static http1_server *server_of(const xev_conn *conn) {
    return xev_conn_service_userdata(xev_conn_service_of(conn));
}

static int64_t now_ms(const xev_conn *conn) {
    return xev_loop_now(xev_conn_service_loop(xev_conn_service_of(conn)));
}

/* ---- requests ---- */

/* Bytes of a body, which nobody wants. */
static ptrdiff_t drop_body(xev_conn *conn, http1_conn *h, const char *data, size_t len) {
    http1_text piece;
    int n = http1_body_take(&h->body, data, len, &piece);
    uint32_t most_ms = server_of(conn)->body_ms;
    bool late = now_ms(conn) - h->body_began_ms >= (most_ms > 0 ? most_ms : 60000);
    h->dropped += piece.len;
    if (n < 0 || h->dropped > HTTP1_BODY_MAX || late) {
        http1_reply(conn, NULL, n < 0 ? 400 : late ? 408 : 413, "");
        return (ptrdiff_t)len;
    }
    return n;
}

ptrdiff_t http1_on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    http1_conn *h = xev_conn_user(conn);
    http1_request request;
    if (!http1_body_done(&h->body)) {
        return drop_body(conn, h, data, len_bytes);
    }
    int n = http1_parse(&request, data, len_bytes, &h->seen);
    if (n > 0 && request.body.left > HTTP1_BODY_MAX) {
        n = -413;
    }
    if (n < 0) {
        http1_reply(conn, NULL, -n, "");
        return (ptrdiff_t)len_bytes;
    }
    http1_request_fn answer = h->again != NULL ? h->again : server_of(conn)->request;
    if (n == 0 || !answer(conn, &request)) {
        return 0;
    }
    h->body = request.body;
    h->dropped = 0;
    h->body_began_ms = now_ms(conn);
    return n;
}

void http1_on_late(xev_conn *conn, xev_conn_reason which) {
    if (which == XEV_CONN_READ_LATE) {
        http1_reply(conn, NULL, 408, "");
    }
}

/* ---- replies ---- */

static bool is_head(const http1_request *request) {
    return request != NULL && http1_is(request->method, "HEAD");
}

void http1_head(http1_out *head, xev_conn *conn, const http1_request *request, int status) {
    head->len = 0;
    if (request != NULL && request->expects) {
        http1_put(head, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    http1_begin(head, status, request, &server_of(conn)->clock);
}

void http1_done(xev_conn *conn, const http1_request *request) {
    if (request == NULL || !request->keep_alive) {
        xev_conn_finish(conn);
    }
}

void http1_reply(xev_conn *conn, const http1_request *request, int status, const char *fields) {
    http1_out head;
    char text[64];
    http1_head(&head, conn, request, status);
    http1_put(&head, "%s", fields);
    if (status == 204 || status == 304) {
        http1_put(&head, "\r\n");
    } else {
        int len = snprintf(text, sizeof text, "%d %s\n", status, http1_reason(status));
        http1_put(&head, "Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len,
                  is_head(request) ? "" : text);
    }
    (void)xev_conn_write(conn, head.text, head.len);
    http1_done(conn, request);
}
