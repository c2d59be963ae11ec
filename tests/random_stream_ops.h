/* The steps of a random program (random_test.c) that use write queues. */
#ifndef TESTS_RANDOM_STREAM_OPS_H
#define TESTS_RANDOM_STREAM_OPS_H

#include "tests/random_scene.h"

static void act(struct world *w);

#define STREAM_TIMEOUT_MS 1u

/* ---- what a stream reports of its queue ---- */

static uint64_t unsent_bytes(const struct chan *ch) {
    uint64_t n = 0;
    for (const struct req *r = ch->reqs; r != NULL; r = r->next) {
        n += r->len - r->r.sent_bytes;
    }
    return n;
}

static void check_queue(struct chan *ch) {
    HOLDS(ch->w, xev_stream_queued_bytes(&ch->stream) == unsent_bytes(ch));
    HOLDS(ch->w, xev_stream_is_full(&ch->stream) == ch->full);
}

/* Called outside callbacks, when the drain callbacks of all drained queues have run. */
static void check_queues(struct world *w) {
    for (int i = 0; i < CHANS; i++) {
        struct chan *ch = w->chans[i];
        if (ch != NULL && ch->streams && !ch->closed) {
            check_queue(ch);
            HOLDS(w, !ch->full || ch->closing || unsent_bytes(ch) > ch->low);
        }
    }
}

/* Whether ch's queue still counts bytes that its peer has read, or could read. */
static bool is_behind(const struct chan *ch) {
    int unread = 0;
    uint64_t told = ch->written;
    if (ch->reqs == NULL || ch->peer < 0 || ch->closing || ch->reset) {
        return false;
    }
    CHECK_EQ(ioctl(ch->peer, FIONREAD, &unread), 0);
    for (const struct req *r = ch->reqs; r != NULL; r = r->next) {
        told += r->r.sent_bytes;
    }
    return told < ch->peer_read + (uint64_t)unread;
}

static void drained(xev_loop *loop, xev_stream *stream, void *userdata) {
    struct chan *ch = userdata;
    struct world *w = ch->w;
    TRACE(w, "    drain of %d\n", ch->fd);
    HOLDS(w, stream == &ch->stream && loop == &w->loop);
    HOLDS(w, w->running && w->in_call == 0 && !w->in_callback);
    HOLDS(w, ch->full && !ch->closing && !w->deinit);
    ch->full = false;
    check_queue(ch);
    HOLDS(w, unsent_bytes(ch) <= ch->low);
    w->callbacks++;
    w->in_callback = true;
    if (one_in(w, 2)) {
        act(w);
    }
    w->in_callback = false;
}

static void set_marks(struct chan *ch) {
    struct world *w = ch->w;
    ch->high = one_in(w, 4) ? UINT64_MAX : below(w, 20000);
    ch->low = ch->high == UINT64_MAX || one_in(w, 2) ? ch->high : below(w, 1 + (uint32_t)ch->high);
    TRACE(w, "  marks of %d: %" PRIu64 ", %" PRIu64 "\n", ch->fd, ch->low, ch->high);
    int rc;
    CALL(w, rc = xev_stream_set_marks(&ch->stream, ch->low, ch->high, ch, drained));
    HOLDS(w, rc == 0);
    ch->full = unsent_bytes(ch) > ch->high;
    check_queue(ch);
}

static void init_stream(struct chan *ch) {
    struct world *w = ch->w;
    if (ch->kind == PIPE_OUT) {
        xev_stream_init_fd(&ch->stream, &w->loop, ch->fd);
    } else {
        xev_stream_init(&ch->stream, &w->loop, ch->fd);
    }
    xev_stream_set_timeout(&ch->stream, ch->timed ? STREAM_TIMEOUT_MS : 0);
    ch->low = ch->high = UINT64_MAX;
    if (one_in(w, 2)) {
        set_marks(ch);
    }
}

/* ---- requests ---- */

static void check_written(struct req *req, int result) {
    struct chan *ch = req->ch;
    struct world *w = ch->w;
    TRACE(w, "    request %u of %d: %d\n", req->id, ch->fd, result);
    HOLDS(w, w->running && w->in_call == 0 && !w->in_callback);
    if (result >= 0) {
        HOLDS(w, (uint32_t)result == req->len && !req->late);
        for (const struct req *o = ch->reqs; o != req; o = o->next) {
            HOLDS(w,
                  o != NULL && o->cancelled); /* requests end in order, except for cancelled ones */
        }
    } else if (result == XEV_ECANCELED) {
        HOLDS(w, req->cancelled || ch->closing || w->deinit);
    } else if (result == XEV_ETIMEDOUT) {
        /* The time limit is the stream's, not the request's. */
        uint64_t from = ch->busy_lo > ch->moved_lo ? ch->busy_lo : ch->moved_lo;
        /* A send that is being stopped for an older limit reports that, whatever is set since. */
        HOLDS(w,
              ch->limit_changed || (ch->timed && clock_ns() >= from + STREAM_TIMEOUT_MS * 1000000));
    } else {
        HOLDS(w, may_fail(ch, result) || (req->shut && result == XEV_ENOTCONN && may_be_over(ch)));
    }
    uint32_t bytes = req->r.sent_bytes;
    HOLDS(w, result < 0 || bytes == req->len);
    sent(ch, req->id, bytes);
    ch->moved_lo = result >= 0 ? w->run_began : ch->moved_lo;
    ch->broken |= result < 0 && bytes > 0;
}

static void written(xev_loop *loop, xev_stream *stream, xev_write_req *r, int result,
                    void *userdata) {
    struct req *req = userdata;
    struct chan *ch = req->ch;
    struct world *w = ch->w;
    HOLDS(w, r == &req->r && stream == &ch->stream && loop == &w->loop);
    check_written(req, result);
    struct req **at = &ch->reqs;
    while (*at != req) {
        at = &(*at)->next;
    }
    *at = req->next;
    check_queue(ch);
    free(req->buf);
    free(req);
    w->callbacks++;
    w->in_callback = true;
    if (one_in(w, 3)) {
        act(w);
    }
    w->in_callback = false;
}

static void write_stream(struct world *w, struct chan *ch) {
    struct req *req = calloc(1, sizeof *req), **at = &ch->reqs;
    uint32_t queued = 0;
    for (; *at != NULL; at = &(*at)->next) {
        queued++;
    }
    if (queued > 24) {
        free(req);
        return;
    }
    CHECK(req != NULL);
    *at = req;
    ch->busy_lo = queued == 0 ? clock_ns() : ch->busy_lo;
    ch->limit_changed &= queued > 0;
    req->ch = ch;
    req->late = ch->closing;
    req->shut = one_in(w, 60);
    req->id = ++w->patterns;
    ch->reset |= ch->peer_gone && ch->kind == TCP;
    TRACE(w, "  request %u of %d%s\n", req->id, ch->fd, req->shut ? ": shutdown" : "");
    if (req->shut && ch->kind != PIPE_OUT) {
        ch->shut = true;
        CALL(w, xev_stream_shutdown(&ch->stream, &req->r, req, written));
        return;
    }
    req->shut = false;
    req->len = one_in(w, 6) ? 0 : size_up_to(w, 65536);
    req->buf = malloc(req->len + 1);
    CHECK(req->buf != NULL);
    pattern_fill(req->buf, req->len, req->id, 0);
    CALL(w, xev_stream_write(&ch->stream, &req->r, req->buf, req->len, req, written));
    ch->full |= unsent_bytes(ch) > ch->high;
    check_queue(ch);
}

static void cancel_written(struct world *w, struct chan *ch) {
    uint32_t n = below(w, 4);
    struct req *req = ch->reqs;
    while (req != NULL && n-- > 0 && req->next != NULL) {
        req = req->next;
    }
    if (req != NULL) {
        int rc;
        CALL(w, rc = xev_stream_cancel(&ch->stream, &req->r));
        HOLDS(w, rc == 0 || rc == XEV_EALREADY || (rc == XEV_ENOENT && req->cancelled));
        req->cancelled |= rc == 0;
    }
}

static void change_stream(struct world *w, struct chan *ch) {
    if (one_in(w, 3)) {
        set_marks(ch);
    } else if (one_in(w, 4)) {
        ch->limit_changed |= ch->timed && ch->reqs != NULL;
        ch->timed = one_in(w, 2);
        ch->busy_lo = clock_ns();
        CALL(w, xev_stream_set_timeout(&ch->stream, ch->timed ? STREAM_TIMEOUT_MS : 0));
    } else {
        cancel_written(w, ch);
    }
}

#endif
