/* The contract of completions of every operation: states and misuse. Also the options of a loop and
 * the error codes. */
#include "tests/loop_scene.h"

static int no_work(void *userdata) {
    (void)userdata;
    return 0;
}

static xev_cb_action count_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    ++*(uint32_t *)userdata;
    return XEV_DISARM;
}

/* --- states --- */

TEST(zeroed_completion_is_dead) {
    xev_completion zeroed, cleared;
    memset(&zeroed, 0, sizeof zeroed);
    CHECK_EQ(xev_completion_state(&zeroed), XEV_COMPLETION_DEAD);
    memset(&cleared, 0xff, sizeof cleared);
    xev_completion_zero(&cleared);
    CHECK_EQ(xev_completion_state(&cleared), XEV_COMPLETION_DEAD);
    CHECK(!xev_completion_more(&cleared));
}

TEST(completion_is_active_from_submission_until_its_callback) {
    xev_loop loop;
    loop_start(&loop);
    xev_watcher w;
    xev_tcp pair[2];
    char byte;
    struct op timer = {0}, wait = {0}, recv = {0}, cancel = {0};
    CHECK_EQ(xev_async_init(&w), 0);
    socket_pair(pair);
    xev_timer_run(NULL, &loop, &timer.c, 0, &timer, op_cb);
    CHECK(is_active(&timer));
    xev_async_wait(&w, &loop, &wait.c, &wait, op_cb);
    CHECK(is_active(&wait));
    xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
    CHECK(is_active(&recv));
    CHECK_EQ(xev_loop_active(&loop), 3);
    xev_cancel(&loop, &wait.c, &cancel.c, &cancel, op_cb);
    CHECK(is_active(&cancel));
    CHECK(is_active(&wait)); /* until its callback */
    CHECK_EQ(xev_loop_active(&loop), 4);
    put_bytes(pair[1], "x", 1);
    run_done(&loop); /* op_cb finds each dead */
    CHECK_EQ(timer.calls, 1);
    CHECK_EQ(wait.calls, 1);
    CHECK_EQ(recv.calls, 1);
    CHECK_EQ(cancel.calls, 1);
    CHECK_EQ(xev_loop_active(&loop), 0);
    xev_loop_deinit(&loop);
}

TEST(uninitialised_completions_may_be_submitted) {
    static const unsigned char fills[] = {0xff, 0x5a, 0xa5, 0x01, 0x80, 0x00};
    xev_loop loop;
    loop_start(&loop);
    for (size_t i = 0; i < sizeof fills; i++) {
        struct op timer = {0}, cancel = {0}, recv = {0}, wait = {0}, closing = {0}, work = {0};
        struct op *all[] = {&timer, &cancel, &recv, &wait, &closing, &work};
        for (size_t k = 0; k < 6; k++) {
            memset(&all[k]->c, fills[i], sizeof all[k]->c);
            CHECK_EQ(xev_completion_state(&all[k]->c), XEV_COMPLETION_DEAD);
        }
        xev_watcher w;
        memset(&w, fills[i], sizeof w);
        CHECK_EQ(xev_async_init(&w), 0);
        xev_tcp pair[2];
        socket_pair(pair);
        char byte;
        xev_timer_run(NULL, &loop, &timer.c, HOUR_MS, &timer, op_cb);
        xev_cancel(&loop, &timer.c, &cancel.c, &cancel, op_cb);
        xev_async_wait(&w, &loop, &wait.c, &wait, op_cb);
        xev_async_notify(&w);
        xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
        xev_tcp_close(pair[0], &loop, &closing.c, &closing, op_cb);
        xev_work_submit(&loop, &work.c, XEV_LANE_FS, no_work, &work, op_cb);
        run_done(&loop);
        CHECK_EQ(timer.result, XEV_ECANCELED);
        CHECK_EQ(cancel.result, 0);
        CHECK_EQ(wait.result, 0);
        CHECK_EQ(recv.result, XEV_ECANCELED);
        CHECK_EQ(closing.result, 0);
        CHECK_EQ(work.result, XEV_ENOPOOL);
        for (size_t k = 0; k < 6; k++) {
            CHECK_EQ(all[k]->calls, 1);
        }
        xev_async_deinit(&w);
        CHECK_EQ(xev_tcp_close_now(pair[1]), 0);
    }
    xev_loop_deinit(&loop);
}

/* As a target to cancel, as a timer to reset. */
TEST(memory_that_never_was_a_completion_counts_as_dead) {
    static const unsigned char fills[] = {0xff, 0x5a, 0x00};
    xev_loop loop;
    loop_start(&loop);
    for (size_t i = 0; i < sizeof fills; i++) {
        struct op cancel = {0}, timer = {0};
        xev_completion target;
        memset(&target, fills[i], sizeof target);
        memset(&timer.c, fills[i], sizeof timer.c);
        xev_cancel(&loop, &target, &cancel.c, &cancel, op_cb);
        xev_timer_reset(NULL, &loop, &timer.c, NULL, 1, &timer, op_cb);
        run_done(&loop);
        CHECK_EQ(cancel.result, XEV_ENOENT);
        CHECK_EQ(timer.result, 0);
    }
    xev_loop_deinit(&loop);
}

struct reuse {
    xev_completion c;
    xev_watcher w;
    xev_tcp tcp[2];
    char byte;
    uint32_t step;
};

/* The same completion for one kind of operation after another, always from its own callback. */
static xev_cb_action reuse_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct reuse *r = userdata;
    CHECK_EQ(xev_completion_state(c), XEV_COMPLETION_DEAD);
    memset(c, 0x5a, sizeof *c); /* it is ours */
    switch (++r->step) {
    case 1:
        CHECK_EQ(result, 0);
        xev_async_notify(&r->w);
        xev_async_wait(&r->w, loop, c, r, reuse_cb);
        break;
    case 2:
        CHECK_EQ(result, 0);
        xev_tcp_send(r->tcp[0], loop, c, "x", 1, r, reuse_cb);
        break;
    case 3:
        CHECK_EQ(result, 1);
        xev_tcp_recv(r->tcp[1], loop, c, &r->byte, 1, r, reuse_cb);
        break;
    case 4:
        CHECK_EQ(result, 1);
        xev_tcp_close(r->tcp[0], loop, c, r, reuse_cb);
        break;
    case 5:
        CHECK_EQ(result, 0);
        xev_tcp_recv(r->tcp[1], loop, c, &r->byte, 1, r, reuse_cb);
        break;
    case 6:
        CHECK_EQ(result, XEV_EOF);
        xev_work_submit(loop, c, XEV_LANE_CPU, no_work, r, reuse_cb);
        break;
    case 7:
        CHECK_EQ(result, XEV_ENOPOOL);
        xev_tcp_close(r->tcp[1], loop, c, r, reuse_cb);
        break;
    default:
        CHECK_EQ(result, 0);
    }
    return XEV_DISARM;
}

TEST(completion_may_be_used_again_in_its_own_callback) {
    xev_loop loop;
    loop_start(&loop);
    struct reuse r = {0};
    CHECK_EQ(xev_async_init(&r.w), 0);
    socket_pair(r.tcp);
    xev_timer_run(NULL, &loop, &r.c, 0, &r, reuse_cb);
    run_done(&loop);
    CHECK_EQ(r.step, 8);
    xev_loop_deinit(&loop);
}

static xev_cb_action freeing_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)result;
    ++*(uint32_t *)userdata;
    memset(c, 0xa5, sizeof *c);
    free(c);
    return XEV_DISARM;
}

TEST(completion_may_be_freed_in_its_own_callback) {
    for (int teardown = 0; teardown < 2; teardown++) {
        xev_loop loop;
        loop_start(&loop);
        xev_watcher w;
        xev_tcp pair[2];
        uint32_t freed = 0;
        xev_completion *c[9];
        for (int i = 0; i < 9; i++) {
            c[i] = malloc(sizeof *c[i]);
            memset(c[i], 0xff, sizeof *c[i]);
        }
        CHECK_EQ(xev_async_init(&w), 0);
        socket_pair(pair);
        put_bytes(pair[1], "xyz", 3);
        char byte[2];
        xev_timer_run(NULL, &loop, c[0], 0, &freed, freeing_cb);
        xev_async_wait(&w, &loop, c[1], &freed, freeing_cb);
        xev_async_notify(&w);
        xev_tcp_recv(pair[0], &loop, c[2], &byte[0], 1, &freed, freeing_cb);
        xev_tcp_recv(pair[0], &loop, c[3], &byte[1], 1, &freed, freeing_cb);
        xev_tcp_recv_loan(pair[0], &loop, c[4], &freed, freeing_cb);
        xev_timer_run(NULL, &loop, c[5], HOUR_MS, &freed, freeing_cb);
        xev_cancel(&loop, c[5], c[6], &freed, freeing_cb);
        xev_tcp_close(pair[1], &loop, c[7], &freed, freeing_cb);
        xev_work_submit(&loop, c[8], XEV_LANE_FS, no_work, &freed, freeing_cb);
        if (teardown == 0) {
            run_done(&loop);
            CHECK_EQ(freed, 9);
        }
        xev_loop_deinit(&loop);
        CHECK_EQ(freed, 9);
        CHECK_EQ(xev_tcp_close_now(pair[0]), 0);
    }
}

TEST(no_callback_runs_inside_a_submitting_call) {
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    put_bytes(pair[1], "x", 1);
    xev_watcher w;
    CHECK_EQ(xev_async_init(&w), 0);
    xev_async_notify(&w);
    char byte;
    xev_completion c[10] = {0};
    uint32_t calls = 0;
    xev_timer_run(NULL, &loop, &c[0], 0, &calls, count_cb);
    xev_async_wait(&w, &loop, &c[1], &calls, count_cb);
    xev_async_wait(&w, &loop, &c[2], &calls, count_cb);
    xev_tcp_recv(pair[0], &loop, &c[3], &byte, 1, &calls, count_cb);
    xev_tcp_send(pair[0], &loop, &c[4], "x", 1, &calls, count_cb);
    xev_tcp_shutdown(pair[0], &loop, &c[5], &calls, count_cb);
    xev_tcp_recv(xev_tcp_from_fd(XEV_INVALID_FD), &loop, &c[6], &byte, 1, &calls, count_cb);
    xev_work_submit(&loop, &c[7], XEV_LANE_CPU, no_work, &calls, count_cb);
    xev_cancel(&loop, &c[0], &c[8], &calls, count_cb);
    xev_async_deinit(&w);
    xev_tcp_close(pair[0], &loop, &c[9], &calls, count_cb);
    CHECK_EQ(calls, 0);
    CHECK_EQ(xev_loop_active(&loop), 10);
    run_done(&loop);
    CHECK_EQ(calls, 10);
    xev_loop_deinit(&loop);
}

static xev_cb_action rearm_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)op_cb(loop, c, result, userdata);
    return XEV_REARM;
}

TEST(rearm_after_cancel_or_timeout_means_disarm) {
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    char byte;
    struct op timer = {0}, recv = {0}, cancel = {0};
    xev_timer_run(NULL, &loop, &timer.c, 1, &timer, rearm_cb);
    xev_cancel(&loop, &timer.c, &cancel.c, &cancel, rearm_cb);
    xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, rearm_cb);
    xev_completion_set_timeout(&loop, &recv.c, 1);
    CHECK_EQ(xev_loop_active(&loop), 3);
    run_for(&loop, &recv, 1);
    CHECK_EQ(recv.result, XEV_ETIMEDOUT);
    CHECK_EQ(timer.calls, 1);
    CHECK(!is_active(&timer));
    CHECK(!is_active(&recv));
    xev_loop_deinit(&loop);
}

/* --- misuse that takes more than one call; the rest is in misuse_test.c --- */

static xev_loop victim;
static xev_completion busy, spare;
static xev_watcher watcher;
static xev_tcp none = {XEV_INVALID_FD};
static uint32_t ignored;
static char byte_buf;

/* A loop with busy as an active timer. */
static void prepare(void) {
    loop_start(&victim);
    CHECK_EQ(xev_async_init(&watcher), 0);
    xev_timer_run(NULL, &victim, &busy, HOUR_MS, &ignored, count_cb);
}

#define MISUSE(name, call)                                                                         \
    static void name(void) {                                                                       \
        prepare();                                                                                 \
        call;                                                                                      \
    }

static xev_cb_action resubmit_and_rearm_cb(xev_loop *loop, xev_completion *c, int result,
                                           void *userdata) {
    (void)result;
    xev_timer_run(NULL, loop, c, 1, userdata, count_cb);
    return XEV_REARM;
}

static void resubmit_and_rearm(void) {
    prepare();
    xev_timer_run(NULL, &victim, &spare, 0, &ignored, resubmit_and_rearm_cb);
    run_once(&victim);
}

TEST(submitting_again_and_returning_rearm_is_caught) {
    check_dies(resubmit_and_rearm, "XEV_REARM");
}

static void cancel_deadline(void) {
    prepare();
    xev_cancel(&victim, &busy, &spare, &ignored, count_cb);
    xev_completion_set_timeout_ns(&victim, &spare, 1);
}

static void reset_of_a_wait(void) {
    prepare();
    xev_async_wait(&watcher, &victim, &spare, &ignored, count_cb);
    xev_timer_reset(NULL, &victim, &spare, NULL, 1, &ignored, count_cb);
}

TEST(operations_on_the_wrong_completion_are_caught) {
    check_dies(cancel_deadline, "xev_completion_set_timeout_ns");
    check_dies(reset_of_a_wait, "xev_timer_reset");
}

static xev_loop other;

MISUSE(foreign_cancel, loop_start(&other); xev_cancel(&other, &busy, &spare, NULL, count_cb))
MISUSE(foreign_deadline, loop_start(&other);
       xev_tcp_recv(none, &other, &spare, &byte_buf, 1, NULL, count_cb);
       xev_completion_set_timeout_ns(&victim, &spare, 1))
MISUSE(foreign_wait, loop_start(&other); xev_async_wait(&watcher, &victim, &spare, NULL, count_cb);
       xev_async_wait(&watcher, &other, &(xev_completion){0}, NULL, count_cb))

TEST(another_loops_completion_is_caught) {
    check_dies(foreign_cancel, "xev_cancel");
    check_dies(foreign_deadline, "xev_completion_set_timeout_ns");
    check_dies(foreign_wait, "xev_async_wait");
}

static xev_cb_action deinit_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)result;
    (void)userdata;
    xev_loop_deinit(loop);
    return XEV_DISARM;
}

static void deinit_in_run(void) {
    prepare();
    xev_timer_run(NULL, &victim, &spare, 0, NULL, deinit_cb);
    run_once(&victim);
}

static void deinit_in_deinit(void) {
    prepare();
    xev_timer_run(NULL, &victim, &spare, HOUR_MS, NULL, deinit_cb);
    xev_loop_deinit(&victim);
}

TEST(deinit_from_a_callback_is_caught) {
    check_dies(deinit_in_run, "xev_loop_deinit");
    check_dies(deinit_in_deinit, "xev_loop_deinit");
}

/* --- options --- */

static void check_refused(const xev_loop_options *options) {
    xev_loop loop;
    uint32_t before = descriptors();
    memset(&loop, 0xa5, sizeof loop);
    CHECK_EQ(xev_loop_init_options(&loop, options), XEV_EINVAL);
    CHECK_EQ(descriptors(), before);
}

TEST(bad_options_are_refused) {
    check_refused(&(xev_loop_options){.backend = (xev_backend_kind)(XEV_BACKEND_LAST + 1)});
    check_refused(&(xev_loop_options){.backend = (xev_backend_kind)UINT32_MAX});
    check_refused(&(xev_loop_options){.entries = 3});
    check_refused(&(xev_loop_options){.entries = 8192});
    check_refused(&(xev_loop_options){.entries = 1u << 31});
    check_refused(&(xev_loop_options){.entries = 256, .cq_entries = 128});
    check_refused(&(xev_loop_options){.cq_entries = 1000});
    check_refused(&(xev_loop_options){.buffer_bytes = 63});
    check_refused(&(xev_loop_options){.buffer_bytes = 1024 * 1024 + 1});
    check_refused(&(xev_loop_options){.buffers = 3});
    check_refused(&(xev_loop_options){.buffers = 65536});
    check_refused(&(xev_loop_options){.buffers_max = 32769});
}

TEST(extreme_options_are_taken) {
    static const xev_loop_options extreme[] = {
        {.entries = 1, .cq_entries = 1},
        {.entries = 4096},
        {.buffer_bytes = 64, .buffers = 1, .buffers_max = 1},
        {.buffer_bytes = 65, .buffers = 2, .buffers_max = 3},
        {.buffer_bytes = 64, .buffers = 32768, .buffers_max = 32768},
        {.buffer_bytes = 1024 * 1024, .buffers = 2},
        {.disable = XEV_FEATURE_ALL},
        {.spin_ns = UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof extreme / sizeof extreme[0]; i++) {
        xev_loop loop;
        loop_start_options(&loop, &extreme[i]);
        xev_tcp pair[2];
        socket_pair(pair);
        put_bytes(pair[1], "x", 1);
        struct op recv = {0}, timer = {0};
        xev_timer_run(NULL, &loop, &timer.c, 1, &timer, op_cb);
        xev_tcp_recv_loan(pair[0], &loop, &recv.c, &recv, op_cb);
        run_done(&loop);
        CHECK_EQ(recv.result, 1);
        CHECK_EQ(timer.result, 0);
        CHECK_EQ(xev_loop_features(&loop) & extreme[i].disable, 0);
        xev_loop_deinit(&loop);
        CHECK_EQ(xev_tcp_close_now(pair[0]), 0);
        CHECK_EQ(xev_tcp_close_now(pair[1]), 0);
    }
}

TEST(bad_environment_is_refused) {
    CHECK_EQ(setenv("XEV_BACKEND", "nonsense", 1), 0);
    check_refused(NULL);
    check_refused(&(xev_loop_options){0});
    CHECK_EQ(setenv("XEV_BACKEND", "EPOLL", 1), 0);
    check_refused(NULL);
    CHECK_EQ(setenv("XEV_BACKEND", "epol", 1), 0);
    check_refused(NULL);
    CHECK_EQ(setenv("XEV_BACKEND", "", 1), 0);
    CHECK_EQ(setenv("XEV_DISABLE", "nonsense", 1), 0);
    check_refused(NULL);
    CHECK_EQ(setenv("XEV_DISABLE", "multishot_recv,", 1), 0);
    xev_loop loop;
    CHECK_EQ(xev_loop_init(&loop), 0);
    CHECK_EQ(xev_loop_features(&loop) & XEV_FEATURE_MULTISHOT_RECV, 0);
    xev_loop_deinit(&loop);
    CHECK_EQ(setenv("XEV_DISABLE", "multishot_recv,nonsense", 1), 0);
    check_refused(NULL);
}

TEST(backend_named_in_the_options_is_the_one) {
    const char *wanted = getenv("XEV_BACKEND");
    bool uring = wanted == NULL || strcmp(wanted, "io_uring") == 0;
    xev_loop_options options = {.backend = uring ? XEV_BACKEND_IO_URING : XEV_BACKEND_EPOLL};
    CHECK_EQ(setenv("XEV_BACKEND", uring ? "epoll" : "io_uring", 1), 0);
    xev_loop loop;
    CHECK_EQ(xev_loop_init_options(&loop, &options), 0);
    CHECK_STR_EQ(xev_loop_backend(&loop), uring ? "io_uring" : "epoll");
    CHECK(xev_loop_fallback_reason(&loop) == NULL);
    xev_loop_deinit(&loop);
}

/* --- errors --- */

TEST(error_names_and_texts_are_those_of_the_list) {
#define CHECK_ERRNO(name, text)                                                                    \
    CHECK_EQ(XEV_##name, -name);                                                                   \
    CHECK_STR_EQ(xev_err_name(-name), "XEV_" #name);                                               \
    CHECK_STR_EQ(xev_strerror(-name), text);
    XEV_ERRNO_MAP(CHECK_ERRNO)
#define CHECK_EXTRA(name, value, text)                                                             \
    CHECK_EQ(XEV_##name, value);                                                                   \
    CHECK_STR_EQ(xev_err_name(value), "XEV_" #name);                                               \
    CHECK_STR_EQ(xev_strerror(value), text);
    XEV_EXTRA_MAP(CHECK_EXTRA)
}

static bool system_knows(int code) {
    const char *text = strerror(code);
    return strncmp(text, "Unknown error", strlen("Unknown error")) != 0 &&
           strcmp(text, "No error information") != 0;
}

/* What the kernel answers is never "unknown". */
TEST(every_errno_of_the_system_has_its_name) {
    for (int code = 1; code < 4096; code++) {
        if (system_knows(code)) {
            CHECK(strcmp(xev_err_name(-code), "XEV_EUNKNOWN") != 0);
            CHECK(strcmp(xev_strerror(-code), xev_strerror(XEV_EUNKNOWN)) != 0);
        }
#if defined(__GLIBC__)                                             /* it knows the names */
        if (strerrorname_np(code) != NULL && code != EOPNOTSUPP) { /* the same as ENOTSUP */
            CHECK_STR_EQ(xev_err_name(-code) + strlen("XEV_"), strerrorname_np(code));
        }
#endif
    }
    CHECK_STR_EQ(xev_err_name(-EOPNOTSUPP), "XEV_ENOTSUP");
    for (int code = 512; code <= 531; code++) { /* the kernel's own; 520 is none */
        CHECK((strcmp(xev_err_name(-code), "XEV_EUNKNOWN") == 0) == (code == 520));
    }
}

TEST(unknown_codes_and_success_have_names_too) {
    static const int unknown[] = {-3999, -4080, -4096, -100000, INT32_MIN};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        CHECK_STR_EQ(xev_err_name(unknown[i]), "XEV_EUNKNOWN");
        CHECK_STR_EQ(xev_strerror(unknown[i]), "unknown error");
    }
    for (int code = -5000; code < 0; code++) {
        CHECK(strncmp(xev_err_name(code), "XEV_E", 5) == 0);
        CHECK(xev_strerror(code)[0] != '\0');
    }
    CHECK_STR_EQ(xev_err_name(0), "XEV_OK");
    CHECK_STR_EQ(xev_err_name(INT32_MAX), "XEV_OK");
    CHECK_STR_EQ(xev_strerror(0), "success");
    CHECK_STR_EQ(xev_strerror(17), "success");
}
