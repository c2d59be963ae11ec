/* Stale events: in one batch of events, the first callback cancels, closes, frees or reuses an
 * operation whose own event comes later in the same batch.
 *
 * Both operations are made ready before the loop polls. The kernel chooses which of the two events
 * comes first. So every case is run with both assignments of the roles, and must pass in both.
 */
#include <sys/un.h>

#include "tests/net_scene.h"

enum kind { RECV, RECV_MULTI, ACCEPT, ACCEPT_MULTI, SEND, KINDS };

enum deed { CANCEL, CANCEL_AND_REUSE, CLOSE, CLOSE_AND_RECYCLE, DEADLINE, DEEDS };

/* An operation in memory of its own, which is poisoned and freed in its terminal callback. */
struct victim {
    xev_completion c;
    struct scene *scene;
    int which;
    char buf[16];
};

struct side {
    int fd, peer;
    struct victim *victim; /* NULL: over and freed */
    int ends, result;
    int data_calls;
    bool closed; /* a close was submitted */
};

struct scene {
    struct net n;
    enum kind kind;
    enum deed deed;
    struct side side[2];
    bool struck; /* the first callback has done its deed */
    struct op cancel, closing;
    /* What uses the recycled number, or is submitted anew on the old one. */
    struct op fresh;
    char fresh_buf[16];
    int fresh_fd, fresh_peer;
    int accepted[16], accepted_count;
};

static xev_cb_action victim_called(xev_loop *loop, xev_completion *c, int result, void *userdata);

static void start(struct scene *sc, int which) {
    struct side *side = &sc->side[which];
    struct victim *v = malloc(sizeof *v);
    CHECK(v != NULL);
    memset(v, 0xa5, sizeof *v);
    v->scene = sc;
    v->which = which;
    side->victim = v;
    xev_tcp tcp = xev_tcp_from_fd(side->fd);
    xev_loop *loop = &sc->n.loop;
    switch (sc->kind) {
    case RECV:
        xev_tcp_recv(tcp, loop, &v->c, v->buf, sizeof v->buf, v, victim_called);
        break;
    case RECV_MULTI:
        xev_tcp_recv_multi(tcp, loop, &v->c, v, victim_called);
        break;
    case ACCEPT:
        xev_tcp_accept(tcp, loop, &v->c, v, victim_called);
        break;
    case ACCEPT_MULTI:
        xev_tcp_accept_multi(tcp, loop, &v->c, v, victim_called);
        break;
    default:
        memset(v->buf, 's', sizeof v->buf);
        xev_tcp_send(tcp, loop, &v->c, v->buf, sizeof v->buf, v, victim_called);
    }
}

static bool is_accept(const struct scene *sc) {
    return sc->kind == ACCEPT || sc->kind == ACCEPT_MULTI;
}

/* After the close of the other side: its number goes to a new pair at once. */
static xev_cb_action recycle(struct op *op, int result) {
    struct scene *sc = op->user;
    int fd[2], old = (int)op->sum;
    CHECK_EQ(result, 0);
    CHECK(!is_open(old));
    local_pair(fd);
    CHECK(fd[0] == old || fd[1] == old);
    sc->fresh_fd = old;
    sc->fresh_peer = fd[0] == old ? fd[1] : fd[0];
    op_new(&sc->fresh, &sc->n);
    xev_tcp_recv(xev_tcp_from_fd(old), &sc->n.loop, &sc->fresh.c, sc->fresh_buf,
                 sizeof sc->fresh_buf, &sc->fresh, op_called);
    return XEV_DISARM;
}

static xev_cb_action reuse(struct op *op, int result) {
    struct scene *sc = op->user;
    CHECK(result == 0 || result == XEV_ENOENT);
    /* The old one is over, its memory is gone; a new one on the same descriptor. */
    CHECK_EQ(sc->side[op->sum].ends, 1);
    CHECK(sc->side[op->sum].victim == NULL);
    sc->side[op->sum].ends = 0;
    start(sc, (int)op->sum);
    return XEV_DISARM;
}

static void strike(struct scene *sc, int other) {
    struct side *side = &sc->side[other];
    if (side->victim == NULL) {
        return; /* was first, after all */
    }
    xev_loop *loop = &sc->n.loop;
    switch (sc->deed) {
    case CANCEL:
    case CANCEL_AND_REUSE:
        op_new(&sc->cancel, &sc->n);
        sc->cancel.user = sc;
        sc->cancel.sum = other;
        sc->cancel.then = sc->deed == CANCEL_AND_REUSE ? reuse : NULL;
        xev_cancel(loop, &side->victim->c, &sc->cancel.c, &sc->cancel, op_called);
        break;
    case DEADLINE:
        xev_completion_set_timeout_ns(loop, &side->victim->c, 1);
        break;
    default:
        op_new(&sc->closing, &sc->n);
        sc->closing.user = sc;
        sc->closing.sum = side->fd;
        sc->closing.then = sc->deed == CLOSE_AND_RECYCLE ? recycle : NULL;
        side->closed = true;
        xev_tcp_close(xev_tcp_from_fd(side->fd), loop, &sc->closing.c, &sc->closing, op_called);
    }
}

static xev_cb_action victim_called(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct victim *v = userdata;
    struct scene *sc = v->scene;
    int which = v->which;
    struct side *side = &sc->side[which];
    CHECK(loop == &sc->n.loop);
    CHECK(side->victim == v && c == &v->c);
    CHECK_EQ(side->ends, 0);
    bool more = xev_completion_more(c);
    if (result >= 0) {
        side->data_calls++;
        if (is_accept(sc)) {
            CHECK_LT(sc->accepted_count, 16);
            sc->accepted[sc->accepted_count++] = result;
        } else if (sc->kind == RECV) {
            CHECK_EQ(result, 4);
            CHECK_MEM_EQ(v->buf, "data", 4);
        } else if (sc->kind == RECV_MULTI) {
            CHECK_EQ(result, 4);
            CHECK_MEM_EQ(xev_buf_data(loop), "data", 4);
        }
    } else {
        CHECK(result == XEV_ECANCELED || (sc->deed == DEADLINE && result == XEV_ETIMEDOUT));
        CHECK(!more);
    }
    if (!more) {
        side->ends++;
        side->result = result;
        side->victim = NULL;
        memset(v, 0x5a, sizeof *v);
        free(v);
    }
    if (!sc->struck) {
        sc->struck = true;
        strike(sc, 1 - which);
    }
    return more ? XEV_REARM : XEV_DISARM;
}

/* Who has connected to this one is there when connect returns; with TCP it may take the kernel some
 * time to notice. */
static int local_listener(void) {
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&any, sizeof any.sun_family), 0);
    CHECK_EQ(listen(fd, 4), 0);
    return fd;
}

static int local_connect(int listener) {
    struct sockaddr_un sa;
    socklen_t len = sizeof sa;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)(void *)&sa, &len), 0);
    CHECK_EQ(connect(fd, (struct sockaddr *)(void *)&sa, len), 0);
    return fd;
}

static void make_ready(struct scene *sc, int which) {
    struct side *side = &sc->side[which];
    if (is_accept(sc)) {
        side->peer = local_connect(side->fd);
    } else if (sc->kind == SEND) {
        static char sink[1 << 20];
        CHECK_GT(recv(side->peer, sink, sizeof sink, 0), 0);
        while (recv(side->peer, sink, sizeof sink, MSG_DONTWAIT) > 0) {
        }
    } else {
        plain_send(side->peer, "data", 4);
    }
}

/* first: the order in which the two are made ready; in_kernel: whether they waited before. */
static void run_case(enum kind kind, enum deed deed, int first, bool in_kernel) {
    struct scene scene, *sc = &scene;
    memset(sc, 0, sizeof *sc);
    sc->kind = kind;
    sc->deed = deed;
    sc->fresh_fd = sc->fresh_peer = -1;
    net_open(&sc->n, NULL);
    for (int i = 0; i < 2; i++) {
        int fd[2] = {-1, -1};
        if (is_accept(sc)) {
            fd[0] = local_listener();
        } else {
            local_pair(fd);
        }
        sc->side[i] = (struct side){.fd = fd[0], .peer = fd[1]};
        if (kind == SEND) {
            (void)fill(fd[0]);
        }
    }
    if (in_kernel) {
        for (int i = 0; i < 2; i++) {
            start(sc, i);
        }
        settle(&sc->n);
    }
    make_ready(sc, first);
    make_ready(sc, 1 - first);
    if (!in_kernel) {
        for (int i = 0; i < 2; i++) {
            start(sc, i);
        }
    }
    uint64_t before = sc->n.turns;
    for (int i = 0; i < 12; i++) { /* enough for all that is ready */
        CHECK_EQ(xev_loop_run(&sc->n.loop, XEV_RUN_NO_WAIT), 0);
    }
    CHECK(sc->struck);
    CHECK_LE(sc->n.turns - before, 12);
    if (sc->cancel.calls > 0) {
        CHECK_EQ(sc->cancel.ends, 1);
    }
    if (sc->closing.net != NULL) {
        CHECK_EQ(sc->closing.ends, 1);
    }

    /* The new operation on the recycled number hears of its own data only. */
    if (sc->fresh_fd >= 0) {
        CHECK_EQ(sc->fresh.calls, 0);
        plain_send(sc->fresh_peer, "fresh", 5);
        run_op(&sc->fresh);
        CHECK_EQ(sc->fresh.result, 5);
        CHECK_MEM_EQ(sc->fresh_buf, "fresh", 5);
    }
    /* Nothing goes round and round. */
    CHECK_LT(run_for(&sc->n, 15), 12);

    for (int i = 0; i < 2; i++) {
        struct side *side = &sc->side[i];
        if (side->victim != NULL) {
            struct op cancel;
            xev_cancel(&sc->n.loop, &side->victim->c, &op_new(&cancel, &sc->n)->c, &cancel,
                       op_called);
            run_op(&cancel);
            CHECK_EQ(cancel.result, 0);
        }
        CHECK_EQ(side->ends, 1);
        CHECK(side->victim == NULL);
        /* Whatever was not delivered is still in the socket: nothing is lost, nothing twice. */
        if (!side->closed && (kind == RECV || kind == RECV_MULTI)) {
            char rest[16];
            ssize_t n = recv(side->fd, rest, sizeof rest, MSG_DONTWAIT);
            CHECK_EQ(4 * side->data_calls + (n > 0 ? n : 0), 4);
        }
        if (!side->closed && is_accept(sc)) {
            int fd = xev_tcp_accept_now(xev_tcp_from_fd(side->fd));
            CHECK_EQ(side->data_calls + (fd >= 0), 1);
            if (fd >= 0) {
                CHECK_EQ(close(fd), 0);
            }
        }
    }
    for (int i = 0; i < 2; i++) {
        if (!sc->side[i].closed) {
            close_fd(&sc->n, sc->side[i].fd);
        }
        CHECK_EQ(close(sc->side[i].peer), 0);
    }
    if (sc->fresh_fd >= 0) {
        close_fd(&sc->n, sc->fresh_fd);
        CHECK_EQ(close(sc->fresh_peer), 0);
    }
    for (int i = 0; i < sc->accepted_count; i++) {
        CHECK_EQ(close(sc->accepted[i]), 0);
    }
    CHECK_EQ(xev_loop_active(&sc->n.loop), 0);
    net_close(&sc->n);
}

static void run_deed(enum deed deed) {
    for (int kind = 0; kind < KINDS; kind++) {
        for (int first = 0; first < 2; first++) {
            run_case((enum kind)kind, deed, first, true);
            run_case((enum kind)kind, deed, first, false);
        }
    }
}

TEST(cancelled_by_an_earlier_callback_of_the_batch) { run_deed(CANCEL); }

TEST(cancelled_and_reused_by_an_earlier_callback_of_the_batch) { run_deed(CANCEL_AND_REUSE); }

TEST(closed_by_an_earlier_callback_of_the_batch) { run_deed(CLOSE); }

TEST(closed_and_its_number_recycled_while_its_event_is_in_the_batch) {
    run_deed(CLOSE_AND_RECYCLE);
}

TEST(a_deadline_set_by_an_earlier_callback_passes_before_the_event_is_seen) { run_deed(DEADLINE); }

/* ---- a batch of many ---- */

enum { MANY = 300 };

struct crowd {
    struct net n;
    int fd[MANY], peer[MANY];
    struct op recv[MANY], closing[MANY];
    char buf[MANY][8];
    int closed;
};

/* The first callback closes everything else. */
static xev_cb_action close_the_rest(struct op *op, int result) {
    struct crowd *w = op->user;
    if (result == 4 && w->closed == 0) {
        for (int i = 0; i < MANY; i++) {
            op_new(&w->closing[i], &w->n);
            xev_tcp_close(xev_tcp_from_fd(w->fd[i]), &w->n.loop, &w->closing[i].c, &w->closing[i],
                          op_called);
            w->closed++;
        }
    }
    CHECK(result == 4 || result == XEV_ECANCELED);
    op->ends = result == XEV_ECANCELED; /* a result is repeated, which the close cancels */
    return XEV_REARM;
}

TEST(one_callback_closes_a_whole_batch) {
    static struct crowd w;
    net_open(&w.n, NULL);
    for (int i = 0; i < MANY; i++) {
        int fd[2];
        local_pair(fd);
        w.fd[i] = fd[0];
        w.peer[i] = fd[1];
        op_new(&w.recv[i], &w.n);
        w.recv[i].then = close_the_rest;
        w.recv[i].user = &w;
        xev_tcp_recv(xev_tcp_from_fd(fd[0]), &w.n.loop, &w.recv[i].c, w.buf[i], 8, &w.recv[i],
                     op_called);
    }
    settle(&w.n);
    for (int i = 0; i < MANY; i++) {
        plain_send(w.peer[i], "data", 4);
    }
    uint64_t before = w.n.turns;
    while (xev_loop_active(&w.n.loop) > 0) {
        CHECK_EQ(xev_loop_run(&w.n.loop, XEV_RUN_NO_WAIT), 0);
        CHECK_LT(w.n.turns - before, 50);
    }
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(w.closing[i].result, 0);
        CHECK_GE(w.recv[i].calls, 1);
        CHECK_LE(w.recv[i].calls, 2);
        CHECK_EQ(w.recv[i].result, XEV_ECANCELED);
        CHECK_EQ(close(w.peer[i]), 0);
    }
    net_close(&w.n);
}
