/* The micro-benchmarks for libuv that use sockets; their twins stand in xev_bench_net.c. */
#include "bench/uv_bench.h"

#include <stdlib.h>
#include <string.h>

enum { BACKLOG = 128 };

/* As in libuv's own benchmarks: one buffer for all, of the size that it suggests. */
static void on_alloc(uv_handle_t *handle, size_t suggested_len, uv_buf_t *buf) {
    static char shared[64 * 1024];
    (void)handle;
    (void)suggested_len;
    *buf = uv_buf_init(shared, sizeof shared);
}

/* ---- two ends of one connection, on one loop ---- */

struct link {
    struct loop_bench_run *run;
    uv_loop_t loop;
    uv_tcp_t listener, client, server;
    uv_connect_t connect;
    int open; /* ends */
};

static void listen_on_loopback(uv_loop_t *loop, uv_tcp_t *tcp, uv_connection_cb cb,
                               struct sockaddr_in *at) {
    int len = sizeof *at;
    uv_bench_ok("address", uv_ip4_addr("127.0.0.1", 0, at));
    uv_bench_ok("socket", uv_tcp_init(loop, tcp));
    uv_bench_ok("bind", uv_tcp_bind(tcp, (const struct sockaddr *)at, 0));
    uv_bench_ok("listen", uv_listen((uv_stream_t *)tcp, BACKLOG, cb));
    uv_bench_ok("address", uv_tcp_getsockname(tcp, (struct sockaddr *)at, &len));
}

static void link_ready(struct link *link) {
    if (++link->open == 2) {
        uv_close((uv_handle_t *)&link->listener, NULL);
        uv_stop(&link->loop);
    }
}

static void on_link_accept(uv_stream_t *listener, int status) {
    struct link *link = listener->data;
    uv_bench_ok("accept", status);
    uv_bench_ok("socket", uv_tcp_init(&link->loop, &link->server));
    uv_bench_ok("accept", uv_accept(listener, (uv_stream_t *)&link->server));
    link_ready(link);
}

static void on_link_connect(uv_connect_t *req, int status) {
    uv_bench_ok("connect", status);
    link_ready(req->data);
}

static void link_open(struct link *link, struct loop_bench_run *run) {
    struct sockaddr_in at;
    link->run = run;
    uv_bench_loop_init(&link->loop, run);
    link->listener.data = link;
    link->connect.data = link;
    listen_on_loopback(&link->loop, &link->listener, on_link_accept, &at);
    uv_bench_ok("socket", uv_tcp_init(&link->loop, &link->client));
    uv_bench_ok("connect", uv_tcp_connect(&link->connect, &link->client,
                                          (const struct sockaddr *)&at, on_link_connect));
    (void)uv_run(&link->loop, UV_RUN_DEFAULT);
}

static void link_close(struct link *link) {
    uv_close((uv_handle_t *)&link->client, NULL);
    uv_close((uv_handle_t *)&link->server, NULL);
    uv_bench_loop_run(&link->loop);
    uv_bench_loop_close(&link->loop);
}

/* ---- ping_pongs ---- */

static const char ping[5] = "PING\n";

/* One end of the connection. The server sends back what it has received of a message so far. */
struct end {
    uv_stream_t *stream;
    uv_write_t write;
    char message[sizeof ping];
    size_t len;
    struct ping_pongs *all;
};

struct ping_pongs {
    struct link link;
    struct end client, server;
    int64_t pongs;
};

static void on_ping_sent(uv_write_t *req, int status) {
    (void)req;
    uv_bench_ok("write", status);
}

static void send_ping(struct end *end) {
    uv_buf_t buf = uv_buf_init(end->message, sizeof ping);
    uv_bench_ok("write", uv_write(&end->write, end->stream, &buf, 1, on_ping_sent));
}

static void on_ping_received(uv_stream_t *stream, ssize_t result, const uv_buf_t *buf) {
    struct end *end = stream->data;
    struct ping_pongs *all = end->all;
    uv_bench_ok("receive", (int)result);
    if (end->len + (size_t)result > sizeof ping) {
        loop_bench_fail("more than one message at a time");
    }
    memcpy(end->message + end->len, buf->base, (size_t)result);
    end->len += (size_t)result;
    if (end->len < sizeof ping) {
        return;
    }
    end->len = 0;
    if (memcmp(end->message, ping, sizeof ping) != 0) {
        loop_bench_fail("wrong bytes");
    }
    if (end == &all->client && ++all->pongs == all->link.run->count) {
        loop_bench_end(all->link.run);
        uv_stop(stream->loop);
    } else {
        send_ping(end);
    }
}

void bench_ping_pongs(struct loop_bench_run *run) {
    static struct ping_pongs all;
    link_open(&all.link, run);
    all.client = (struct end){.stream = (uv_stream_t *)&all.link.client, .all = &all};
    all.server = (struct end){.stream = (uv_stream_t *)&all.link.server, .all = &all};
    struct end *ends[] = {&all.client, &all.server};
    for (int i = 0; i < 2; i++) {
        ends[i]->stream->data = ends[i];
        uv_bench_ok("receive", uv_read_start(ends[i]->stream, on_alloc, on_ping_received));
    }
    memcpy(all.client.message, ping, sizeof ping);
    loop_bench_begin(run);
    send_ping(&all.client);
    (void)uv_run(&all.link.loop, UV_RUN_DEFAULT);
    loop_bench_expect("round trips", all.pongs, run->count);
    link_close(&all.link);
}

/* ---- one way: tcp_write_batch, tcp_pump ---- */

struct one_way {
    struct link link;
    uv_write_t write;
    uv_shutdown_t shutdown;
    int64_t begun, written, received_bytes;
    size_t write_bytes;
    size_t checked_bytes; /* of what one callback brings */
};

/* Receives until the end of the stream. */
static void on_received(uv_stream_t *stream, ssize_t result, const uv_buf_t *buf) {
    struct one_way *w = stream->data;
    if (result == UV_EOF) {
        uv_bench_ok("receive", uv_read_stop(stream));
        return;
    }
    uv_bench_ok("receive", (int)result);
    loop_bench_check_pattern(w->received_bytes, buf->base, (size_t)result, w->checked_bytes);
    w->received_bytes += result;
}

static void on_shutdown(uv_shutdown_t *req, int status) {
    (void)req;
    uv_bench_ok("shutdown", status);
}

static void one_way_shutdown(struct one_way *w) {
    uv_bench_ok("shutdown", uv_shutdown(&w->shutdown, (uv_stream_t *)&w->link.client, on_shutdown));
}

static void one_way_open(struct one_way *w, struct loop_bench_run *run, size_t write_bytes,
                         size_t checked_bytes) {
    link_open(&w->link, run);
    w->write_bytes = write_bytes;
    w->checked_bytes = checked_bytes;
    (void)loop_bench_pattern(0); /* made before it is measured */
    w->link.client.data = w;
    w->link.server.data = w;
    uv_bench_ok("receive", uv_read_start((uv_stream_t *)&w->link.server, on_alloc, on_received));
}

static void one_way_close(struct one_way *w) {
    int64_t bytes = w->link.run->count * (int64_t)w->write_bytes;
    loop_bench_expect("writes", w->written, w->link.run->count);
    loop_bench_expect("bytes received", w->received_bytes, bytes);
    loop_bench_figure(w->link.run, "mb_per_s",
                      (double)bytes * 1e3 / (double)w->link.run->used.wall_ns);
    link_close(&w->link);
}

static void on_batch_written(uv_write_t *req, int status) {
    struct one_way *w = req->handle->data;
    uv_bench_ok("write", status);
    w->written++;
}

static uv_buf_t piece_of_pattern(int64_t offset, size_t len) {
    return uv_buf_init((char *)(uintptr_t)loop_bench_pattern(offset), (unsigned)len);
}

void bench_tcp_write_batch(struct loop_bench_run *run) {
    static struct one_way w;
    one_way_open(&w, run, LOOP_BENCH_PATTERN_BYTES, LOOP_BENCH_PUMP_BYTES);
    uv_write_t *writes = loop_bench_memory((size_t)run->count, sizeof *writes);
    uv_buf_t buf = piece_of_pattern(0, w.write_bytes);
    loop_bench_begin(run);
    for (int64_t i = 0; i < run->count; i++) {
        uv_bench_ok("write",
                    uv_write(&writes[i], (uv_stream_t *)&w.link.client, &buf, 1, on_batch_written));
    }
    one_way_shutdown(&w);
    uv_bench_loop_run(&w.link.loop);
    loop_bench_end(run);
    one_way_close(&w);
    free(writes);
}

static void pump(struct one_way *w);

static void on_pumped(uv_write_t *req, int status) {
    struct one_way *w = req->handle->data;
    uv_bench_ok("write", status);
    if (++w->written < w->link.run->count) {
        pump(w);
    } else {
        one_way_shutdown(w);
    }
}

static void pump(struct one_way *w) {
    uv_buf_t buf = piece_of_pattern(w->begun++ * (int64_t)w->write_bytes, w->write_bytes);
    uv_bench_ok("write", uv_write(&w->write, (uv_stream_t *)&w->link.client, &buf, 1, on_pumped));
}

void bench_tcp_pump(struct loop_bench_run *run) {
    static struct one_way w;
    one_way_open(&w, run, LOOP_BENCH_PUMP_BYTES, LOOP_BENCH_PATTERN_BYTES);
    loop_bench_begin(run);
    pump(&w);
    uv_bench_loop_run(&w.link.loop);
    loop_bench_end(run);
    one_way_close(&w);
}

/* ---- udp_pummel ---- */

enum { DATAGRAM_BYTES = 45 };

struct udp {
    struct loop_bench_run *run;
    uv_udp_t in, out;
    uv_udp_send_t send;
    struct sockaddr_in peer;
    int64_t sends, receipts;
};

static void send_datagram(struct udp *u);

static void on_datagram_sent(uv_udp_send_t *req, int status) {
    struct udp *u = req->handle->data;
    uv_bench_ok("send", status);
    if (++u->sends < u->run->count) {
        send_datagram(u);
    }
}

static void send_datagram(struct udp *u) {
    uv_buf_t buf = piece_of_pattern(0, DATAGRAM_BYTES);
    uv_bench_ok("send", uv_udp_send(&u->send, &u->out, &buf, 1, (const struct sockaddr *)&u->peer,
                                    on_datagram_sent));
}

static void on_datagram(uv_udp_t *udp, ssize_t result, const uv_buf_t *buf,
                        const struct sockaddr *from, unsigned flags) {
    struct udp *u = udp->data;
    (void)flags;
    if (result == 0 && from == NULL) {
        return; /* libuv's way to say that there is no more for now */
    }
    loop_bench_expect("bytes received", result, DATAGRAM_BYTES);
    loop_bench_check_pattern(0, buf->base, DATAGRAM_BYTES, DATAGRAM_BYTES);
    if (++u->receipts == u->run->count) {
        loop_bench_end(u->run);
        uv_close((uv_handle_t *)&u->in, NULL);
    }
}

void bench_udp_pummel(struct loop_bench_run *run) {
    uv_loop_t loop;
    static struct udp u;
    int len = sizeof u.peer;
    u.run = run;
    uv_bench_loop_init(&loop, run);
    uv_bench_ok("address", uv_ip4_addr("127.0.0.1", 0, &u.peer));
    uv_bench_ok("socket", uv_udp_init(&loop, &u.in));
    uv_bench_ok("socket", uv_udp_init(&loop, &u.out));
    u.in.data = u.out.data = &u;
    uv_bench_ok("bind", uv_udp_bind(&u.in, (const struct sockaddr *)&u.peer, 0));
    uv_bench_ok("address", uv_udp_getsockname(&u.in, (struct sockaddr *)&u.peer, &len));
    uv_bench_ok("receive", uv_udp_recv_start(&u.in, on_alloc, on_datagram));
    (void)loop_bench_pattern(0); /* made before it is measured */
    loop_bench_begin(run);
    send_datagram(&u);
    uv_bench_loop_run(&loop);
    loop_bench_expect("datagrams sent", u.sends, run->count);
    loop_bench_expect("datagrams received", u.receipts, run->count);
    uv_close((uv_handle_t *)&u.out, NULL);
    uv_bench_loop_run(&loop);
    uv_bench_loop_close(&loop);
}

/* ---- accepts ---- */

struct accepts {
    struct loop_bench_run *run;
    uv_tcp_t listener;
    int64_t accepted, closed;
};

struct conn {
    uv_tcp_t tcp;
    uv_write_t write;
    struct accepts *all;
    size_t len;
    char bytes[LOOP_BENCH_ECHO_BYTES];
};

static void on_conn_closed(uv_handle_t *handle) {
    struct conn *conn = handle->data;
    struct accepts *all = conn->all;
    free(conn);
    if (++all->closed == all->run->count) {
        loop_bench_end(all->run);
        uv_close((uv_handle_t *)&all->listener, NULL);
    }
}

static void on_conn_sent(uv_write_t *req, int status) {
    uv_bench_ok("write", status);
    uv_close((uv_handle_t *)req->handle, on_conn_closed);
}

/* Into the connection's own memory, as much as there is to come. */
static void on_conn_alloc(uv_handle_t *handle, size_t suggested_len, uv_buf_t *buf) {
    struct conn *conn = handle->data;
    (void)suggested_len;
    *buf = uv_buf_init(conn->bytes + conn->len, (unsigned)(sizeof conn->bytes - conn->len));
}

static void on_conn_received(uv_stream_t *stream, ssize_t result, const uv_buf_t *buf) {
    struct conn *conn = stream->data;
    (void)buf;
    uv_bench_ok("receive", (int)result);
    conn->len += (size_t)result;
    if (conn->len == sizeof conn->bytes) {
        uv_buf_t echo = uv_buf_init(conn->bytes, sizeof conn->bytes);
        uv_bench_ok("receive", uv_read_stop(stream));
        uv_bench_ok("write", uv_write(&conn->write, stream, &echo, 1, on_conn_sent));
    }
}

static void on_accept(uv_stream_t *listener, int status) {
    struct accepts *all = listener->data;
    uv_bench_ok("accept", status);
    struct conn *conn = malloc(sizeof *conn);
    if (conn == NULL) {
        loop_bench_fail("no memory");
    }
    conn->all = all;
    conn->len = 0;
    uv_bench_ok("socket", uv_tcp_init(listener->loop, &conn->tcp));
    conn->tcp.data = conn;
    uv_bench_ok("accept", uv_accept(listener, (uv_stream_t *)&conn->tcp));
    all->accepted++;
    uv_bench_ok("receive",
                uv_read_start((uv_stream_t *)&conn->tcp, on_conn_alloc, on_conn_received));
}

void bench_accepts(struct loop_bench_run *run) {
    uv_loop_t loop;
    struct accepts all = {.run = run};
    struct sockaddr_in at;
    uv_bench_loop_init(&loop, run);
    all.listener.data = &all;
    listen_on_loopback(&loop, &all.listener, on_accept, &at);
    run->thread_cpu_only = true;
    loop_bench_begin(run);
    loop_bench_clients_start(run, ntohs(at.sin_port));
    uv_bench_loop_run(&loop);
    loop_bench_clients_join();
    loop_bench_expect("connections accepted", all.accepted, run->count);
    loop_bench_expect("connections closed", all.closed, run->count);
    uv_bench_loop_close(&loop);
}
