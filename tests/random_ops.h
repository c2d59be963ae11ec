/* The steps of a random program (random_test.c): they begin operations on random objects. */
#ifndef TESTS_RANDOM_OPS_H
#define TESTS_RANDOM_OPS_H

#include "tests/random_stream_ops.h"

static xev_cb_action called(xev_loop *loop, xev_completion *c, int result, void *userdata);
/* ---- descriptors ---- */

static struct chan **free_chan(struct world *w) {
    for (int i = 0; i < CHANS; i++) {
        if (w->chans[i] == NULL) {
            return &w->chans[i];
        }
    }
    return NULL;
}

static struct chan *add_chan(struct world *w, enum kind kind, int fd, int peer) {
    struct chan **at = free_chan(w);
    struct chan *ch = calloc(1, sizeof *ch);
    CHECK(at != NULL && ch != NULL);
    ch->w = w;
    ch->kind = kind;
    ch->fd = fd;
    ch->peer = peer;
    ch->seed = ++w->patterns << 8;
    w->patterns += 1u << 20; /* room for the seeds of datagrams */
    ch->connected = true;
    ch->slow = one_in(w, 3);
    ch->timed = one_in(w, 3);
    ch->streams = (w->mostly_streams || one_in(w, 2)) && (is_stream_socket(ch) || kind == PIPE_OUT);
    if (ch->streams) {
        init_stream(ch);
    }
    if (peer >= 0) {
        CHECK_EQ(fcntl(peer, F_SETFL, O_NONBLOCK), 0);
    }
    if (kind != PIPE_IN && kind != PIPE_OUT && kind != LISTENER && one_in(w, 2)) {
        int bytes = kind == UDP ? 1 << 20 : 4096 + (int)below(w, 8192);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    }
    TRACE(w, "  new %s %d, peer %d\n", kind_names[kind], fd, peer);
    *at = ch;
    return ch;
}

static void forget_callers(struct chan *ch) {
    for (int i = 0; i < CALLERS; i++) {
        if (ch->callers[i].port != 0) {
            CHECK_EQ(close(ch->callers[i].fd), 0);
            ch->callers[i].port = 0;
        }
    }
}

static void free_chan_at(struct chan **at) {
    struct chan *ch = *at;
    if (ch->peer >= 0) {
        CHECK_EQ(close(ch->peer), 0);
    }
    forget_callers(ch);
    free(ch->segs);
    free(ch->in);
    free(ch);
    *at = NULL;
}

static void udp_pair(int fd[2]) {
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int room = 1 << 20;
        fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        CHECK_GE(fd[i], 0);
        CHECK_EQ(bind(fd[i], (struct sockaddr *)(void *)&sa, sizeof sa), 0);
        CHECK_EQ(setsockopt(fd[i], SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
    }
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in sa = address_of(fd[1 - i]);
        CHECK_EQ(connect(fd[i], (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    }
}

static void pipe_pair(struct world *w, int fd[2]) {
    CHECK_EQ(pipe2(fd, O_CLOEXEC), 0);
    if (one_in(w, 2)) {
        (void)fcntl(fd[0], F_SETPIPE_SZ, 4096);
    }
}

static struct job *free_op(struct world *w) {
    for (int tries = 0; tries < 8; tries++) {
        struct job *op = &w->ops[1 + below(w, OPS - 1)];
        if (!op->active && !op->taken) {
            return op;
        }
    }
    return NULL;
}

static struct job *set_up(struct world *w, struct job *op, enum what what, struct chan *ch) {
    if (op->c == NULL) {
        op->c = malloc(sizeof *op->c);
        CHECK(op->c != NULL);
        memset(op->c, 0xa5, sizeof *op->c);
    }
    op->w = w;
    op->what = what;
    op->ch = ch;
    op->invalid = false;
    begin(op);
    TRACE(w, "  %s #%" PRIu64 " %s %d\n", what_names[what], op->serial,
          ch != NULL ? kind_names[ch->kind] : "", ch != NULL ? ch->fd : -1);
    return op;
}

static void connect_somewhere(struct world *w) {
    xev_tcp tcp;
    xev_addr at;
    struct job *op = free_op(w);
    if (op == NULL) {
        return;
    }
    CHECK_EQ(xev_tcp_init(&tcp, XEV_AF_INET), 0);
    CHECK_EQ(xev_addr_parse(&at, "127.0.0.1", 0), 0);
    CHECK_EQ(xev_tcp_bind(tcp, &at, false), 0);
    CHECK_EQ(xev_tcp_local_addr(tcp, &at), 0);
    struct chan *ch = add_chan(w, TCP, tcp.fd, -1);
    ch->port = (int)xev_addr_port(&at);
    ch->connecting = true;
    ch->connected = false;
    op = set_up(w, op, CONNECT, ch);
    ch->refused = one_in(w, 4);
    op->to = ch->refused ? w->deaf_addr : w->plain_addr;
    CALL(w, xev_tcp_connect(tcp, &w->loop, op->c, &op->to, op, called));
}

static void new_chan(struct world *w) {
    int fd[2];
    if (free_chan(w) == NULL || w->few) {
        return;
    }
    static const uint32_t writers[] = {0, 1, 1, 4};
    switch (w->mostly_streams ? writers[below(w, 4)] : below(w, 9)) {
    case 0:
        tcp_pair(fd);
        add_chan(w, TCP, fd[0], fd[1]);
        return;
    case 1:
    case 2:
        local_pair(fd);
        add_chan(w, UNIX, fd[0], fd[1]);
        return;
    case 3:
        pipe_pair(w, fd);
        add_chan(w, PIPE_IN, fd[0], fd[1]);
        return;
    case 4:
        pipe_pair(w, fd);
        add_chan(w, PIPE_OUT, fd[1], fd[0]);
        return;
    case 5:
        udp_pair(fd);
        add_chan(w, UDP, fd[0], fd[1]);
        return;
    case 6:
        add_chan(w, LISTENER, plain_listener(16), -1);
        return;
    case 7:
        local_pair(fd);
        add_chan(w, FOREIGN, fd[0], fd[1]);
        return;
    default:
        connect_somewhere(w);
    }
}

static struct chan *pick(struct world *w) {
    for (int tries = 0; tries < 8; tries++) {
        struct chan *ch = w->chans[below(w, CHANS)];
        if (ch != NULL && !ch->closed && (!ch->closing || one_in(w, 8))) {
            return ch;
        }
    }
    return NULL;
}

/* ---- accepting ---- */

/* A plain socket that asks a listener of the loop for a connection. */
static void call_listener(struct chan *ch) {
    for (int i = 0; i < CALLERS && !ch->closing; i++) {
        if (ch->callers[i].port == 0) {
            int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            CHECK_GE(fd, 0);
            plain_connect_fd(fd, ch->fd);
            ch->callers[i].fd = fd;
            ch->callers[i].port = ntohs(address_of(fd).sin_port);
            return;
        }
    }
}

static int peer_port(int fd) {
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    return getpeername(fd, (struct sockaddr *)(void *)&sa, &len) == 0 ? ntohs(sa.sin_port) : -1;
}

static void accepted(struct job *op) {
    struct world *w = op->w;
    struct chan *ch = op->ch;
    int port = peer_port(op->result), peer = -1;
    for (int i = 0; i < CALLERS; i++) {
        if (ch->callers[i].port == port) {
            peer = ch->callers[i].fd;
            ch->callers[i].port = 0;
        }
    }
    OP_HOLDS(op, peer >= 0 || ch->closing); /* the close ends the callers' connections */
    if (free_chan(w) != NULL && !w->quiet && !w->deinit && peer >= 0) {
        add_chan(w, TCP, op->result, peer);
        return;
    }
    CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(op->result)), 0);
    CHECK(peer < 0 || close(peer) == 0);
}

/* Accept the connections that the loop has made, and give them to their chans as peers. */
static void accept_plain(struct world *w) {
    int fd;
    while ((fd = accept4(w->plain, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        int port = peer_port(fd);
        struct chan *found = NULL;
        for (int i = 0; i < CHANS; i++) {
            struct chan *ch = w->chans[i];
            /* Not a chan that is gone: another socket may have had its port since. */
            if (ch != NULL && ch->connecting && !ch->refused && ch->port == port) {
                found = ch;
            }
        }
        if (found != NULL) {
            found->peer = fd;
            found->connecting = false;
        } else {
            CHECK_EQ(close(fd), 0);
        }
    }
}

/* ---- operations ---- */

static void set_pieces(struct job *op, uint32_t len, uint32_t pieces) {
    struct world *w = op->w;
    free(op->buf);
    op->buf = malloc(len);
    CHECK(op->buf != NULL);
    op->pieces = pieces < len ? pieces : len;
    uint32_t end = len;
    for (uint32_t i = 0; i < op->pieces; i++) { /* the pieces stand backwards in memory */
        uint32_t left = op->pieces - i - 1;
        uint32_t n = left == 0 ? end : 1 + below(w, end - left);
        end -= n;
        op->vec[i] = (xev_vec){op->buf + end, n};
    }
}

/* Each send has a pattern of its own. */
static void fill_send(struct job *op) {
    uint32_t at = 0;
    op->id = ++op->w->patterns;
    for (uint32_t i = 0; i < op->pieces; i++) {
        pattern_fill(op->vec[i].base, op->vec[i].len_bytes, op->id, at);
        at += (uint32_t)op->vec[i].len_bytes;
    }
}

static void begin_poll(struct world *w, struct job *op, struct chan *ch) {
    static const uint32_t masks[] = {XEV_POLL_IN, XEV_POLL_OUT, XEV_POLL_IN | XEV_POLL_HUP,
                                     XEV_POLL_IN | XEV_POLL_OUT | XEV_POLL_PRI};
    set_up(w, op, one_in(w, 2) ? POLL : POLL_MULTI, ch);
    op->mask = ch->kind == LISTENER || ch->kind == PIPE_IN ? XEV_POLL_IN : masks[below(w, 4)];
    if (op->what == POLL) {
        CALL(w, xev_fd_poll(ch->fd, &w->loop, op->c, op->mask, op, called));
    } else {
        CALL(w, xev_fd_poll_multi(ch->fd, &w->loop, op->c, op->mask, op, called));
    }
}

static void begin_udp(struct world *w, struct job *op, struct chan *ch) {
    xev_udp udp = xev_udp_from_fd(ch->fd);
    static const enum what whats[] = {RECV, RECVV, MULTI, SEND, SENDV};
    set_up(w, op, whats[below(w, 5)], ch);
    op->invalid = op->what == MULTI && w->options.buffer_bytes <= XEV_DATAGRAM_OVERHEAD;
    bool batch = op->what == RECVV || op->what == SENDV;
    set_pieces(op, 1 + below(w, 1400), batch ? 1 + below(w, PIECES) : 1);
    for (uint32_t i = 0; i < op->pieces; i++) {
        xev_datagram *d = &op->d[i];
        d->buf = op->vec[i].base;
        d->capacity_bytes = d->len_bytes = (uint32_t)op->vec[i].len_bytes;
        d->peer = (xev_addr){0};
        d->segment_bytes = 0;
    }
    if (op->what == RECV) {
        CALL(w, xev_udp_recv(udp, &w->loop, op->c, op->d, op, called));
    } else if (op->what == RECVV) {
        CALL(w, xev_udp_recv_batch(udp, &w->loop, op->c, op->d, op->pieces, op, called));
    } else if (op->what == MULTI) {
        CALL(w, xev_udp_recv_multi(udp, &w->loop, op->c, op->d, op, called));
    } else if (op->what == SEND) {
        fill_send(op);
        CALL(w, xev_udp_send(udp, &w->loop, op->c, op->d, op, called));
    } else {
        fill_send(op);
        CALL(w, xev_udp_send_batch(udp, &w->loop, op->c, op->d, op->pieces, op, called));
    }
}

static void begin_read(struct world *w, struct job *op, struct chan *ch) {
    xev_tcp tcp = xev_tcp_from_fd(ch->fd);
    static const enum what whats[] = {RECV, RECVV, LOAN, MULTI};
    set_up(w, op, whats[below(w, ch->kind == PIPE_IN ? 2 : 4)], ch);
    op->pieces = 0;
    if (op->what == LOAN) {
        CALL(w, xev_tcp_recv_loan(tcp, &w->loop, op->c, op, called));
        return;
    }
    if (op->what == MULTI) {
        CALL(w, xev_tcp_recv_multi(tcp, &w->loop, op->c, op, called));
        return;
    }
    set_pieces(op, size_up_to(w, 65536), op->what == RECV ? 1 : 1 + below(w, PIECES));
    size_t len = op->vec[0].len_bytes;
    op->invalid = one_in(w, 50);
    if (op->what == RECVV) {
        uint32_t count = op->invalid ? 0 : op->pieces;
        if (ch->kind == PIPE_IN) {
            CALL(w, xev_fd_readv(ch->fd, &w->loop, op->c, op->vec, count, op, called));
        } else {
            CALL(w, xev_tcp_recvv(tcp, &w->loop, op->c, op->vec, count, op, called));
        }
        return;
    }
    len = op->invalid ? 0 : len;
    if (ch->kind == PIPE_IN) {
        CALL(w, xev_fd_read(ch->fd, &w->loop, op->c, op->buf, len, op, called));
    } else {
        CALL(w, xev_tcp_recv(tcp, &w->loop, op->c, op->buf, len, op, called));
    }
}

static void begin_write(struct world *w, struct job *op, struct chan *ch) {
    xev_tcp tcp = xev_tcp_from_fd(ch->fd);
    if (ch->kind != PIPE_OUT && one_in(w, 60)) {
        set_up(w, op, SHUT, ch);
        CALL(w, xev_tcp_shutdown(tcp, &w->loop, op->c, op, called));
        return;
    }
    set_up(w, op, one_in(w, 2) ? SEND : SENDV, ch);
    set_pieces(op, size_up_to(w, 65536), op->what == SEND ? 1 : 1 + below(w, PIECES));
    fill_send(op);
    size_t len = op->vec[0].len_bytes;
    if (op->what == SENDV && ch->kind == PIPE_OUT) {
        CALL(w, xev_fd_writev(ch->fd, &w->loop, op->c, op->vec, op->pieces, op, called));
    } else if (op->what == SENDV) {
        CALL(w, xev_tcp_sendv(tcp, &w->loop, op->c, op->vec, op->pieces, op, called));
    } else if (ch->kind == PIPE_OUT) {
        CALL(w, xev_fd_write(ch->fd, &w->loop, op->c, op->buf, len, op, called));
    } else {
        CALL(w, xev_tcp_send(tcp, &w->loop, op->c, op->buf, len, op, called));
    }
}

/* Begin a random operation on ch. */
static void operate(struct world *w, struct job *op, struct chan *ch) {
    xev_tcp tcp = xev_tcp_from_fd(ch->fd);
    if (ch->kind == FOREIGN ? one_in(w, 3) : one_in(w, 6)) {
        begin_poll(w, op, ch);
    } else if (ch->kind == LISTENER) {
        set_up(w, op, one_in(w, 2) ? ACCEPT : ACCEPT_MULTI, ch);
        if (op->what == ACCEPT) {
            CALL(w, xev_tcp_accept(tcp, &w->loop, op->c, op, called));
        } else {
            CALL(w, xev_tcp_accept_multi(tcp, &w->loop, op->c, op, called));
        }
    } else if (ch->kind == UDP) {
        begin_udp(w, op, ch);
    } else if (ch->kind == PIPE_IN ||
               (ch->kind != PIPE_OUT && ch->kind != FOREIGN && one_in(w, 2))) {
        begin_read(w, op, ch);
    } else if (ch->streams) {
        write_stream(w, ch);
    } else if (ch->kind != FOREIGN) {
        begin_write(w, op, ch);
    }
}

static void arm(struct job *op, uint64_t before) {
    op->armed = ++op->w->armed;
    op->repeated = false;
    op->lo = before + op->timeout;
    op->hi = clock_ns() + op->timeout + 1;
}

static void begin_timer(struct world *w, struct job *op) {
    static const uint64_t times[] = {0, 1, 1000, 100000, 100000, 1000000, 3600 * 1000 * MS};
    set_up(w, op, TIMER, NULL);
    op->timeout = times[below(w, 7)];
    uint64_t before = clock_ns();
    if (one_in(w, 2) && op->timeout % MS == 0) {
        CALL(w, xev_timer_run(NULL, &w->loop, op->c, op->timeout / MS, op, called));
    } else {
        CALL(w, xev_timer_run_ns(NULL, &w->loop, op->c, op->timeout, op, called));
    }
    arm(op, before);
}

static void reset_timer(struct world *w, struct job *op) {
    if (!op->active || op->what != TIMER) {
        return;
    }
    uint32_t ms = below(w, 3);
    TRACE(w, "  reset #%" PRIu64 "\n", op->serial);
    uint64_t before = clock_ns();
    CALL(w, xev_timer_reset(NULL, &w->loop, op->c, NULL, ms, op, called));
    op->timeout = ms * MS;
    arm(op, before);
}

static void wait_async(struct world *w, struct job *op) {
    struct async *a = &w->asyncs[below(w, ASYNCS)];
    op->async = a;
    set_up(w, op, ASYNC, NULL);
    CALL(w, xev_async_wait(&a->watcher, &w->loop, op->c, op, called));
}

static void notify(struct world *w) {
    struct async *theirs = w->their_asyncs != NULL && one_in(w, 2) ? w->their_asyncs : w->asyncs;
    struct async *a = &theirs[below(w, ASYNCS)];
    if (theirs == w->asyncs) {
        a->owed = true;
    }
    atomic_fetch_add(&a->notifies, 1);
    CALL(w, xev_async_notify(&a->watcher));
}

static void cancel(struct world *w, struct job *op, struct job *target) {
    if (target == op || target->c == NULL) {
        return;
    }
    set_up(w, op, CANCEL, NULL);
    op->target = target;
    op->target_serial = target->serial;
    op->target_active = target->active;
    op->target_stopped = target->stopped;
    op->target_over = false;
    TRACE(w, "    of #%" PRIu64 "\n", target->serial);
    target->stopped |= target->active;
    CALL(w, xev_cancel(&w->loop, target->c, op->c, op, called));
}

static void close_chan(struct world *w, struct job *op, struct chan *ch) {
    if (ch->kind == FOREIGN) {
        return;
    }
    if (ch->kind == LISTENER) {
        forget_callers(ch);
    }
    set_up(w, op, CLOSE, ch);
    op->invalid = ch->closing;
    ch->closing = true;
    for (int i = 0; i < OPS + SPARE_OPS; i++) {
        w->ops[i].stopped |= w->ops[i].active && w->ops[i].ch == ch && w->ops[i].what != CLOSE;
    }
    if (ch->kind == UDP) {
        CALL(w, xev_udp_close((xev_udp){ch->fd}, &w->loop, op->c, op, called));
    } else if (is_stream_socket(ch) || ch->kind == LISTENER) {
        CALL(w, xev_tcp_close((xev_tcp){ch->fd}, &w->loop, op->c, op, called));
    } else {
        CALL(w, xev_fd_close(ch->fd, &w->loop, op->c, op, called));
    }
}

static void limit(struct world *w, struct job *op) {
    static const uint64_t limits[] = {0, 1, 100000, 1000000, 3600 * 1000 * MS};
    if (!op->active || op->what == TIMER || op->what == CANCEL || op->what == CLOSE) {
        return;
    }
    uint64_t ns = limits[below(w, 5)], before = clock_ns();
    TRACE(w, "  limit #%" PRIu64 " to %" PRIu64 "\n", op->serial, ns);
    CALL(w, xev_completion_set_timeout_ns(&w->loop, op->c, ns));
    if (op->deadline_lo == 0 ||
        op->deadline_lo > before) { /* else the earlier one may have passed */
        op->deadline_lo = ns > 0 ? before + ns : 0;
    }
}

static void refer(struct world *w, struct job *op) {
    if (op->active && op != &w->ops[0]) {
        op->unref = one_in(w, 2);
        CALL(w, (op->unref ? xev_completion_unref : xev_completion_ref)(op->c));
    }
}

static void peer_acts(struct world *w, struct chan *ch) {
    uint32_t n = below(w, 60);
    if (ch->kind == LISTENER) {
        if (!w->few) {
            call_listener(ch);
        }
    } else if (n < 30) {
        peer_feed(ch);
    } else if (n < 57) {
        (void)peer_read(ch);
    } else if (n == 57) {
        peer_shut(ch);
    } else if (n == 58) {
        peer_close(ch);
    }
}

/* ---- hooks ---- */

static void hook_called(xev_loop *loop, xev_hook *hook) {
    struct world *w = loop->userdata;
    int i = 0;
    while (&w->hooks[i].hook != hook) {
        CHECK_LT(++i, HOOKS);
    }
    xev_hook_when when = w->hooks[i].when;
    uint64_t number = w->hooks[i].number;
    bool in_turn = w->running && w->in_call == 0;
    HOLDS(w, in_turn || (w->preparing && when == XEV_HOOK_FLUSH));
    HOLDS(w, w->hooks[i].added && !w->in_callback);
    xev_loop_metrics m;
    xev_loop_metrics_get(loop, &m);
    bool first = w->hook_turn[when] != m.turns; /* each hook runs once in a turn, in order */
    bool behind =
        when == XEV_HOOK_FLUSH ? number < w->last_hook[when] : number > w->last_hook[when];
    HOLDS(w, first || behind);
    w->hook_turn[when] = m.turns;
    w->last_hook[when] = number;
    uint64_t rng = w->rng;
    w->rng = mix(w->seed ^ mix(m.turns) ^ w->callbacks ^ number);
    w->in_callback = true;
    if (one_in(w, 3)) {
        TRACE(w, "    hook\n");
        act(w);
    }
    w->in_callback = false;
    w->rng = rng;
}

static void change_hooks(struct world *w) {
    uint32_t i = below(w, HOOKS);
    if (w->hooks[i].added) {
        CALL(w, xev_loop_hook_remove(&w->loop, &w->hooks[i].hook));
    } else {
        w->hooks[i].when = (xev_hook_when)below(w, XEV_HOOK_TIMES);
        w->hooks[i].hook.callback = hook_called;
        w->hooks[i].number = ++w->hooks_added;
        CALL(w, xev_loop_hook_add(&w->loop, w->hooks[i].when, &w->hooks[i].hook));
    }
    w->hooks[i].added = !w->hooks[i].added;
}

/* Take one random step. */
static void act(struct world *w) {
    struct chan *ch = pick(w);
    struct job *op = free_op(w), *any = &w->ops[below(w, OPS)];
    if (w->quiet || (w->deinit && w->budget == 0) || op == NULL) {
        return;
    }
    w->budget -= w->deinit;
    uint32_t n = below(w, 100);
    if (n < 35 && ch != NULL) {
        operate(w, op, ch);
    } else if (n < 58 && ch != NULL) {
        peer_acts(w, ch);
    } else if (n < 63) {
        begin_timer(w, op);
    } else if (n < 65 && any != &w->ops[0]) {
        reset_timer(w, any);
    } else if (n < 69) {
        wait_async(w, op);
    } else if (n < 74) {
        notify(w);
    } else if (n < 82) {
        cancel(w, op, any);
    } else if (n < 88) {
        limit(w, any);
    } else if (n < 90 && ch != NULL) {
        close_chan(w, op, ch);
    } else if (n < 92) {
        release_held(w);
    } else if (n < 94) {
        if (ch != NULL && ch->streams) {
            change_stream(w, ch);
        }
    } else if (n < 95) {
        refer(w, any);
    } else if (n < 96) {
        if (!w->deinit) {
            change_hooks(w);
        }
    } else {
        new_chan(w);
    }
}

/* ---- callbacks ---- */

static bool can_repeat(const struct job *op) {
    bool over = op->result == XEV_ECANCELED || op->result == XEV_ETIMEDOUT || op->what == CANCEL ||
                op->what == CLOSE;
    bool connected = op->what == CONNECT && op->result != XEV_ECONNREFUSED;
    return !over && !connected && !op->late && (op->ch == NULL || !op->ch->closing);
}

/* Continue op's pieces behind the bytes that were moved. Possibly no byte is left then. */
static void advance(struct job *op, uint32_t bytes) {
    for (uint32_t i = 0; i < op->pieces; i++) {
        uint32_t n = bytes < op->vec[i].len_bytes ? bytes : (uint32_t)op->vec[i].len_bytes;
        op->vec[i].base = (uint8_t *)op->vec[i].base + n;
        op->vec[i].len_bytes -= n;
        bytes -= n;
    }
}

static void set_datagrams(struct job *op) {
    for (uint32_t i = 0; i < op->pieces; i++) {
        op->d[i].buf = op->vec[i].base;
        op->d[i].capacity_bytes = op->d[i].len_bytes = (uint32_t)op->vec[i].len_bytes;
    }
}

/* The memory that op's arguments point to may change before op is repeated. */
static void change_arguments(struct job *op) {
    struct world *w = op->w;
    struct chan *ch = op->ch;
    if (op->what == CONNECT) {
        ch->was_refused = true;
        ch->refused = one_in(w, 3);
        op->to = ch->refused ? w->deaf_addr : w->plain_addr;
        return;
    }
    bool udp = ch != NULL && ch->kind == UDP && op->what != MULTI && is_transfer(op->what);
    bool vectored = !udp && (op->what == RECVV || op->what == SENDV) && !op->invalid;
    if ((!udp && !vectored) || one_in(w, 2)) {
        return;
    }
    if (vectored && one_in(w, 2)) {
        advance(op, op->result > 0 && one_in(w, 2) ? (uint32_t)op->result : size_up_to(w, 4096));
    } else {
        uint32_t pieces = op->pieces;
        set_pieces(op, pieces + size_up_to(w, udp ? 1200 : 16384), pieces);
    }
    if (udp) {
        set_datagrams(op);
    }
    uint32_t left = 0;
    for (uint32_t i = 0; i < op->pieces; i++) {
        left += (uint32_t)op->vec[i].len_bytes;
    }
    op->invalid = left == 0;
    TRACE(w, "  changed to %u bytes\n", left);
}

/* The terminal callback of op: repeat it, begin another with its completion, or leave it. */
static xev_cb_action after(struct world *w, struct job *op) {
    if (w->quiet || w->deinit) {
        bury(op);
        return XEV_DISARM;
    }
    if (can_repeat(op) && one_in(w, 4)) {
        op->taken = true;
        act(w); /* operations that it begins come before the repetition */
        op->taken = false;
        if (!can_repeat(op)) {
            bury(op);
            return XEV_DISARM;
        }
        change_arguments(op);
        bool unref = op->unref;
        begin(op);
        op->unref = unref;
        if (op->what == TIMER) {
            op->repeated = true;
            op->armed = ++w->armed;
            op->lo += op->timeout;
            op->hi = UINT64_MAX;
        } else if (op->what == SEND || op->what == SENDV) {
            fill_send(op);
        }
        TRACE(w, "  again, as #%" PRIu64 "\n", op->serial);
        return XEV_REARM;
    }
    /* XEV_REARM and XEV_DISARM mean the same where nothing can be repeated. */
    bool cancelled = op->result == XEV_ECANCELED || op->result == XEV_ETIMEDOUT ||
                     op->what == CANCEL || op->what == CLOSE;
    struct chan *ch = pick(w);
    if (one_in(w, 5) && ch != NULL) {
        free(op->buf);
        op->buf = NULL;
        operate(w, op, ch);
        cancelled &= !op->active;
    } else if (!one_in(w, 3)) {
        bury(op);
        cancelled = false;
    }
    return cancelled && one_in(w, 2) ? XEV_REARM : XEV_DISARM;
}

static xev_cb_action called(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct job *op = userdata;
    struct world *w = op->w;
    check_callback(op, loop, c, result);
    w->in_callback = true;
    uint64_t rng = w->rng;
    w->rng = mix(w->seed ^ mix(op->serial) ^ w->callbacks);
    xev_cb_action action = XEV_REARM;
    if (op == &w->ops[0]) {
        action = XEV_DISARM;
        if (w->stop) {
            xev_loop_stop(loop);
        }
    } else if (op->active) {
        if (one_in(w, 2)) {
            act(w);
        }
        if (w->quiet || one_in(w, 8)) {
            action = XEV_DISARM;
            op->stopped = true;
            TRACE(w, "  stops #%" PRIu64 "\n", op->serial);
        }
    } else {
        action = after(w, op);
        if (one_in(w, 3) && action == XEV_DISARM) {
            act(w);
        }
    }
    w->rng = rng;
    w->in_callback = false;
    return action;
}

#endif
