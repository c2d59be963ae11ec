/* The micro-benchmarks for xev that use sockets; their twins stand in uv_bench_net.c. */
#include "bench/xev_bench.h"

#include <stdlib.h>
#include <string.h>

enum { BACKLOG = 128 };

/* ---- two ends of one connection, on one loop ---- */

struct link {
    struct loop_bench_run *run;
    xev_loop loop;
    xev_tcp listener, client, server;
    xev_completion accept, connect, close[2];
};

static xev_tcp listen_on_loopback(xev_addr *at) {
    xev_tcp tcp;
    xev_bench_ok("address", xev_addr_parse(at, "127.0.0.1", 0));
    xev_bench_ok("socket", xev_tcp_init(&tcp, XEV_AF_INET));
    xev_bench_ok("bind", xev_tcp_bind(tcp, at, false));
    xev_bench_ok("listen", xev_tcp_listen(tcp, BACKLOG));
    xev_bench_ok("address", xev_tcp_local_addr(tcp, at));
    return tcp;
}

static xev_cb_action on_link_accept(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct link *link = userdata;
    (void)loop;
    (void)c;
    xev_bench_ok("accept", result);
    link->server = xev_tcp_from_fd(result);
    return XEV_DISARM;
}

static xev_cb_action on_done(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    xev_bench_ok(userdata, result);
    return XEV_DISARM;
}

static void link_open(struct link *link, struct loop_bench_run *run) {
    static char what[] = "connect";
    xev_addr at;
    link->run = run;
    xev_bench_loop_init(&link->loop, run, NULL);
    link->listener = listen_on_loopback(&at);
    xev_bench_ok("socket", xev_tcp_init(&link->client, XEV_AF_INET));
    xev_tcp_accept(link->listener, &link->loop, &link->accept, link, on_link_accept);
    xev_tcp_connect(link->client, &link->loop, &link->connect, &at, what, on_done);
    xev_bench_loop_run(&link->loop);
}

static void link_close(struct link *link) {
    static char what[] = "close";
    xev_tcp_close(link->client, &link->loop, &link->close[0], what, on_done);
    xev_tcp_close(link->server, &link->loop, &link->close[1], what, on_done);
    xev_tcp_close(link->listener, &link->loop, &link->accept, what, on_done);
    xev_bench_loop_run(&link->loop);
    xev_loop_deinit(&link->loop);
}

/* ---- ping_pongs ---- */

static const char ping[5] = "PING\n";

/* One end of the connection. The server sends back what it has received of a message so far. */
struct end {
    xev_tcp tcp;
    xev_completion recv, send;
    char message[sizeof ping];
    size_t len;
    struct ping_pongs *all;
};

struct ping_pongs {
    struct link link;
    struct end client, server;
    int64_t pongs;
    bool over;
};

static xev_cb_action on_ping_sent(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    loop_bench_expect("bytes sent", result, sizeof ping);
    return XEV_DISARM;
}

static void send_ping(struct end *end) {
    xev_tcp_send(end->tcp, &end->all->link.loop, &end->send, end->message, sizeof ping, NULL,
                 on_ping_sent);
}

static xev_cb_action on_ping_received(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    struct end *end = userdata;
    struct ping_pongs *all = end->all;
    (void)c;
    if (all->over && result < 0) {
        return XEV_DISARM;
    }
    xev_bench_ok("receive", result);
    if (end->len + (size_t)result > sizeof ping) {
        loop_bench_fail("more than one message at a time");
    }
    memcpy(end->message + end->len, xev_buf_data(loop), (size_t)result);
    end->len += (size_t)result;
    if (end->len < sizeof ping) {
        return XEV_REARM;
    }
    end->len = 0;
    if (memcmp(end->message, ping, sizeof ping) != 0) {
        loop_bench_fail("wrong bytes");
    }
    if (end == &all->client && ++all->pongs == all->link.run->count) {
        loop_bench_end(all->link.run);
        all->over = true;
        xev_loop_stop(loop);
    } else {
        send_ping(end);
    }
    return XEV_REARM;
}

void bench_ping_pongs(struct loop_bench_run *run) {
    static struct ping_pongs all;
    link_open(&all.link, run);
    all.client = (struct end){.tcp = all.link.client, .all = &all};
    all.server = (struct end){.tcp = all.link.server, .all = &all};
    struct end *ends[] = {&all.client, &all.server};
    for (int i = 0; i < 2; i++) {
        xev_tcp_recv_multi(ends[i]->tcp, &all.link.loop, &ends[i]->recv, ends[i], on_ping_received);
    }
    memcpy(all.client.message, ping, sizeof ping);
    loop_bench_begin(run);
    send_ping(&all.client);
    xev_bench_loop_run(&all.link.loop);
    loop_bench_expect("round trips", all.pongs, run->count);
    link_close(&all.link);
}

/* ---- one way: tcp_write_batch, tcp_pump ---- */

struct one_way {
    struct link link;
    xev_stream stream;
    xev_write_req write, shutdown;
    xev_completion recv;
    int64_t begun, written, received_bytes;
    size_t write_bytes;
    size_t checked_bytes; /* of what one callback brings */
};

/* Receives until the end of the stream. */
static xev_cb_action on_received(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct one_way *w = userdata;
    (void)c;
    if (result == XEV_EOF) {
        return XEV_DISARM;
    }
    xev_bench_ok("receive", result);
    loop_bench_check_pattern(w->received_bytes, xev_buf_data(loop), (size_t)result,
                             w->checked_bytes);
    w->received_bytes += result;
    return XEV_REARM;
}

static void on_shutdown(xev_loop *loop, xev_stream *stream, xev_write_req *req, int result,
                        void *userdata) {
    (void)loop;
    (void)stream;
    (void)req;
    (void)userdata;
    xev_bench_ok("shutdown", result);
}

static void one_way_open(struct one_way *w, struct loop_bench_run *run, size_t write_bytes,
                         size_t checked_bytes) {
    link_open(&w->link, run);
    w->write_bytes = write_bytes;
    w->checked_bytes = checked_bytes;
    (void)loop_bench_pattern(0); /* made before it is measured */
    xev_stream_init(&w->stream, &w->link.loop, w->link.client.fd);
    xev_tcp_recv_multi(w->link.server, &w->link.loop, &w->recv, w, on_received);
}

static void one_way_close(struct one_way *w) {
    int64_t bytes = w->link.run->count * (int64_t)w->write_bytes;
    loop_bench_expect("writes", w->written, w->link.run->count);
    loop_bench_expect("bytes received", w->received_bytes, bytes);
    loop_bench_figure(w->link.run, "mb_per_s",
                      (double)bytes * 1e3 / (double)w->link.run->used.wall_ns);
    link_close(&w->link);
}

static void on_batch_written(xev_loop *loop, xev_stream *stream, xev_write_req *req, int result,
                             void *userdata) {
    (void)loop;
    struct one_way *w = userdata;
    (void)stream;
    (void)req;
    loop_bench_expect("bytes written", result, (int64_t)w->write_bytes);
    w->written++;
}

void bench_tcp_write_batch(struct loop_bench_run *run) {
    static struct one_way w;
    one_way_open(&w, run, LOOP_BENCH_PATTERN_BYTES, LOOP_BENCH_PUMP_BYTES);
    xev_write_req *writes = loop_bench_memory((size_t)run->count, sizeof *writes);
    loop_bench_begin(run);
    for (int64_t i = 0; i < run->count; i++) {
        xev_stream_write(&w.stream, &writes[i], loop_bench_pattern(0), w.write_bytes, &w,
                         on_batch_written);
    }
    xev_stream_shutdown(&w.stream, &w.shutdown, NULL, on_shutdown);
    xev_bench_loop_run(&w.link.loop);
    loop_bench_end(run);
    one_way_close(&w);
    free(writes);
}

static void pump(struct one_way *w);

static void on_pumped(xev_loop *loop, xev_stream *stream, xev_write_req *req, int result,
                      void *userdata) {
    (void)loop;
    struct one_way *w = userdata;
    (void)req;
    loop_bench_expect("bytes written", result, (int64_t)w->write_bytes);
    if (++w->written < w->link.run->count) {
        pump(w);
    } else {
        xev_stream_shutdown(stream, &w->shutdown, NULL, on_shutdown);
    }
}

static void pump(struct one_way *w) {
    int64_t offset = w->begun++ * (int64_t)w->write_bytes;
    xev_stream_write(&w->stream, &w->write, loop_bench_pattern(offset), w->write_bytes, w,
                     on_pumped);
}

void bench_tcp_pump(struct loop_bench_run *run) {
    static struct one_way w;
    one_way_open(&w, run, LOOP_BENCH_PUMP_BYTES, LOOP_BENCH_PATTERN_BYTES);
    loop_bench_begin(run);
    pump(&w);
    xev_bench_loop_run(&w.link.loop);
    loop_bench_end(run);
    one_way_close(&w);
}

/* ---- udp_pummel ---- */

enum { DATAGRAM_BYTES = 45 };

struct udp {
    struct loop_bench_run *run;
    xev_udp in, out;
    xev_completion recv, send, close[2];
    xev_datagram arrived, sent;
    int64_t sends, receipts;
};

static xev_cb_action on_datagram_sent(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    struct udp *u = userdata;
    (void)loop;
    (void)c;
    loop_bench_expect("bytes sent", result, DATAGRAM_BYTES);
    return ++u->sends < u->run->count ? XEV_REARM : XEV_DISARM;
}

static xev_cb_action on_datagram(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct udp *u = userdata;
    static char what[] = "close";
    (void)c;
    if (u->receipts == u->run->count && result == XEV_ECANCELED) {
        return XEV_DISARM;
    }
    loop_bench_expect("bytes received", result, DATAGRAM_BYTES);
    loop_bench_check_pattern(0, u->arrived.buf, DATAGRAM_BYTES, DATAGRAM_BYTES);
    if (++u->receipts == u->run->count) {
        loop_bench_end(u->run);
        xev_udp_close(u->in, loop, &u->close[0], what, on_done);
    }
    return XEV_REARM;
}

void bench_udp_pummel(struct loop_bench_run *run) {
    xev_loop loop;
    static struct udp u;
    static char what[] = "close";
    xev_addr at;
    u.run = run;
    xev_bench_loop_init(&loop, run, NULL);
    xev_bench_ok("address", xev_addr_parse(&at, "127.0.0.1", 0));
    xev_bench_ok("socket", xev_udp_init(&u.in, XEV_AF_INET));
    xev_bench_ok("socket", xev_udp_init(&u.out, XEV_AF_INET));
    xev_bench_ok("bind", xev_udp_bind(u.in, &at, 0));
    xev_bench_ok("address", xev_udp_local_addr(u.in, &u.sent.peer));
    u.sent.data = loop_bench_pattern(0);
    u.sent.len_bytes = DATAGRAM_BYTES;
    xev_udp_recv_multi(u.in, &loop, &u.recv, &u.arrived, &u, on_datagram);
    loop_bench_begin(run);
    xev_udp_send(u.out, &loop, &u.send, &u.sent, &u, on_datagram_sent);
    xev_bench_loop_run(&loop);
    loop_bench_expect("datagrams sent", u.sends, run->count);
    loop_bench_expect("datagrams received", u.receipts, run->count);
    xev_udp_close(u.out, &loop, &u.close[1], what, on_done);
    xev_bench_loop_run(&loop);
    xev_loop_deinit(&loop);
}

/* ---- accepts ---- */

struct accepts {
    struct loop_bench_run *run;
    xev_tcp listener;
    xev_completion accept, close;
    int64_t accepted, closed;
};

struct conn {
    struct accepts *all;
    xev_tcp tcp;
    xev_completion c; /* one operation at a time */
    size_t len;
    char bytes[LOOP_BENCH_ECHO_BYTES];
};

static xev_cb_action on_conn_closed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct conn *conn = userdata;
    struct accepts *all = conn->all;
    static char what[] = "close";
    (void)c;
    xev_bench_ok("close", result);
    free(conn);
    if (++all->closed == all->run->count) {
        loop_bench_end(all->run);
        xev_tcp_close(all->listener, loop, &all->close, what, on_done);
    }
    return XEV_DISARM;
}

static xev_cb_action on_conn_sent(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct conn *conn = userdata;
    loop_bench_expect("bytes sent", result, LOOP_BENCH_ECHO_BYTES);
    xev_tcp_close(conn->tcp, loop, c, conn, on_conn_closed);
    return XEV_DISARM;
}

static xev_cb_action on_conn_received(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    struct conn *conn = userdata;
    xev_bench_ok("receive", result);
    conn->len += (size_t)result;
    if (conn->len < sizeof conn->bytes) {
        xev_tcp_recv(conn->tcp, loop, c, conn->bytes + conn->len, sizeof conn->bytes - conn->len,
                     conn, on_conn_received);
    } else {
        xev_tcp_send(conn->tcp, loop, c, conn->bytes, sizeof conn->bytes, conn, on_conn_sent);
    }
    return XEV_DISARM;
}

static xev_cb_action on_accept(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct accepts *all = userdata;
    (void)c;
    if (result == XEV_ECANCELED && all->closed == all->run->count) {
        return XEV_DISARM;
    }
    xev_bench_ok("accept", result);
    struct conn *conn = malloc(sizeof *conn);
    if (conn == NULL) {
        loop_bench_fail("no memory");
    }
    conn->all = all;
    conn->tcp = xev_tcp_from_fd(result);
    conn->len = 0;
    xev_completion_zero(&conn->c);
    all->accepted++;
    xev_tcp_recv(conn->tcp, loop, &conn->c, conn->bytes, sizeof conn->bytes, conn,
                 on_conn_received);
    return XEV_REARM;
}

void bench_accepts(struct loop_bench_run *run) {
    xev_loop loop;
    struct accepts all = {.run = run};
    xev_addr at;
    xev_bench_loop_init(&loop, run, NULL);
    all.listener = listen_on_loopback(&at);
    xev_tcp_accept_multi(all.listener, &loop, &all.accept, &all, on_accept);
    run->thread_cpu_only = true;
    loop_bench_begin(run);
    loop_bench_clients_start(run, (int)xev_addr_port(&at));
    xev_bench_loop_run(&loop);
    loop_bench_clients_join();
    loop_bench_expect("connections accepted", all.accepted, run->count);
    loop_bench_expect("connections closed", all.closed, run->count);
    xev_loop_deinit(&loop);
}
