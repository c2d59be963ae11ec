/* The http1 module on connections: requests, replies, streams, content. */
#include "examples/http1/serve.h"

#include <sys/stat.h>

#include "tests/conn_scene.h"

enum { PIECES = 400, PIECE = 16000, STREAM_MAX = PIECES * (PIECE + 16) + 4096 };

/* ---- a server, and what its requests are answered with ---- */

struct source {
    int pieces, fails_at, fails_with; /* fails_at: which call, from 0; -1: none */
    _Atomic int made;                 /* by threads of the pool */
    int released;
};

static struct world {
    http1_server server; /* first */
    struct net net;
    xev_threadpool pool;
    xev_conn_service *service;
    struct source source;
    http1_content *content;
    int asked, refusals, closed; /* refusals: how often a request is to come again */
    xev_conn *conn;
    xev_conn_reason reason;
} w;

static int make(void *userdata, http1_out *out) {
    struct source *s = userdata;
    CHECK_EQ(out->len, 0);
    if (s->made == s->fails_at) {
        return s->fails_with;
    }
    pattern(out->text, PIECE, (size_t)s->made * PIECE);
    out->len = PIECE;
    return ++s->made < s->pieces ? 200 : 0;
}

static void released(void *userdata) { ((struct source *)userdata)->released++; }

static bool on_request(xev_conn *conn, const http1_request *request) {
    w.asked++;
    if (w.refusals > 0) {
        w.refusals--;
        xev_conn_pause(conn);
        return false;
    }
    if (http1_is(request->path, "/made")) {
        return http1_reply_made(conn, request, "text/x", &w.source, make, released);
    }
    if (http1_is(request->path, "/content")) {
        http1_reply_content(conn, request, w.content);
    } else {
        http1_reply(conn, request, 404, "X: y\r\n");
    }
    return true;
}

static void note_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    http1_on_closed(conn, reason, code);
    w.closed++;
    w.conn = NULL;
    w.reason = reason;
}

static const xev_conn_handlers handlers = {.data = http1_on_data,
                                           .writable = http1_on_writable,
                                           .late = http1_on_late,
                                           .closed = note_closed};

static xev_cb_action tick(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop, (void)c, (void)userdata;
    return result == 0 ? XEV_REARM : XEV_DISARM;
}

/* Returns the client's socket. 0 ms: the defaults. */
static int start_with(uint32_t read_ms, uint32_t write_ms) {
    static xev_completion ticker;
    xev_conn_options options = {.handlers = &handlers,
                                .userdata = &w,
                                .user_bytes = sizeof(http1_conn),
                                .unconsumed_max_bytes = 2 * HTTP1_HEAD_MAX,
                                .deadlines = {.read_ms = read_ms, .write_ms = write_ms}};
    int fd[2];
    memset(&w, 0, sizeof w);
    memset(&ticker, 0, sizeof ticker);
    w.server.request = on_request;
    w.source = (struct source){.pieces = 3, .fails_at = -1};
    CHECK_EQ(xev_threadpool_init(&w.pool, NULL), 0);
    net_open(&w.net, &(xev_loop_options){.thread_pool = &w.pool});
    CHECK_EQ(xev_conn_service_new(&w.service, &w.net.loop, &options), 0);
    xev_timer_run(NULL, &w.net.loop, &ticker, 5, NULL, tick);
    local_pair(fd);
    CHECK_EQ(xev_conn_adopt(w.service, fd[1], &w.conn), 0);
    return fd[0];
}

static int start(void) { return start_with(0, 0); }

static void run_once(void) { CHECK_EQ(xev_loop_run(&w.net.loop, XEV_RUN_ONCE), 0); }

static void stop(int fd) {
    CHECK_EQ(close(fd), 0);
    while (w.closed == 0) {
        run_once();
    }
    xev_loop_deinit(&w.net.loop);
    xev_conn_service_free(w.service);
    xev_threadpool_deinit(&w.pool);
    CHECK_EQ(open_fds(), w.net.fds_before);
}

/* ---- a client ---- */

static char got[STREAM_MAX];

static void send_text(int fd, const char *text) {
    CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Read until the text ends in this, or with NULL until the end; returns the length. */
static size_t recv_until(int fd, const char *last) {
    size_t len = 0, last_len = last != NULL ? strlen(last) : 0;
    for (;;) {
        ssize_t n = recv(fd, got + len, sizeof got - 1 - len, MSG_DONTWAIT);
        if (n < 0) {
            CHECK(errno == EAGAIN || (errno == ECONNRESET && last == NULL));
            if (errno != EAGAIN) {
                return len;
            }
            run_once();
            continue;
        }
        len += (size_t)n;
        got[len] = '\0';
        if (n == 0) {
            CHECK(last == NULL);
            return len;
        }
        if (last != NULL && len >= last_len && memcmp(got + len - last_len, last, last_len) == 0) {
            return len;
        }
    }
}

static bool has(const char *text) { return strstr(got, text) != NULL; }

/* The chunks behind a head are pieces of the pattern; so many. */
static void check_chunks(size_t len, int pieces) {
    char *at = strstr(got, "\r\n\r\n");
    CHECK(at != NULL);
    at += 4;
    for (int i = 0; i < pieces; i++) {
        CHECK_MEM_EQ(at, "3e80\r\n", 6);
        check_pattern(at + 6, PIECE, (size_t)i * PIECE);
        at += 6 + PIECE + 2;
    }
    CHECK_MEM_EQ(at, "0\r\n\r\n", 5);
    CHECK_EQ((size_t)(at + 5 - got), len);
}

/* ---- requests ---- */

TEST(a_request_that_is_put_off_comes_again) {
    int fd = start();
    w.refusals = 2;
    send_text(fd, "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxyHEAD /b HTTP/1.1\r\n"
                  "Host: a\r\n\r\n");
    for (int asked = 1; asked <= 2; asked++) {
        while (w.asked < asked) {
            run_once();
        }
        run_once();
        run_once();
        CHECK_EQ(w.asked, asked);
        xev_conn_resume(w.conn);
    }
    while (w.asked < 4) {
        run_once();
    }
    (void)recv_until(fd, "Content-Length: 14\r\n\r\n");
    CHECK(has("X: y\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\n404 Not Found\nHTTP"));
    stop(fd);
}

TEST(what_cannot_be_read_is_answered_and_the_connection_ended) {
    static const struct {
        const char *text, *reply;
        bool ends; /* the client's side */
        uint32_t read_ms;
    } rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", false, 0},
        {"\x16\x03\x01\x02garbage\r\n\r\n", "HTTP/1.1 400 ", false, 0},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", "HTTP/1.1 413 ", false, 0},
        {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!",
         "HTTP/1.1 400 ", false, 0},
        {"GET / HT", "HTTP/1.1 408 ", false, 300},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell", "HTTP/1.1 404 ", true, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = start_with(rows[i].read_ms, 0);
        send_text(fd, rows[i].text);
        CHECK(!rows[i].ends || shutdown(fd, SHUT_WR) == 0);
        (void)recv_until(fd, NULL);
        CHECK(has(rows[i].reply));
        stop(fd);
    }
}

/* A byte at a time, as long as the server takes them. */
TEST(a_body_that_drips_is_ended_in_time) {
    int fd = start();
    w.server.body_ms = 300;
    send_text(fd, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    do {
        (void)send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        run_once();
        ssize_t n = recv(fd, got, sizeof got - 1, MSG_DONTWAIT | MSG_PEEK);
        got[n > 0 ? n : 0] = '\0';
    } while (!has("HTTP/1.1 408 "));
    CHECK(has("404 Not Found\nHTTP/1.1 408 "));
    stop(fd);
}

TEST(a_body_is_asked_for_once) {
    int fd = start();
    w.refusals = 1;
    send_text(fd, "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    while (w.asked < 1) {
        run_once();
    }
    xev_conn_resume(w.conn);
    (void)recv_until(fd, "404 Not Found\n");
    CHECK_MEM_EQ(got, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 ", 38);
    CHECK(strstr(got + 20, "100 Continue") == NULL);
    stop(fd);
}

/* ---- bodies that are made ---- */

#define GET_MADE "GET /made HTTP/1.1\r\nHost: a\r\n\r\n"

TEST(a_body_is_made_in_chunks_and_the_next_request_waits_for_its_end) {
    int fd = start();
    send_text(fd, GET_MADE "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    size_t len = recv_until(fd, "404 Not Found\n");
    char *next = strstr(got + 3 * PIECE, "HTTP/1.1 404 ");
    CHECK(has("HTTP/1.1 200 OK\r\n") && has("Transfer-Encoding: chunked\r\n") && next != NULL);
    CHECK_LT((size_t)(next - got), len);
    check_chunks((size_t)(next - got), 3);
    CHECK_EQ(w.source.released, 1);
    stop(fd);
}

/* Also where the client ends its side, or the service drains, before the first piece is there. */
TEST(a_body_is_whole_whatever_ends_meanwhile) {
    for (int how = 0; how < 4; how++) {
        int fd = start();
        send_text(fd, GET_MADE);
        if (how % 2 == 1) {
            CHECK_EQ(shutdown(fd, SHUT_WR), 0);
        }
        while (w.asked == 0) {
            run_once();
        }
        if (how >= 2) {
            xev_conn_service_drain(w.service);
        }
        size_t len = how == 0 ? recv_until(fd, "\r\n0\r\n\r\n") : recv_until(fd, NULL);
        check_chunks(len, 3);
        CHECK_EQ(w.source.released, 1);
        stop(fd);
    }
}

TEST(a_body_for_an_old_client_ends_with_the_connection) {
    int fd = start();
    send_text(fd, "GET /made HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    size_t len = recv_until(fd, NULL);
    CHECK(has("Connection: close\r\n") && !has("chunked"));
    CHECK_GT(len, 3 * PIECE);
    check_pattern(got + len - 3 * PIECE, 3 * PIECE, 0);
    stop(fd);
}

TEST(a_head_takes_one_piece_and_sends_none) {
    int fd = start();
    send_text(fd, "HEAD /made HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    (void)recv_until(fd, "404 Not Found\n");
    CHECK(has("Transfer-Encoding: chunked\r\n\r\nHTTP/1.1 404 "));
    CHECK_EQ(w.source.made, 1);
    CHECK_EQ(w.source.released, 1);
    stop(fd);
}

TEST(a_body_that_fails_is_a_status_or_a_reset) {
    int fd = start();
    w.source.fails_at = 0;
    w.source.fails_with = 403;
    send_text(fd, GET_MADE);
    (void)recv_until(fd, "403 Forbidden\n");
    CHECK_EQ(w.source.released, 1);
    w.source = (struct source){.pieces = 3, .fails_at = 1, .fails_with = 500};
    send_text(fd, GET_MADE);
    size_t len = recv_until(fd, NULL);
    CHECK_GT(len, PIECE);
    CHECK(memcmp(got + len - 5, "0\r\n\r\n", 5) != 0);
    CHECK_EQ(w.source.released, 1);
    CHECK_EQ(w.reason, XEV_CONN_ABORTED);
    stop(fd);
}

/* No more is made than fits between the two, and all of it comes when the client reads. */
TEST(a_slow_client_holds_the_making_up) {
    int fd = start();
    w.source.pieces = PIECES;
    send_text(fd, GET_MADE);
    int made = 0;
    while (w.source.made == 0) {
        run_once();
    }
    for (int quiet = 0; quiet < 50; quiet++) {
        run_once();
        quiet = w.source.made != made ? 0 : quiet;
        made = w.source.made;
    }
    CHECK_LT(made * PIECE, (int)HTTP1_HIGH_BYTES + 3000000); /* and what the system buffers */
    CHECK_LT(made, PIECES);
    check_chunks(recv_until(fd, "\r\n0\r\n\r\n"), PIECES);
    CHECK_EQ(w.source.released, 1);
    stop(fd);
}

TEST(a_client_that_leaves_ends_the_making) {
    for (int turns = 0; turns < 12; turns++) {
        int fd = start();
        w.source.pieces = PIECES;
        send_text(fd, GET_MADE);
        for (int i = 0; i < turns; i++) {
            run_once();
        }
        stop(fd); /* the loop's end waits for the pool */
        CHECK_EQ(w.source.released, w.asked);
    }
}

/* ---- content ---- */

static const char *folder(void) {
    static char path[256];
    const char *tmp = getenv("TEST_TMPDIR");
    snprintf(path, sizeof path, "%.200s/content.XXXXXX", tmp != NULL ? tmp : "/tmp");
    CHECK(mkdtemp(path) != NULL);
    return path;
}

static const char *write_file(const char *in, const char *name, const char *data, size_t len) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", in, name);
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    CHECK_EQ(fwrite(data, 1, len, f), len);
    CHECK_EQ(fclose(f), 0);
    return path;
}

TEST(files_are_opened_as_content) {
    static char text[30000];
    const char *in = folder();
    http1_content *c, *other;
    memset(text, 'a', sizeof text);
    CHECK_EQ(http1_open(&c, in, NULL), 301);
    CHECK(c == NULL);
    CHECK_EQ(http1_open(&c, "/nowhere/x", NULL), 404);
    CHECK_EQ(http1_open(&c, "/dev/null", NULL), 403);
    const char *path = write_file(in, "a.txt", text, sizeof text);
    CHECK_EQ(http1_open(&c, path, NULL), 200);
    CHECK(c->data != NULL && c->gzip != NULL && c->fd == XEV_INVALID_FD);
    CHECK_EQ(c->size, sizeof text);
    CHECK_LT(c->gzip_len, 200);
    CHECK_EQ(http1_open(&other, path, c), 304);
    CHECK(other == NULL);
    CHECK_EQ(chmod(path, 0600), 0); /* no other content */
    CHECK_EQ(http1_open(&other, path, c), 304);
    path = write_file(in, "a.txt", text, 10);
    CHECK_EQ(http1_open(&other, path, c), 200);
    CHECK_EQ(other->size, 10);
    CHECK(strcmp(other->etag, c->etag) != 0);
    http1_release(other);
    http1_release(http1_hold(c));
    CHECK_EQ(c->refs, 1);
    http1_release(c);
    path = write_file(in, "empty.txt", "", 0);
    CHECK_EQ(http1_open(&c, path, NULL), 200);
    CHECK_EQ(c->size, 0);
    CHECK(c->gzip == NULL);
    http1_release(c);
}

/* The head has promised more than the file has by now: the client is not left to wait for it, nor
 * does it take what comes for the whole. */
TEST(a_file_that_is_cut_short_meanwhile_ends_the_connection) {
    static char data[4000000];
    const char *path = write_file(folder(), "a.bin", data, sizeof data);
    http1_content *content;
    CHECK_EQ(http1_open(&content, path, NULL), 200);
    CHECK_NE(content->fd, XEV_INVALID_FD);
    int fd = start();
    w.content = content;
    send_text(fd, "GET /content HTTP/1.1\r\nHost: a\r\n\r\n");
    while (w.asked == 0) {
        run_once();
    }
    CHECK_EQ(truncate(path, 100000), 0);
    size_t len = recv_until(fd, NULL);
    CHECK(has("Content-Length: 4000000\r\n"));
    CHECK_LT(len, sizeof data);
    while (w.closed == 0 || content->refs > 1) {
        run_once();
    }
    CHECK_EQ(w.reason, XEV_CONN_FAILED);
    stop(fd);
    http1_release(content);
}

/* A client that asks for much and reads nothing is held to write_ms. */
TEST(a_client_that_never_reads_is_reset_in_time) {
    static char data[4000000];
    for (int made = 0; made < 2; made++) {
        http1_content *content;
        const char *path = write_file(folder(), "a.bin", data, sizeof data);
        CHECK_EQ(http1_open(&content, path, NULL), 200);
        int fd = start_with(0, 500);
        w.content = content;
        w.source.pieces = PIECES;
        send_text(fd, made != 0 ? GET_MADE : "GET /content HTTP/1.1\r\nHost: a\r\n\r\n");
        while (w.closed == 0 || content->refs > 1) {
            run_once();
        }
        CHECK_EQ(w.reason, XEV_CONN_WRITE_LATE);
        stop(fd);
        CHECK_EQ(w.source.released, made);
        http1_release(content);
    }
}

/* A connection that ends in the middle of a body gives back what it was lent. */
TEST(content_outlives_a_connection_that_is_reset) {
    static char data[4000000];
    const char *in = folder();
    for (int large = 0; large < 2; large++) {
        const char *path = write_file(in, "a.bin", data, large != 0 ? sizeof data : 250000);
        http1_content *content;
        CHECK_EQ(http1_open(&content, path, NULL), 200);
        int fd = start();
        w.content = content;
        send_text(fd,
                  "GET /content HTTP/1.1\r\nHost: a\r\nRange: bytes=0-100000,100001-,-1\r\n\r\n");
        while (w.asked == 0) {
            run_once();
        }
        stop(fd); /* with the reply in the socket: a reset */
        CHECK_EQ(content->refs, 1);
        http1_release(content);
    }
}
