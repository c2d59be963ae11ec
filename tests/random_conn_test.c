/* Random programs of connections against a model: what a peer sends comes back once, in order,
 * whichever way it is written, until something ends the connection; each ends once; limits hold. */
#include "tests/conn_scene.h"
#include "tests/random.h"

enum { CONNS = 12, STEPS = 1500, HIGH = 20000 };

struct peer {
    struct rec rec;
    int fd;      /* -1: closed */
    bool shut;   /* its writing side */
    bool broken; /* what comes may stop anywhere */
    size_t sent, got;
    xev_conn_slot *slots[8];
    char *kept[8];
    size_t kept_len[8];
    int slots_len;
};

static struct peer peers[CONNS];
static struct {
    uint64_t seed, rng;
    bool ending; /* nothing is held back any more */
} world;
static int lent, released;

static uint32_t pick(uint32_t n) { return below(&world, n); }

static void on_release(void *userdata) {
    free(userdata);
    released++;
}

static void fill_first(struct peer *p, int at) {
    xev_conn_fill(p->slots[at], p->kept[at], p->kept_len[at]);
    free(p->kept[at]);
    p->slots_len--;
    for (int i = at; i < p->slots_len; i++) {
        p->slots[i] = p->slots[i + 1];
        p->kept[i] = p->kept[i + 1];
        p->kept_len[i] = p->kept_len[i + 1];
    }
}

static char *copy_of(const char *data, size_t len) {
    char *copy = malloc(len);
    CHECK(copy != NULL);
    return memcpy(copy, data, len);
}

/* A write may find that the peer is gone; nothing is checked then but that it all ends. */
static bool went(int rc) {
    CHECK(rc == 0 || rc == XEV_EPIPE);
    return rc == 0;
}

/* Echo n bytes in some way. */
static void send_back(struct peer *p, const char *data, size_t n) {
    xev_conn *c = p->rec.conn;
    switch (world.ending ? 5 : pick(6)) {
    case 0: {
        size_t half = n / 2;
        const xev_vec vec[] = {{(void *)(uintptr_t)data, half},
                               {(void *)(uintptr_t)(data + half), n - half}};
        (void)went(xev_conn_writev(c, vec, 2));
        break;
    }
    case 1: {
        char *copy = copy_of(data, n);
        if (went(xev_conn_write_lent(c, copy, n, copy, on_release))) {
            lent++;
        } else {
            free(copy);
        }
        break;
    }
    case 2:
        if (p->slots_len < 8) {
            xev_conn_slot *slot = xev_conn_reserve(c);
            if (slot == NULL) {
                break; /* it is closing */
            }
            p->slots[p->slots_len] = slot;
            p->kept[p->slots_len] = copy_of(data, n);
            p->kept_len[p->slots_len++] = n;
            break;
        } /* fall through */
    case 3:
        if (pick(4) == 0) {
            xev_conn_cork(c);
        } /* fall through */
    default: {
        char *copy = copy_of(data, n); /* not the loaned buffer's */
        (void)went(xev_conn_write(c, pick(2) == 0 ? data : copy, n));
        free(copy);
        break;
    }
    }
}

static ptrdiff_t echoes(struct rec *r, const char *data, size_t len) {
    struct peer *p = (struct peer *)(void *)r; /* its first member */
    check_pattern(data, len, r->number);
    CHECK_LE(xev_conn_queued_bytes(r->conn), HIGH + 200000);
    size_t n = pick(3) == 0 && !world.ending ? pick((uint32_t)len + 1) : len;
    if (n == 0) {
        if (pick(2) == 0) {
            xev_conn_need(r->conn, len + pick(300));
        } else if (pick(8) == 0) {
            xev_conn_pause(r->conn);
        }
        return 0;
    }
    send_back(p, data, n);
    r->number += n;
    r->got_len = 0; /* the record keeps nothing */
    return (ptrdiff_t)n;
}

static void ends(struct rec *r) { xev_conn_finish(r->conn); }

static void begin(struct scene *s, struct peer *p) {
    int fd[2];
    char *got = p->rec.got;
    memset(p, 0, sizeof *p);
    p->rec.scene = s;
    p->rec.got = got;
    p->rec.data = echoes;
    p->rec.on_ended = ends;
    if (pick(2) == 0) {
        tcp_pair(fd);
    } else {
        local_pair(fd);
    }
    if (pick(2) == 0) {
        small_buffers(fd[0]);
        small_buffers(fd[1]);
    }
    rec_adopt(&p->rec, fd[0]);
    p->fd = fd[1];
}

static void peer_sends(struct peer *p) {
    static char bytes[30000];
    size_t n = pick(4) == 0 ? pick(sizeof bytes) : pick(200);
    pattern(bytes, n, p->sent);
    ssize_t done = n > 0 ? send(p->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    p->sent += done > 0 ? (size_t)done : 0;
}

static void peer_reads(struct peer *p) {
    static char bytes[40000];
    ssize_t n = recv(p->fd, bytes, 1 + pick(sizeof bytes - 1), MSG_DONTWAIT);
    if (n > 0) {
        check_pattern(bytes, (size_t)n, p->got);
        p->got += (size_t)n;
        CHECK_LE(p->got, p->sent);
    }
}

static void peer_closes(struct peer *p) {
    if (p->fd >= 0) {
        CHECK_EQ(close(p->fd), 0);
        p->fd = -1;
    }
}

static void step(struct scene *s, struct peer *p) {
    xev_conn *c = p->rec.conn;
    if (c == NULL && p->slots_len == 0) {
        peer_closes(p);
        begin(s, p);
        return;
    }
    if (p->slots_len > 0 && pick(3) == 0) {
        fill_first(p, (int)pick((uint32_t)p->slots_len));
    }
    switch (pick(30)) {
    case 0:
        if (p->fd >= 0 && !p->shut) {
            p->shut = true;
            CHECK_EQ(shutdown(p->fd, SHUT_WR) == 0 || errno == ENOTCONN, 1);
        }
        break;
    case 1:
        if (c != NULL && pick(4) == 0) {
            xev_conn_abort(c);
        } else if (c != NULL && pick(4) == 0) {
            xev_conn_finish(c);
        } else if (c != NULL && pick(4) == 0) {
            xev_conn_drain(c);
        }
        break;
    case 2:
        if (pick(4) == 0) {
            peer_closes(p);
        }
        break;
    case 3:
    case 4:
    case 5:
        if (c != NULL) {
            xev_conn_resume(c);
        }
        break;
    default:
        if (p->fd >= 0 && !p->shut && pick(2) == 0) {
            peer_sends(p);
        } else if (p->fd >= 0) {
            peer_reads(p);
        }
    }
}

static void program(uint64_t seed) {
    struct scene s;
    fprintf(stderr, "seed %llu\n", (unsigned long long)seed); /* the last one, where it fails */
    world.seed = seed;
    world.rng = mix(seed);
    world.ending = false;
    lent = released = 0;
    uint32_t low = pick(HIGH) + 1, unsent = pick(2) == 0 ? 0 : 1 + pick(HIGH);
    scene_open_options(
        &s, NULL, (xev_conn_options){.high_bytes = HIGH, .low_bytes = low, .unsent_bytes = unsent});
    for (int i = 0; i < CONNS; i++) {
        peers[i].rec.got = malloc(GOT_MAX);
        begin(&s, &peers[i]);
    }
    for (int i = 0; i < STEPS; i++) {
        step(&s, &peers[pick(CONNS)]);
        if (pick(3) == 0) {
            CHECK_EQ(xev_loop_run(&s.net.loop, XEV_RUN_NO_WAIT), 0);
        }
    }
    world.ending = true;
    for (int i = 0; i < CONNS; i++) {
        struct peer *p = &peers[i];
        while (p->slots_len > 0) {
            fill_first(p, 0);
        }
        if (pick(4) != 0) { /* some are left to the loop's end */
            peer_closes(p);
            if (p->rec.conn != NULL) {
                xev_conn_resume(p->rec.conn);
                run_to(&s, &p->rec.closeds, 1);
            }
        }
    }
    xev_conn_counters before = counters_of(&s);
    uint64_t closed = 0;
    for (int i = 0; i < XEV_CONN_REASONS; i++) {
        closed += before.closed[i];
    }
    CHECK_EQ(before.opened, closed + before.connections);
    CHECK_EQ(before.closed[XEV_CONN_OUTPUT_FULL], 0);
    for (int i = 0; i < CONNS; i++) {
        peer_closes(&peers[i]);
    }
    scene_close(&s);
    for (int i = 0; i < CONNS; i++) {
        CHECK_EQ(peers[i].rec.closeds, 1);
        rec_free(&peers[i].rec);
    }
    CHECK_EQ(released, lent);
}

TEST_TIMEOUT(random_programs_lose_nothing, 120) {
    for_seeds(test_slowdown() > 1 ? 15 : 60, program);
}
