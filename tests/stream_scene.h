/* What the tests of streams share: a stream whose other end the test reads, and requests that
 * record their results. */
#ifndef TESTS_STREAM_SCENE_H
#define TESTS_STREAM_SCENE_H

#include "tests/net_scene.h"

struct req {
    xev_write_req r;
    struct net *net;
    int calls, result, at;
    void (*then)(struct req *req, xev_stream *stream);
    struct req *other;
    void *user;
};

static void written(xev_loop *loop, xev_stream *stream, xev_write_req *r, int result,
                    void *userdata) {
    struct req *req = userdata;
    CHECK(r == &req->r);
    CHECK(loop == &req->net->loop);
    CHECK_EQ(req->calls, 0);
    req->calls++;
    req->result = result;
    req->at = ++req->net->clock;
    if (req->then != NULL) {
        req->then(req, stream);
    }
}

static void write_req(xev_stream *s, struct net *n, struct req *req, const void *buf, size_t len) {
    *req = (struct req){.net = n, .then = req->then, .other = req->other, .user = req->user};
    xev_stream_write(s, &req->r, buf, len, req, written);
    CHECK_EQ(req->calls, 0);
}

static void run_req(struct req *req) { run_until(req->net, &req->calls, 1); }

/* Read everything that is on fd now into a sink that grows. Does not wait. */
struct drain {
    int fd;
    char *data;
    size_t len, room;
    bool eof;
};

static void drain(struct drain *d) {
    for (;;) {
        if (d->len == d->room) {
            d->room = d->room != 0 ? 2 * d->room : 65536;
            d->data = realloc(d->data, d->room);
            CHECK(d->data != NULL);
        }
        ssize_t n = recv(d->fd, d->data + d->len, d->room - d->len, MSG_DONTWAIT);
        if (n < 0) {
            CHECK(errno == EAGAIN || errno == ECONNRESET);
            return;
        }
        if (n == 0) {
            d->eof = true;
            return;
        }
        d->len += (size_t)n;
    }
}

/* Run the loop and read the other end until *counter has reached at_least. */
static void pump(struct net *n, struct drain *d, const int *counter, int at_least) {
    while (*counter < at_least) {
        size_t before = d->len;
        drain(d);
        CHECK_EQ(xev_loop_run(&n->loop, XEV_RUN_NO_WAIT), 0);
        struct pollfd p = {.fd = d->fd, .events = POLLIN};
        (void)poll(&p, 1, d->len == before);
    }
    drain(d);
}

static void drain_until(struct drain *d, size_t len) {
    while (d->len < len) {
        wait_readable(d->fd);
        drain(d);
    }
}

static void pattern(char *data, size_t len, int seed) {
    uint32_t x = (uint32_t)seed * 2654435761u + 1;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (char)(x >> 24);
    }
}

struct scene {
    struct net n;
    xev_stream s;
    int fd[2];
    struct drain in;
};

static void open_scene(struct scene *sc, bool small) {
    net_open(&sc->n, NULL);
    if (small) {
        local_pair(sc->fd); /* once full it stays full until the other end is read */
    } else {
        tcp_pair(sc->fd);
    }
    if (small) {
        small_buffers(sc->fd[0]);
        small_buffers(sc->fd[1]);
    }
    xev_stream_init(&sc->s, &sc->n.loop, sc->fd[0]);
    sc->in = (struct drain){.fd = sc->fd[1]};
}

static void close_scene(struct scene *sc) {
    free(sc->in.data);
    close_fd(&sc->n, sc->fd[0]);
    CHECK_EQ(close(sc->fd[1]), 0);
    net_close(&sc->n);
}

#endif
