/* Random programs of file operations, checked by the model of random_file_scene.h.
 *
 * Files are opened, read, written, flushed and closed on the pool, by calls from callbacks, from
 * hooks and from outside; operations are cancelled, limited in time and repeated with other pieces;
 * descriptors are closed twice, used after a close was asked for, and their numbers go to
 * descriptors that the loop knows nothing of. The pool has one or two threads, which the program
 * holds back at times, so that operations wait, run and finish at any point of a close.
 */
#include "tests/random_file_scene.h"

static xev_cb_action called(xev_loop *loop, xev_completion *c, int result, void *userdata);

static struct job *free_job(struct world *w) {
    for (int tries = 0; tries < 6; tries++) {
        struct job *j = &w->jobs[below(w, JOBS)];
        if (!j->active && !j->taken) {
            return j;
        }
    }
    return NULL;
}

static struct file *free_file(struct world *w) {
    for (int i = 0; i < FILES; i++) {
        struct file *f = &w->files[i];
        if (!f->used || (f->closed && f->ops == 0)) {
            *f = (struct file){.used = true};
            return f;
        }
    }
    return NULL;
}

static struct file *pick_file(struct world *w) {
    for (int tries = 0; tries < 6; tries++) {
        struct file *f = &w->files[below(w, FILES)];
        if (f->used && !f->closed && (!f->closing || (one_in(w, 2) && !is_anothers(w, f)))) {
            return f;
        }
    }
    return NULL;
}

static struct job *set_up(struct world *w, struct job *j, enum what what, struct file *f) {
    memset(&j->r, 0xa5, sizeof j->r);
    j->w = w;
    j->what = what;
    j->f = f;
    j->invalid = j->by_fd = false;
    begin(j);
    TRACE(w, "  %s #%" PRIu64 " on %d\n", what_names[what], j->serial, f != NULL ? f->fd : -1);
    return j;
}

/* ---- opening ---- */

static void add_file(struct world *w, struct file *f, struct slot *s, int fd, uint32_t flags) {
    check_free(w, fd);
    TRACE(w, "  file %d is %s\n", fd, s->path);
    f->fd = fd;
    f->slot = s;
    f->append = (flags & XEV_OPEN_APPEND) != 0;
    f->writes = one_in(w, 2);
    if ((flags & XEV_OPEN_TRUNCATE) != 0) {
        s->size = s->room_used = 0;
    }
}

static void opened(struct job *j, int fd) {
    struct world *w = j->w;
    struct file *f = w->deinit ? NULL : free_file(w);
    if (f != NULL) {
        f->closed = true; /* it is none of those that check_free looks at */
        add_file(w, f, j->slot, fd, j->flags);
        f->closed = false;
        return;
    }
    check_free(w, fd);
    if ((j->flags & XEV_OPEN_TRUNCATE) != 0) {
        j->slot->size = j->slot->room_used = 0;
    }
    CHECK_EQ(close(fd), 0);
    j->slot->taken = false;
}

static struct slot *free_slot(struct world *w) {
    struct slot *s = &w->slots[below(w, SLOTS)];
    return s->taken ? NULL : s;
}

static void begin_open(struct world *w, struct job *j) {
    struct slot *s = free_slot(w);
    if (s == NULL) {
        return;
    }
    s->taken = true;
    j->slot = s;
    j->flags = XEV_OPEN_READ | XEV_OPEN_WRITE | (one_in(w, 2) ? XEV_OPEN_CREATE : 0);
    if (!s->fixed) {
        j->flags |= one_in(w, 3) ? XEV_OPEN_TRUNCATE : 0;
        j->flags |= one_in(w, 3) ? XEV_OPEN_APPEND : 0;
    }
    set_up(w, j, OPEN, NULL);
    CALL(w, xev_file_open(&w->loop, &j->r, s->path, j->flags, 0600, j, called));
}

/* By the test, and used by the loop. */
static void open_plainly(struct world *w) {
    struct slot *s = free_slot(w);
    struct file *f = s != NULL ? free_file(w) : NULL;
    if (f == NULL) {
        return;
    }
    bool append = !s->fixed && one_in(w, 3);
    int fd = open(s->path, O_RDWR | O_CLOEXEC | (append ? O_APPEND : 0));
    CHECK_GE(fd, 0);
    s->taken = true;
    f->closed = true;
    add_file(w, f, s, fd, append ? XEV_OPEN_APPEND : 0);
    f->closed = false;
}

static char foreign_path[64];

/* By the test, which the loop is not told. */
static void open_foreign(struct world *w, struct foreigner *o) {
    if (o->fd >= 0) {
        check_foreigner(w, o);
        CHECK_EQ(close(o->fd), 0);
        o->fd = -1;
        return;
    }
    int fd = open(foreign_path, O_RDWR | O_CLOEXEC);
    CHECK_GE(fd, 0);
    check_free(w, fd);
    TRACE(w, "  foreign %d\n", fd);
    *o = (struct foreigner){fd, w->foreign_stat.st_dev, w->foreign_stat.st_ino};
}

/* ---- operations ---- */

/* Pieces backwards in memory, with bytes between them that stay unused. */
static void set_pieces(struct job *j, uint32_t count) {
    struct world *w = j->w;
    uint8_t *end = j->buf + JOB_BYTES;
    j->pieces = count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t len = 1 + below(w, JOB_BYTES / PIECES);
        end -= len;
        j->vec[i] = (xev_vec){end, len};
    }
}

static void transfer_by_fd(struct job *j) {
    struct world *w = j->w;
    xev_fd fd = j->f->fd;
    size_t count = j->invalid ? 0 : j->pieces;
    size_t len = count == 0 ? 0 : j->vec[0].len_bytes;
    if (j->what == READ) {
        CALL(w, xev_fd_read(fd, &w->loop, &j->r.c, j->vec[0].base, len, j, called));
    } else if (j->what == READV) {
        CALL(w, xev_fd_readv(fd, &w->loop, &j->r.c, j->vec, count, j, called));
    } else if (j->what == WRITE) {
        CALL(w, xev_fd_write(fd, &w->loop, &j->r.c, j->vec[0].base, len, j, called));
    } else {
        CALL(w, xev_fd_writev(fd, &w->loop, &j->r.c, j->vec, count, j, called));
    }
}

static void transfer(struct job *j) {
    struct world *w = j->w;
    int fd = j->f != NULL ? j->f->fd : (int)j->at;
    size_t count = j->invalid && j->f != NULL ? 0 : j->pieces;
    size_t len = count == 0 ? 0 : j->vec[0].len_bytes;
    switch (j->what) {
    case PREAD:
        CALL(w, xev_file_pread(fd, &w->loop, &j->r, j->vec[0].base, len, j->at, j, called));
        return;
    case PREADV:
        CALL(w, xev_file_preadv(fd, &w->loop, &j->r, j->vec, count, j->at, j, called));
        return;
    case PWRITE:
        CALL(w, xev_file_pwrite(fd, &w->loop, &j->r, j->vec[0].base, len, j->at, j, called));
        return;
    case PWRITEV:
        CALL(w, xev_file_pwritev(fd, &w->loop, &j->r, j->vec, count, j->at, j, called));
        return;
    case READ:
        CALL(w, xev_file_read(fd, &w->loop, &j->r, j->vec[0].base, len, j, called));
        return;
    case READV:
        CALL(w, xev_file_readv(fd, &w->loop, &j->r, j->vec, count, j, called));
        return;
    case WRITE:
        CALL(w, xev_file_write(fd, &w->loop, &j->r, j->vec[0].base, len, j, called));
        return;
    default:
        CALL(w, xev_file_writev(fd, &w->loop, &j->r, j->vec, count, j, called));
    }
}

static bool has_room(const struct job *j, const struct slot *s) {
    return s->fixed ? s->writes_len < WRITES : s->room_used + bytes_of(j) <= SLOT_BYTES;
}

static void begin_transfer(struct world *w, struct job *j, struct file *f) {
    enum what what = (f->slot->fixed ? PREAD : READ) + below(w, 4);
    if (f->slot->by_fd) {
        what = (f->writes ? WRITE : READ) + below(w, 2);
    }
    j->w = w;
    j->by_fd = f->slot->by_fd;
    set_pieces(j, is_vectored(what) ? 1 + below(w, PIECES) : 1);
    if (!has_room(j, f->slot)) {
        return;
    }
    uint32_t most = is_write(what) ? FIXED_BYTES - bytes_of(j) : FIXED_BYTES + 16;
    j->at = below(w, most + 1);
    j->invalid = one_in(w, 40);
    bool invalid = j->invalid;
    if (invalid) {
        j->pieces = 0; /* what the model is to see of it */
    }
    memset(&j->r, 0xa5, sizeof j->r);
    j->what = what;
    j->f = f;
    begin(j);
    TRACE(w, "  %s #%" PRIu64 " on %d: %u bytes%s\n", what_names[what], j->serial, f->fd,
          bytes_of(j), f->closing ? ", late" : "");
    (j->by_fd ? transfer_by_fd : transfer)(j);
}

static void operate(struct world *w, struct job *j, struct file *f) {
    uint32_t n = below(w, 16);
    if (n == 0) {
        set_up(w, j, STAT, f);
        CALL(w, xev_file_stat_fd(f->fd, &w->loop, &j->r, j, called));
    } else if (n == 1) {
        set_up(w, j, FSYNC, f);
        CALL(w, (one_in(w, 2) ? xev_file_fsync : xev_file_fdatasync)(f->fd, &w->loop, &j->r, j,
                                                                     called));
    } else {
        begin_transfer(w, j, f);
    }
}

/* On a number that is nobody's. */
static void operate_on_nothing(struct world *w, struct job *j) {
    j->w = w;
    set_pieces(j, 1);
    j->what = PREAD;
    j->f = NULL;
    j->at = 900;
    j->invalid = true;
    j->by_fd = false;
    begin(j);
    transfer(j);
}

static void close_file(struct world *w, struct job *j, struct file *f) {
    set_up(w, j, CLOSE, f);
    j->invalid = f->closing;
    f->closing = true;
    for (int i = 0; i < JOBS; i++) {
        struct job *o = &w->jobs[i];
        o->stopped |= o->active && o->f == f && o->what != CLOSE;
    }
    if (one_in(w, 3)) {
        CALL(w, xev_fd_close(f->fd, &w->loop, &j->r.c, j, called));
    } else {
        CALL(w, xev_file_close(f->fd, &w->loop, &j->r, j, called));
    }
}

static void cancel(struct world *w, struct job *j, struct job *target) {
    if (target == j || target->serial == 0) {
        return;
    }
    set_up(w, j, CANCEL, NULL);
    j->target = target;
    j->target_serial = target->serial;
    j->target_active = target->active;
    j->target_stopped = target->stopped;
    j->target_over = false;
    target->stopped |= target->active;
    CALL(w, xev_cancel(&w->loop, &target->r.c, &j->r.c, j, called));
}

static void limit(struct world *w, struct job *j) {
    static const uint64_t limits[] = {0, 1, 20000, UINT64_C(3600000000000)};
    if (!j->active || j->what == CANCEL || j->what == CLOSE) {
        return;
    }
    uint64_t ns = limits[below(w, 4)], before = time_ns();
    CALL(w, xev_completion_set_timeout_ns(&w->loop, &j->r.c, ns));
    if (j->deadline_lo == 0 || j->deadline_lo > before) { /* else it may be at work already */
        j->deadline_lo = ns > 0 ? before + ns : 0;
    }
}

/* ---- gates ---- */

static int wait_at_gate(void *userdata) {
    struct job *j = userdata;
    while (sem_wait(&j->gate->open) != 0) {
    }
    return 0;
}

static void open_gate(struct gate *g) {
    if (g->active && !g->opened) {
        g->opened = true;
        CHECK_EQ(sem_post(&g->open), 0);
    }
}

static void begin_gate(struct world *w, struct job *j) {
    struct gate *g = &w->gates[below(w, GATES)];
    if (g->active) {
        open_gate(g);
        return;
    }
    CHECK_EQ(sem_init(&g->open, 0, 0), 0);
    g->active = true;
    g->opened = false;
    j->gate = g;
    set_up(w, j, GATE, NULL);
    enum xev_threadpool_lane lane = one_in(w, 4) ? XEV_LANE_FSYNC : XEV_LANE_FS;
    CALL(w, xev_work_submit(&w->loop, &j->r.c, lane, wait_at_gate, j, called));
    if (w->waits) {
        open_gate(g);
    }
}

/* ---- hooks ---- */

static void act(struct world *w);

static void hook_called(xev_loop *loop, xev_hook *hook) {
    struct world *w = loop->userdata;
    int i = 0;
    while (&w->hooks[i].hook != hook) {
        CHECK_LT(++i, HOOKS);
    }
    xev_hook_when when = w->hooks[i].when;
    HOLDS(w, w->hooks[i].added && w->running && w->in_call == 0 && !w->in_callback);
    xev_loop_metrics m;
    xev_loop_metrics_get(loop, &m);
    bool same_turn = w->hook_turn[when] == m.turns; /* once in each, in order of adding */
    uint64_t order = w->hooks[i].order, last = w->last_hook[when];
    HOLDS(w, !same_turn || (when == XEV_HOOK_FLUSH ? order < last : order > last));
    w->hook_turn[when] = m.turns;
    w->last_hook[when] = w->hooks[i].order;
    uint64_t rng = w->rng;
    w->rng = mix(w->seed ^ mix(w->serial) ^ ++w->callbacks);
    w->in_callback = true;
    if (one_in(w, 3)) {
        act(w);
    }
    w->in_callback = false;
    w->rng = rng;
}

static void change_hooks(struct world *w) {
    int i = (int)below(w, HOOKS);
    if (w->hooks[i].added) {
        CALL(w, xev_loop_hook_remove(&w->loop, &w->hooks[i].hook));
    } else {
        w->hooks[i].when = (xev_hook_when)below(w, XEV_HOOK_TIMES);
        w->hooks[i].hook.callback = hook_called;
        w->hooks[i].order = ++w->hook_order;
        CALL(w, xev_loop_hook_add(&w->loop, w->hooks[i].when, &w->hooks[i].hook));
    }
    w->hooks[i].added = !w->hooks[i].added;
}

/* ---- programs ---- */

/* Something at random. */
static void act(struct world *w) {
    struct job *j = free_job(w), *any = &w->jobs[below(w, JOBS)];
    struct file *f = pick_file(w);
    if (j == NULL || w->quiet || (w->deinit && w->budget == 0)) {
        return;
    }
    w->budget -= w->deinit;
    uint32_t n = below(w, 100);
    if (n < 42 && f != NULL) {
        operate(w, j, f);
    } else if (n < 50) {
        begin_open(w, j);
    } else if (n < 53) {
        open_plainly(w);
    } else if (n < 65 && f != NULL) {
        close_file(w, j, f);
    } else if (n < 73) {
        open_foreign(w, &w->foreigners[below(w, FOREIGNERS)]);
    } else if (n < 81) {
        cancel(w, j, any);
    } else if (n < 86) {
        limit(w, any);
    } else if (n < 94 && !w->deinit) {
        begin_gate(w, j);
    } else if (n < 98) {
        change_hooks(w);
    } else if (n < 99) {
        operate_on_nothing(w, j);
    }
}

/* Other pieces for the repetition of j; at times they are empty. */
static void change_pieces(struct job *j) {
    struct world *w = j->w;
    uint32_t skip = 1 + below(w, JOB_BYTES);
    if (one_in(w, 3)) { /* what a program does that reads a message in parts */
        for (uint32_t i = 0; i < j->pieces; i++) {
            uint32_t n = skip < j->vec[i].len_bytes ? skip : (uint32_t)j->vec[i].len_bytes;
            j->vec[i].base = (uint8_t *)j->vec[i].base + n;
            j->vec[i].len_bytes -= n;
            skip -= n;
        }
    } else {
        set_pieces(j, j->pieces);
        if (at_offset(j->what) && is_write(j->what) && j->at + bytes_of(j) > FIXED_BYTES) {
            j->vec[0].len_bytes = 1;
            for (uint32_t i = 1; i < j->pieces; i++) {
                j->vec[i].len_bytes = 0;
            }
        }
    }
}

static bool may_repeat(const struct job *j, int result) {
    bool transfers = j->what >= PREAD && !j->invalid && !j->late;
    return (transfers || j->what == STAT || j->what == FSYNC) && j->f != NULL && !j->f->closing &&
           result != XEV_ECANCELED && result != XEV_ETIMEDOUT;
}

static xev_cb_action after(struct job *j, int result) {
    struct world *w = j->w;
    if (w->quiet || w->deinit || !may_repeat(j, result) || !one_in(w, 3)) {
        return XEV_DISARM;
    }
    if (is_vectored(j->what) && one_in(w, 2)) {
        change_pieces(j);
    }
    if (j->what >= PREAD && !has_room(j, j->slot)) {
        return XEV_DISARM;
    }
    j->invalid = j->what >= PREAD && bytes_of(j) == 0;
    begin(j);
    TRACE(w, "  again, as #%" PRIu64 ", %u bytes\n", j->serial, bytes_of(j));
    return XEV_REARM;
}

static xev_cb_action called(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct job *j = userdata;
    struct world *w = j->w;
    check_callback(j, loop, c, result);
    if (j->what == GATE) {
        j->gate->active = false;
        CHECK_EQ(sem_destroy(&j->gate->open), 0);
    }
    w->in_callback = true;
    uint64_t rng = w->rng;
    w->rng = mix(w->seed ^ mix(j->serial) ^ w->callbacks);
    struct file *f = j->f;
    j->taken = true;
    if (f != NULL) {
        f->ops++; /* its place is kept */
    }
    if (one_in(w, 2)) {
        act(w); /* what it begins has its place before a repetition */
    }
    if (f != NULL) {
        f->ops--;
    }
    j->taken = false;
    xev_cb_action action = after(j, result);
    if (action == XEV_DISARM) {
        memset(&j->r, 0xa5, sizeof j->r);
    }
    w->rng = rng;
    w->in_callback = false;
    return action;
}

static void run(struct world *w, xev_run_mode_t mode) {
    HOLDS(w, xev_loop_active(&w->loop) == w->active);
    w->running = true;
    HOLDS(w, xev_loop_run(&w->loop, mode) == 0);
    w->running = false;
    HOLDS(w, xev_loop_active(&w->loop) == w->active);
}

static bool all_gates_open(struct world *w) {
    bool all = true;
    for (int i = 0; i < GATES; i++) {
        all &= !w->gates[i].active || w->gates[i].opened;
    }
    return all;
}

static void take_turn(struct world *w) {
    if (all_gates_open(w) && w->active > 0 && one_in(w, 4)) {
        w->waits = true;
        run(w, XEV_RUN_ONCE);
        w->waits = false;
    } else {
        run(w, XEV_RUN_NO_WAIT);
    }
}

static void open_gates(struct world *w) {
    for (int i = 0; i < GATES; i++) {
        open_gate(&w->gates[i]);
    }
}

/* Everything that is active ends, and then the files are closed. */
static void quiesce(struct world *w) {
    w->quiet = true;
    open_gates(w);
    run(w, XEV_RUN_UNTIL_DONE);
    HOLDS(w, w->active == 0);
    for (int i = 0; i < FILES; i++) {
        struct job *j = free_job(w);
        if (w->files[i].used && !w->files[i].closing && j != NULL) {
            close_file(w, j, &w->files[i]);
        }
    }
    run(w, XEV_RUN_UNTIL_DONE);
    HOLDS(w, w->active == 0);
}

static xev_threadpool pools[2];
static char dir[40];

/* Paths, and pools of one and of two threads, for all programs: threads take longer to start than a
 * program to run. */
static void open_scene(void) {
    const char *tmp = getenv("TEST_TMPDIR");
    bool shm = access("/dev/shm", W_OK) == 0; /* where flushing is quick */
    if (shm || tmp == NULL || strlen(tmp) > 20) {
        tmp = shm ? "/dev/shm" : "/tmp";
    }
    snprintf(dir, sizeof dir, "%s/xev.XXXXXX", tmp);
    CHECK(mkdtemp(dir) != NULL);
    for (uint32_t i = 0; i < 2; i++) {
        xev_threadpool_config config;
        xev_threadpool_config_init(&config);
        xev_threadpool_config_set_max_threads(&config, i + 1);
        CHECK_EQ(xev_threadpool_init(&pools[i], &config), 0);
    }
}

static void close_scene(const struct world *w) {
    for (int i = 0; i < 2; i++) {
        xev_threadpool_deinit(&pools[i]);
    }
    for (int i = 0; i < SLOTS; i++) {
        CHECK_EQ(unlink(w->slots[i].path), 0);
    }
    CHECK_EQ(unlink(foreign_path), 0);
    CHECK_EQ(rmdir(dir), 0);
}

static void make_slot(struct slot *s, int i) {
    static uint8_t bytes[FIXED_BYTES];
    snprintf(s->path, sizeof s->path, "%s/f%d", dir, i);
    s->fixed = i % 2 == 1;
    s->by_fd = i == 2;
    s->taken = false;
    s->size = s->fixed ? FIXED_BYTES : 0;
    s->room_used = 0;
    int fd = open(s->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK_GE(fd, 0);
    pattern_fill(bytes, s->size, 0, 0);
    CHECK_EQ(write(fd, bytes, s->size), (ssize_t)s->size);
    CHECK_EQ(close(fd), 0);
    s->writes[0] = (struct write){0, 0, FIXED_BYTES, 0, 0};
    s->writes[0].ended = 1;
    s->writes_len = 1;
}

static void make_foreign(struct world *w) {
    snprintf(foreign_path, sizeof foreign_path, "%s/foreign", dir);
    int fd = open(foreign_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK_GE(fd, 0);
    CHECK_EQ(write(fd, "foreign", 7), 7);
    CHECK_EQ(fstat(fd, &w->foreign_stat), 0);
    CHECK_EQ(close(fd), 0);
    for (int i = 0; i < FOREIGNERS; i++) {
        w->foreigners[i].fd = -1;
    }
}

static void check_foreign(struct world *w) {
    struct stat st;
    for (int i = 0; i < FOREIGNERS; i++) {
        if (w->foreigners[i].fd >= 0) {
            open_foreign(w, &w->foreigners[i]);
        }
    }
    CHECK_EQ(stat(foreign_path, &st), 0);
    HOLDS(w, st.st_size == 7 && st.st_mtim.tv_nsec == w->foreign_stat.st_mtim.tv_nsec);
}

static void close_world(struct world *w) {
    w->deinit = w->running = true;
    for (int i = 0; i < JOBS; i++) {
        w->jobs[i].stopped |= w->jobs[i].active;
    }
    open_gates(w);
    xev_loop_deinit(&w->loop);
    w->running = false;
    HOLDS(w, w->active == 0);
    for (int i = 0; i < FILES; i++) {
        struct file *f = &w->files[i];
        HOLDS(w, !f->used || (f->closed == f->closing && f->ops == 0));
        if (f->used && !f->closed) {
            CHECK_EQ(close(f->fd), 0);
        }
    }
    check_foreign(w);
    check_contents(w);
}

static struct world world;

static void one_program(uint64_t seed) {
    struct world *w = &world;
    memset(w, 0, offsetof(struct world, slots));
    memset(&w->foreigners, 0, sizeof *w - offsetof(struct world, foreigners));
    w->seed = seed;
    w->rng = mix(seed);
    w->trace = getenv("XEV_TEST_TRACE") != NULL;
    w->budget = 3;
    w->stamp = 1;
    w->pool = !one_in(w, 30);
    for (int i = 0; i < SLOTS; i++) {
        make_slot(&w->slots[i], i);
    }
    make_foreign(w);
    xev_loop_options o = {.entries = 8, .buffers = 1, .buffers_max = 1, .buffer_bytes = 64};
    o.thread_pool = w->pool ? &pools[below(w, 2)] : NULL;
    HOLDS(w, xev_loop_init_options(&w->loop, &o) == 0);
    w->loop.userdata = w;
    uint32_t steps = 10 + below(w, 60);
    for (uint32_t i = 0; i < steps; i++) {
        act(w);
        if (one_in(w, 4)) {
            take_turn(w);
        }
    }
    if (!one_in(w, 4)) {
        quiesce(w);
    }
    close_world(w);
}

TEST_TIMEOUT(random_file_programs_keep_the_contract, 60) {
    open_scene();
    for_seeds(2000 / (uint32_t)test_slowdown(), one_program);
    close_scene(&world);
}
