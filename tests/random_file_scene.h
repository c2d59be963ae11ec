/* The model behind random_file_test.c: the contents of files, and the results that operations may
 * have.
 *
 * A world is one loop with a pool, the test's requests (jobs) and a few paths (slots). At most one
 * descriptor of the loop (a file) has a slot open. The files of a slot are used in one of two ways.
 * At the position: operations run one after the other, so the bytes that each of them finds are
 * known. At offsets: operations run side by side, and each byte that is read must come from a write
 * that may have left it there. The test also opens descriptors of its own (foreign ones). They get
 * numbers that the loop has closed, and the loop must never touch them.
 */
#ifndef TESTS_RANDOM_FILE_SCENE_H
#define TESTS_RANDOM_FILE_SCENE_H

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "tests/random.h"
#include "xev/xev.h"

enum {
    JOBS = 40,
    FILES = 6,
    SLOTS = 4,
    FOREIGNERS = 4,
    PIECES = 3,
    GATES = 2,
    HOOKS = 3,
    JOB_BYTES = 192,
    FIXED_BYTES = 512, /* size of a file that is used at offsets */
    SLOT_BYTES = 16384,
    WRITES = 256,
};

#define NEVER UINT64_MAX

enum what {
    CANCEL,
    GATE, /* holds a thread of the pool until the test opens it */
    OPEN,
    CLOSE,
    FSYNC,
    STAT,
    PREAD, /* this and those below are at an offset */
    PREADV,
    PWRITE,
    PWRITEV,
    READ, /* this and those below are at the position */
    READV,
    WRITE,
    WRITEV,
};

static const char *const what_names[] = {"cancel", "gate",  "open",   "close",  "fsync",
                                         "stat",   "pread", "preadv", "pwrite", "pwritev",
                                         "read",   "readv", "write",  "writev"};

struct world;

/* A write at an offset, with the stamps of its beginning and its end. Each submission and each
 * callback makes a new stamp. */
struct write {
    uint32_t id, at, len;
    uint64_t began, ended;
};

struct slot {
    char path[64];
    bool fixed; /* used at offsets; else at the position */
    bool by_fd; /* used by the calls of fd.h, which need no thread of the pool */
    bool taken; /* a file or an open uses it */
    uint32_t size, room_used;
    uint8_t content[SLOT_BYTES]; /* not fixed: its contents after the results so far */
    struct write writes[WRITES]; /* fixed: all writes so far */
    uint32_t writes_len;
};

struct file {
    bool used;
    int fd;
    struct slot *slot;
    bool append, closing, closed;
    bool writes; /* by_fd: whether it is written or read; each direction has an order of its own */
    bool given_away; /* its number belongs to another file before the close reports */
    uint64_t pos, order;
    uint32_t ops, early_ops; /* active operations; those of them that were begun before the close */
};

struct gate {
    sem_t open;
    bool active, opened;
};

struct job {
    xev_file_req r;
    struct world *w;
    enum what what;
    struct file *f;
    struct slot *slot;
    uint64_t serial, order, began;
    bool active, stopped, late, invalid, overtaken, by_fd;
    bool taken;   /* its callback is running, and may repeat it */
    bool closing; /* begun when the close may have reached the system */
    uint64_t deadline_lo;
    uint32_t flags, id, at, size_lo, pieces;
    struct write *write;
    struct job *target; /* the operation that a cancel stops */
    uint64_t target_serial;
    bool target_active, target_stopped, target_over;
    int target_result;
    struct gate *gate;
    xev_vec vec[PIECES];
    uint8_t buf[JOB_BYTES];
};

struct foreigner {
    int fd; /* -1: none */
    dev_t device;
    ino_t inode;
};

struct world {
    uint64_t seed, rng;
    bool trace;
    xev_loop loop;
    bool pool, running, in_callback, deinit, quiet;
    bool waits; /* the loop waits for events, so all gates are open */
    int in_call;
    uint64_t serial, stamp, callbacks;
    uint32_t active, opens, patterns, budget;
    struct job guard;
    struct job jobs[JOBS];
    struct file files[FILES];
    struct slot slots[SLOTS];
    struct foreigner foreigners[FOREIGNERS];
    struct gate gates[GATES];
    struct {
        xev_hook hook;
        bool added;
        xev_hook_when when;
        uint64_t order;
    } hooks[HOOKS];
    uint64_t hook_order, last_hook[XEV_HOOK_TIMES], hook_turn[XEV_HOOK_TIMES];
    struct stat foreign_stat;
};

#define JOB_HOLDS(j, res, cond)                                                                    \
    ((cond) ? (void)0                                                                              \
            : CHECK_FAIL("seed %" PRIu64 ": %s #%" PRIu64 ", result %d: not true: %s",             \
                         (j)->w->seed, what_names[(j)->what], (j)->serial, (res), #cond))

static inline bool at_position(enum what what) { return what >= READ; }
static inline bool at_offset(enum what what) { return what >= PREAD && what < READ; }
static inline bool is_write(enum what what) {
    return what == PWRITE || what == PWRITEV || what >= WRITE;
}
static inline bool is_vectored(enum what what) {
    return what == PREADV || what == PWRITEV || what == READV || what == WRITEV;
}

static inline uint32_t bytes_of(const struct job *j) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < j->pieces; i++) {
        n += (uint32_t)j->vec[i].len_bytes;
    }
    return n;
}

/* Byte number i of the pieces. */
static inline uint8_t *byte_of(struct job *j, uint32_t i) {
    for (uint32_t p = 0; p < j->pieces; p++) {
        if (i < j->vec[p].len_bytes) {
            return (uint8_t *)j->vec[p].base + i;
        }
        i -= (uint32_t)j->vec[p].len_bytes;
    }
    CHECK_FAIL("no such byte");
}

/* ---- which file has which descriptor ---- */

/* The system has given fd to a new file. Only a file whose close has reached the system, and has
 * not been reported, may still have that number. */
static void check_free(struct world *w, int fd) {
    for (int i = 0; i < FILES; i++) {
        struct file *f = &w->files[i];
        if (f->used && !f->closed && f->fd == fd) {
            HOLDS(w, f->closing && f->early_ops == 0);
            f->given_away = true;
        }
    }
    for (int i = 0; i < FOREIGNERS; i++) {
        HOLDS(w, w->foreigners[i].fd != fd);
    }
}

static void check_foreigner(struct world *w, const struct foreigner *o) {
    struct stat st;
    HOLDS(w, fstat(o->fd, &st) == 0);
    HOLDS(w, st.st_dev == o->device && st.st_ino == o->inode);
}

static bool is_somebodys(struct world *w, int fd) {
    bool yes = w->opens > 0; /* an open that is under way may have got it */
    for (int i = 0; i < FILES; i++) {
        yes |= w->files[i].used && !w->files[i].closed && w->files[i].fd == fd;
    }
    for (int i = 0; i < FOREIGNERS; i++) {
        yes |= w->foreigners[i].fd == fd;
    }
    return yes;
}

/* Whether f's number may be another file's by now, as the close of f may have reached the system.
 * An operation on the number would reach that other file, so a program must not begin one. */
static bool is_anothers(struct world *w, const struct file *f) {
    return f->given_away || (f->closing && f->early_ops == 0 && w->opens > 0);
}

/* ---- which results an operation may have ---- */

/* Whether a read that lasted from `from` to `to` may have found value at offset `at`. */
static bool may_hold(const struct slot *s, uint32_t at, uint8_t value, uint64_t from, uint64_t to) {
    uint64_t settled = 0; /* writes that ended before this one began are overwritten */
    for (uint32_t i = 0; i < s->writes_len; i++) {
        const struct write *wr = &s->writes[i];
        bool covers = wr->at <= at && at < wr->at + wr->len;
        if (covers && wr->ended < from && wr->began > settled) {
            settled = wr->began;
        }
    }
    for (uint32_t i = 0; i < s->writes_len; i++) {
        const struct write *wr = &s->writes[i];
        bool covers = wr->at <= at && at < wr->at + wr->len;
        if (covers && wr->began < to && wr->ended > settled &&
            pattern_at(wr->id, at - wr->at) == value) {
            return true;
        }
    }
    return false;
}

static void check_offset(struct job *j, int result) {
    uint32_t len = bytes_of(j), left = j->at < FIXED_BYTES ? FIXED_BYTES - j->at : 0;
    if (is_write(j->what)) {
        JOB_HOLDS(j, result, result == (int)len && j->r.done_bytes == len);
        return;
    }
    if (left == 0) {
        JOB_HOLDS(j, result, result == XEV_EOF);
        return;
    }
    JOB_HOLDS(j, result, result == (int)(len < left ? len : left));
    for (uint32_t i = 0; i < (uint32_t)result; i++) {
        JOB_HOLDS(j, result, may_hold(j->slot, j->at + i, *byte_of(j, i), j->began, j->w->stamp));
    }
}

/* Operations run one after the other, in the order of submission. */
static void check_order(struct job *j, int result) {
    JOB_HOLDS(j, result, !j->overtaken);
    for (int i = 0; i < JOBS; i++) {
        struct job *o = &j->w->jobs[i];
        if (o != j && o->active && o->f == j->f && at_position(o->what) && o->order < j->order &&
            !o->invalid) {
            JOB_HOLDS(j, result, o->stopped);
            o->overtaken = true; /* so it must end without an effect */
        }
    }
}

static void check_position(struct job *j, int result) {
    struct slot *s = j->slot;
    struct file *f = j->f;
    uint32_t len = bytes_of(j);
    check_order(j, result);
    if (is_write(j->what)) {
        JOB_HOLDS(j, result, result == (int)len && (j->by_fd || j->r.done_bytes == len));
        f->pos = f->append ? s->size : f->pos;
        CHECK_LE(f->pos + len, SLOT_BYTES);
        for (uint32_t i = 0; i < len; i++) {
            s->content[f->pos + i] = pattern_at(j->id, i);
        }
        f->pos += len;
        s->size = f->pos > s->size ? (uint32_t)f->pos : s->size;
        return;
    }
    if (f->pos >= s->size) {
        JOB_HOLDS(j, result, result == XEV_EOF);
        return;
    }
    uint32_t left = s->size - (uint32_t)f->pos;
    JOB_HOLDS(j, result, result == (int)(len < left ? len : left));
    for (uint32_t i = 0; i < (uint32_t)result; i++) {
        JOB_HOLDS(j, result, *byte_of(j, i) == s->content[f->pos + i]);
    }
    f->pos += (uint32_t)result;
}

static void check_stat(struct job *j, int result) {
    uint32_t most = j->slot->size;
    JOB_HOLDS(j, result, result == 0);
    for (int i = 0; i < JOBS; i++) {
        const struct job *o = &j->w->jobs[i];
        most += o->active && o->f == j->f && at_position(o->what) && is_write(o->what) ? bytes_of(o)
                                                                                       : 0;
    }
    JOB_HOLDS(j, result, j->r.stat.size_bytes >= j->size_lo && j->r.stat.size_bytes <= most);
    JOB_HOLDS(j, result, j->r.stat.type == XEV_FILE_REGULAR);
}

static void check_cancel(struct job *j, int result) {
    JOB_HOLDS(j, result, result == 0 || result == XEV_ENOENT);
    JOB_HOLDS(j, result, j->target_over || !j->target_active);
    if (result == 0) {
        JOB_HOLDS(j, result, j->target_active && j->target_result == XEV_ECANCELED);
        JOB_HOLDS(j, result, !j->target_stopped || j->w->deinit);
    } else if (j->target_active && !j->target_stopped) {
        JOB_HOLDS(j, result, j->target_result != XEV_ECANCELED);
    }
}

static void check_close(struct job *j, int result) {
    struct file *f = j->f;
    if (j->invalid) {
        JOB_HOLDS(j, result, result == XEV_EBADF);
        return;
    }
    JOB_HOLDS(j, result, result == 0);
    JOB_HOLDS(j, result, f->early_ops == 0);
    f->closed = true;
    f->slot->taken = false;
    JOB_HOLDS(j, result, is_somebodys(j->w, f->fd) || fcntl(f->fd, F_GETFD) < 0);
}

static void opened(struct job *j, int fd);

static void check_result(struct job *j, int result) {
    struct world *w = j->w;
    bool for_pool = j->what != CANCEL && j->what != CLOSE && !j->by_fd;
    if (!w->pool && for_pool && result == XEV_ENOPOOL) {
        return;
    }
    if (j->invalid && j->what != CLOSE) {
        JOB_HOLDS(j, result, result == (j->f == NULL ? XEV_EBADF : XEV_EINVAL));
        return;
    }
    JOB_HOLDS(j, result, w->pool || !for_pool);
    if (j->late && j->what != CLOSE) {
        JOB_HOLDS(j, result, result == XEV_EBADF && j->closing); /* no file has the number */
        return;
    }
    switch (j->what) {
    case CANCEL:
        check_cancel(j, result);
        return;
    case CLOSE:
        check_close(j, result);
        return;
    case OPEN:
        JOB_HOLDS(j, result, result >= 0);
        opened(j, result);
        return;
    case STAT:
        check_stat(j, result);
        return;
    case GATE:
    case FSYNC:
        JOB_HOLDS(j, result, result == 0);
        return;
    default:
        JOB_HOLDS(j, result, j->f != NULL);
        (at_position(j->what) ? check_position : check_offset)(j, result);
    }
}

/* ---- the life of an operation ---- */

/* The operation is active from the call that follows. */
static void begin(struct job *j) {
    struct world *w = j->w;
    struct file *f = j->f;
    j->serial = ++w->serial;
    j->began = ++w->stamp;
    j->active = true;
    j->stopped = w->deinit && j->what != CANCEL && j->what != CLOSE;
    j->late = j->overtaken = j->target_active = false;
    j->deadline_lo = 0;
    j->write = NULL;
    w->active++;
    w->opens += j->what == OPEN;
    if (f == NULL) {
        return;
    }
    j->late = f->closing || w->deinit;
    j->stopped |= j->late && j->what != CLOSE;
    j->closing = f->closing && f->early_ops == 0;
    j->order = ++f->order;
    j->slot = f->slot;
    j->size_lo = f->slot->size;
    f->ops++;
    f->early_ops += !j->late && j->what != CLOSE;
    if (is_write(j->what)) {
        j->id = ++w->patterns;
        for (uint32_t i = 0, len = bytes_of(j); i < len; i++) {
            *byte_of(j, i) = pattern_at(j->id, i);
        }
        if (at_position(j->what)) {
            f->slot->room_used += bytes_of(j);
        } else if (!j->invalid) {
            CHECK_LT(j->slot->writes_len, WRITES);
            j->write = &j->slot->writes[j->slot->writes_len++];
            *j->write = (struct write){j->id, j->at, bytes_of(j), j->began, NEVER};
        }
    }
}

/* The terminal callback has been entered. */
static void end(struct job *j, int result) {
    struct world *w = j->w;
    bool no_effect = result < 0;
    j->active = false;
    w->active--;
    w->opens -= j->what == OPEN;
    if (j->f != NULL) {
        j->f->ops--;
        j->f->early_ops -= !j->late && j->what != CLOSE;
    }
    if (j->write != NULL) {
        j->write->ended = w->stamp;
        j->write->len = no_effect ? 0 : j->write->len;
    }
    for (int i = 0; i < JOBS; i++) {
        struct job *o = &w->jobs[i];
        if (o->active && o->what == CANCEL && o->target == j && o->target_active &&
            o->target_serial == j->serial) {
            JOB_HOLDS(j, result, !o->target_over);
            o->target_over = true;
            o->target_result = result;
        }
    }
}

static void check_callback(struct job *j, xev_loop *loop, xev_completion *c, int result) {
    struct world *w = j->w;
    w->stamp++;
    w->callbacks++;
    TRACE(w, "    %s #%" PRIu64 " on %d: %d\n", what_names[j->what], j->serial,
          j->f != NULL ? j->f->fd : -1, result);
    JOB_HOLDS(j, result, c == &j->r.c && loop == &w->loop);
    JOB_HOLDS(j, result, w->running && w->in_call == 0 && !w->in_callback);
    JOB_HOLDS(j, result, j->active && !xev_completion_more(c));
    JOB_HOLDS(j, result, xev_completion_state(c) == XEV_COMPLETION_DEAD);
    end(j, result);
    if (result == XEV_ECANCELED) {
        JOB_HOLDS(j, result, j->stopped && j->what != CANCEL && j->what != CLOSE);
    } else if (result == XEV_ETIMEDOUT) {
        JOB_HOLDS(j, result, j->deadline_lo != 0 && time_ns() >= j->deadline_lo);
    } else {
        check_result(j, result);
    }
    bool keeps = j->what == OPEN && result >= 0;
    if (j->what == OPEN && !keeps) {
        j->slot->taken = false;
    }
}

/* Check the contents of all files at the end. */
static void check_contents(struct world *w) {
    static uint8_t found[SLOT_BYTES];
    for (int i = 0; i < SLOTS; i++) {
        const struct slot *s = &w->slots[i];
        int fd = open(s->path, O_RDONLY | O_CLOEXEC);
        HOLDS(w, fd >= 0);
        HOLDS(w, read(fd, found, sizeof found) == (ssize_t)s->size);
        CHECK_EQ(close(fd), 0);
        if (!s->fixed) {
            HOLDS(w, memcmp(found, s->content, s->size) == 0);
            continue;
        }
        for (uint32_t at = 0; at < s->size; at++) {
            HOLDS(w, may_hold(s, at, found[at], w->stamp + 1, w->stamp + 1));
        }
    }
}

#endif
