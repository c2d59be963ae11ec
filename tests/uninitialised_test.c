/* Completions and requests need no initialisation. Their memory may hold anything: bytes that a
 * peer has chosen, or those of an earlier time when the same memory was active. It neither ends the
 * program nor changes what happens, as only the loop's own table tells what is active. */
#include "tests/loop_scene.h"

#include <stddef.h>

/* Memory as a program gets it from malloc. */
union memory {
    xev_completion c;
    xev_write_req write;
    xev_file_req file;
    xev_dns_req dns;
    xev_dial_req dial;
};

struct scene {
    xev_loop loop;
    xev_threadpool pool;
    xev_tcp pair[2];
    xev_stream stream;
    union memory *memory;
    union memory *active; /* what it held while an operation in it was active */
    int calls, result;
};

static void open_scene(struct scene *s) {
    *s = (struct scene){0};
    CHECK_EQ(xev_threadpool_init(&s->pool, NULL), 0);
    loop_start_options(&s->loop, &(xev_loop_options){.thread_pool = &s->pool});
    socket_pair(s->pair);
    xev_stream_init(&s->stream, &s->loop, s->pair[0].fd);
    s->memory = malloc(sizeof *s->memory);
    s->active = malloc(sizeof *s->active);
    CHECK(s->memory != NULL && s->active != NULL);
}

static void close_scene(struct scene *s) {
    xev_loop_deinit(&s->loop);
    xev_threadpool_deinit(&s->pool);
    CHECK_EQ(xev_tcp_close_now(s->pair[0]), 0);
    CHECK_EQ(xev_tcp_close_now(s->pair[1]), 0);
    free(s->memory);
    free(s->active);
}

static xev_cb_action over(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct scene *s = userdata;
    CHECK(loop == &s->loop && c == &s->memory->c);
    s->calls++;
    s->result = result;
    return XEV_DISARM;
}

static void written(xev_loop *loop, xev_stream *stream, xev_write_req *req, int result,
                    void *userdata) {
    struct scene *s = userdata;
    CHECK(stream == &s->stream && req == &s->memory->write);
    (void)over(loop, &s->memory->c, result, s);
}

static int no_work(void *userdata) {
    (void)userdata;
    return 7;
}

/* ---- one of each kind ---- */

static char byte = 'x';
static xev_addr found;

static void run_timer(struct scene *s) { xev_timer_run(NULL, &s->loop, &s->memory->c, 0, s, over); }

static void reset_timer(struct scene *s) {
    xev_timer_reset(NULL, &s->loop, &s->memory->c, NULL, 0, s, over);
}

static void send_byte(struct scene *s) {
    xev_tcp_send(s->pair[0], &s->loop, &s->memory->c, &byte, 1, s, over);
}

static void do_work(struct scene *s) {
    xev_work_submit(&s->loop, &s->memory->c, XEV_LANE_CPU, no_work, s, over);
}

static void stat_root(struct scene *s) {
    xev_file_stat_path(&s->loop, &s->memory->file, "/", s, over);
}

static void write_nowhere(struct scene *s) {
    xev_file_write(-1, &s->loop, &s->memory->file, &byte, 1, s, over);
}

static void send_no_file(struct scene *s) {
    xev_file_sendfile(s->pair[0].fd, &s->loop, &s->memory->file, -1, 0, 1, s, over);
}

static void resolve(struct scene *s) {
    xev_dns_resolve(&s->loop, &s->memory->dns, "127.0.0.1", NULL, XEV_AF_INET, &found, 1, s, over);
}

static void dial_nobody(struct scene *s) {
    xev_tcp_dial(&s->loop, &s->memory->dial, &found, 0, 0, s, over);
}

static void write_byte(struct scene *s) {
    xev_stream_write(&s->stream, &s->memory->write, &byte, 1, s, written);
}

static void close_nothing(struct scene *s) {
    xev_tcp_close(xev_tcp_from_fd(-1), &s->loop, &s->memory->c, s, over);
}

static const struct {
    void (*submit)(struct scene *s);
    int result;
} kinds[] = {
    {run_timer, 0},
    {reset_timer, 0},
    {send_byte, 1},
    {do_work, 7},
    {stat_root, 0},
    {write_nowhere, XEV_EBADF},
    {send_no_file, XEV_EBADF},
    {resolve, 1},
    {dial_nobody, XEV_EINVAL},
    {write_byte, 1},
    {close_nothing, XEV_EBADF},
};
#define KINDS (sizeof kinds / sizeof *kinds)

static void check_runs(struct scene *s, size_t kind) {
    s->calls = 0;
    kinds[kind].submit(s);
    memcpy(s->active, s->memory, sizeof *s->memory);
    CHECK_EQ(s->calls, 0);
    CHECK_EQ(xev_loop_active(&s->loop), 1);
    while (s->calls == 0) {
        CHECK_EQ(xev_loop_run(&s->loop, XEV_RUN_ONCE), 0);
    }
    CHECK_EQ(s->calls, 1);
    CHECK_EQ(s->result, kinds[kind].result);
    CHECK_EQ(xev_loop_active(&s->loop), 0);
}

TEST(whatever_memory_holds_may_be_submitted) {
    struct scene s;
    open_scene(&s);
    for (size_t kind = 0; kind < KINDS; kind++) {
        for (int fill = 0; fill < 256; fill += 15) {
            memset(s.memory, fill, sizeof *s.memory);
            check_runs(&s, kind);
        }
    }
    close_scene(&s);
}

/* At the same address, which is no secret; and of each kind when it was active as another. */
TEST(what_memory_held_while_it_was_active_may_be_submitted) {
    struct scene s;
    open_scene(&s);
    for (size_t before = 0; before < KINDS; before++) {
        for (size_t kind = 0; kind < KINDS; kind++) {
            memset(s.memory, 0, sizeof *s.memory);
            check_runs(&s, before);
            memcpy(s.memory, s.active, sizeof *s.memory);
            check_runs(&s, kind);
        }
    }
    close_scene(&s);
}

TEST(memory_that_names_the_place_of_another_may_be_submitted) {
    struct scene s;
    struct op other = {0};
    open_scene(&s);
    check_runs(&s, 0);
    xev_timer_run(NULL, &s.loop, &other.c, HOUR_MS, &other, op_cb);
    memcpy(s.memory, s.active, sizeof *s.memory);
    CHECK_EQ(s.memory->c.place, other.c.place); /* the last one given back is the first one given */
    s.calls = 0;
    run_timer(&s);
    while (s.calls == 0) {
        CHECK_EQ(xev_loop_run(&s.loop, XEV_RUN_ONCE), 0);
    }
    CHECK_EQ(s.result, 0);
    CHECK_EQ(other.calls, 0);
    close_scene(&s);
    CHECK_EQ(other.result, XEV_ECANCELED);
}

TEST(cancel_of_memory_that_is_not_active_reports_enoent) {
    struct scene s;
    open_scene(&s);
    for (int fill = -1; fill < 256; fill++) {
        struct op cancel = {0};
        check_runs(&s, 0);
        memcpy(s.memory, s.active, sizeof *s.memory);
        if (fill >= 0) {
            memset(s.memory, fill, sizeof *s.memory);
        }
        CHECK_EQ(xev_completion_state(&s.memory->c), XEV_COMPLETION_DEAD);
        xev_cancel(&s.loop, &s.memory->c, &cancel.c, &cancel, op_cb);
        CHECK_EQ(xev_stream_cancel(&s.stream, &s.memory->write), XEV_ENOENT);
        xev_completion_zero(&s.memory->c);
        run_done(&s.loop);
        CHECK_EQ(cancel.result, XEV_ENOENT);
    }
    close_scene(&s);
}

/* ---- what is active is still found ---- */

TEST(more_than_the_table_first_holds_is_known_as_active) {
    enum { COUNT = 5000 };
    static struct op op[COUNT], cancel[COUNT];
    xev_loop loop;
    loop_start(&loop);
    for (int i = 0; i < COUNT; i++) {
        op[i] = cancel[i] = (struct op){0};
        xev_timer_run(NULL, &loop, &op[i].c, HOUR_MS, &op[i], op_cb);
    }
    for (int i = 0; i < COUNT; i++) {
        xev_cancel(&loop, &op[i].c, &cancel[i].c, &cancel[i], op_cb);
    }
    run_done(&loop);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(op[i].calls, 1);
        CHECK_EQ(op[i].result, XEV_ECANCELED);
        CHECK_EQ(cancel[i].result, 0);
    }
    xev_loop_deinit(&loop);
}

static bool memory_is_short;

static void *allocate(size_t bytes, size_t alignment, void *userdata) {
    (void)userdata;
    if (memory_is_short) {
        return NULL;
    }
    size_t whole = (bytes + alignment - 1) / alignment * alignment;
    return alignment <= _Alignof(max_align_t) ? malloc(bytes) : aligned_alloc(alignment, whole);
}

static void release(void *memory, size_t bytes, void *userdata) {
    (void)userdata;
    (void)bytes;
    free(memory);
}

/* Nothing fails for it, and all can be cancelled. */
TEST(what_finds_no_memory_for_its_place_runs_all_the_same) {
    enum { COUNT = 1000 };
    static struct op op[COUNT], cancel[COUNT];
    xev_loop loop;
    xev_loop_options options = {.allocator = {.allocate = allocate, .release = release}};
    loop_start_options(&loop, &options);
    memory_is_short = true;
    for (int i = 0; i < COUNT; i++) {
        op[i] = cancel[i] = (struct op){0};
        xev_timer_run(NULL, &loop, &op[i].c, i % 2 == 0 ? HOUR_MS : 0, &op[i], op_cb);
    }
    for (int i = 0; i < COUNT; i += 2) {
        xev_cancel(&loop, &op[i].c, &cancel[i].c, &cancel[i], op_cb);
    }
    run_done(&loop);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(op[i].calls, 1);
        CHECK_EQ(op[i].result, i % 2 == 0 ? XEV_ECANCELED : 0);
        CHECK_EQ(cancel[i].result, 0);
    }
    memory_is_short = false;
    xev_loop_deinit(&loop);
}

static xev_loop victim;
static struct op overwritten;

static void write_over_a_timer(void) {
    loop_start(&victim);
    xev_timer_run(NULL, &victim, &overwritten.c, 1, &overwritten, op_cb);
    memset(&overwritten.c, 0, sizeof overwritten.c);
    (void)xev_loop_run(&victim, XEV_RUN_UNTIL_DONE);
}

static void write_over_a_receive(void) {
    xev_tcp pair[2];
    loop_start(&victim);
    socket_pair(pair);
    xev_tcp_recv(pair[0], &victim, &overwritten.c, &byte, 1, &overwritten, op_cb);
    (void)xev_loop_run(&victim, XEV_RUN_NO_WAIT);
    overwritten.c.place++;
    (void)xev_tcp_close_now(pair[1]);
    (void)xev_loop_run(&victim, XEV_RUN_UNTIL_DONE);
}

TEST(an_active_completion_that_is_written_over_ends_the_program) {
    check_dies(write_over_a_timer, "xev_loop_run");
    check_dies(write_over_a_receive, "xev_loop_run");
}
