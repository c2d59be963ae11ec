/* Writes to a full socket wait for room, whatever else the peer does meanwhile: it may end its own
 * stream, or send an urgent byte. */
#include "tests/unix_scene.h"

/* More than a socket takes at a time. */
enum { LEN = 8 << 20, HALF = LEN / 2 };

enum way { SEND, SENDV, SEND_MSG, WRITE, WRITEV, STREAM, FD_STREAM, WAYS };

struct writing {
    struct net n;
    int fd[2];
    size_t filled;
    char *bytes;
    struct op op; /* its ends count those of a request, too */
    xev_vec vec[2];
    xev_unix_msg msg;
    xev_stream stream;
    xev_write_req req;
};

static void fill_socket(struct writing *w, bool blocking) {
    memset(w, 0, sizeof *w);
    net_open(&w->n, NULL);
    local_pair(w->fd);
    w->filled = fill(w->fd[0]);
    w->bytes = calloc(1, LEN);
    CHECK(w->bytes != NULL);
    if (!blocking) {
        CHECK_EQ(fcntl(w->fd[0], F_SETFL, O_NONBLOCK), 0);
    }
}

static void written(xev_loop *loop, xev_stream *stream, xev_write_req *r, int result,
                    void *userdata) {
    struct op *op = userdata;
    (void)loop;
    (void)stream;
    (void)r;
    op->calls++;
    op->ends++;
    op->result = result;
}

static void begin(struct writing *w, enum way way) {
    struct op *op = op_new(&w->op, &w->n);
    xev_tcp tcp = xev_tcp_from_fd(w->fd[0]);
    w->vec[0] = (xev_vec){w->bytes, HALF};
    w->vec[1] = (xev_vec){w->bytes + HALF, HALF};
    switch (way) {
    case SEND:
        xev_tcp_send(tcp, &w->n.loop, &op->c, w->bytes, LEN, op, op_called);
        break;
    case SENDV:
        xev_tcp_sendv(tcp, &w->n.loop, &op->c, w->vec, 2, op, op_called);
        break;
    case SEND_MSG:
        w->msg = message(w->bytes, LEN);
        do_send_msg(op, &w->n, xev_unix_from_fd(w->fd[0]), &w->msg);
        break;
    case WRITE:
        xev_fd_write(w->fd[0], &w->n.loop, &op->c, w->bytes, LEN, op, op_called);
        break;
    case WRITEV:
        xev_fd_writev(w->fd[0], &w->n.loop, &op->c, w->vec, 2, op, op_called);
        break;
    default:
        if (way == STREAM) {
            xev_stream_init(&w->stream, &w->n.loop, w->fd[0]);
        } else {
            xev_stream_init_fd(&w->stream, &w->n.loop, w->fd[0]);
        }
        xev_stream_write(&w->stream, &w->req, w->bytes, LEN, op, written);
    }
}

static void disturb(struct writing *w, bool urgent) {
    if (urgent) {
        CHECK_EQ(send(w->fd[1], "!", 1, MSG_OOB), 1);
    } else {
        CHECK_EQ(shutdown(w->fd[1], SHUT_WR), 0);
    }
    wait_readable(w->fd[0]);
}

static void end(struct writing *w) {
    close_fd(&w->n, w->fd[0]);
    CHECK_EQ(close(w->fd[1]), 0);
    free(w->bytes);
    net_close(&w->n);
}

/* Each way to write, on a blocking and a non-blocking descriptor, disturbed before and meanwhile.
 */
static void each(bool urgent, void (*check)(struct writing *w, enum way way)) {
    for (int way = 0; way < WAYS; way++) {
        for (int i = 0; i < 4; i++) {
            struct writing w;
            bool before = i / 2 == 0;
            fill_socket(&w, i % 2 == 0);
            if (before) {
                disturb(&w, urgent);
            }
            begin(&w, (enum way)way);
            settle(&w.n);
            if (!before) {
                disturb(&w, urgent);
            }
            check(&w, (enum way)way);
            end(&w);
        }
    }
}

/* The loop sleeps, and reports the part of the bytes for which there is room. A thread of the
 * kernel that waits in its stead would report no part. */
static void check_waits(struct writing *w, enum way way) {
    CHECK_LT(run_for(&w->n, 5), 10);
    CHECK_EQ(w->op.calls, 0);
    char *sink = malloc(w->filled);
    CHECK(sink != NULL);
    plain_recv(w->fd[1], sink, w->filled);
    free(sink);
    if (way < STREAM) {
        run_op(&w->op);
        CHECK(w->op.result > 0 && w->op.result < LEN);
        return;
    }
    while (xev_stream_queued_bytes(&w->stream) == LEN) {
        CHECK_EQ(xev_loop_run(&w->n.loop, XEV_RUN_NO_WAIT), 0); /* no callback ends a run */
    }
    settle(&w->n); /* it waits again */
    CHECK_EQ(w->op.calls, 0);
}

TEST(a_write_waits_for_room_after_the_peers_end) { each(false, check_waits); }

TEST(a_write_waits_for_room_after_an_urgent_byte) { each(true, check_waits); }

static void check_stops(struct writing *w, enum way way) {
    settle(&w->n);
    if (way < STREAM) {
        cancel_op(&w->op, 0);
    } else {
        CHECK_EQ(xev_stream_cancel(&w->stream, &w->req), 0);
        run_until(&w->n, &w->op.ends, 1);
    }
    CHECK_EQ(w->op.result, XEV_ECANCELED);
}

TEST(a_write_that_waits_for_room_after_the_peers_end_is_cancelled) { each(false, check_stops); }

static void check_fails(struct writing *w, enum way way) {
    (void)way;
    settle(&w->n);
    reset_close(w->fd[1]);
    run_until(&w->n, &w->op.ends, 1);
    CHECK(w->op.result == XEV_EPIPE || w->op.result == XEV_ECONNRESET);
    w->fd[1] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_GE(w->fd[1], 0);
}

TEST(a_write_that_waits_for_room_after_the_peers_end_meets_its_close) { each(false, check_fails); }
