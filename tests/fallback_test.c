/* Which backend a loop gets: by its options, by the environment, and by what the system refuses.
 * Linux only. */
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "tests/net_scene.h"
#include "tests/refuse.h"

static const xev_loop_options by_io_uring = {.backend = XEV_BACKEND_IO_URING};
static const xev_loop_options by_epoll = {.backend = XEV_BACKEND_EPOLL};

#if defined(XEV_NO_IO_URING)
static const bool has_io_uring = false;
#else
static const bool has_io_uring = true;
#endif

static void clear_environment(void) {
    CHECK_EQ(unsetenv("XEV_BACKEND"), 0);
    CHECK_EQ(unsetenv("XEV_DISABLE"), 0);
}

/* It keeps time, moves bytes and leaves nothing behind. */
static void check_works(struct net *n) {
    struct op received;
    int fd[2];
    char buf[4];
    (void)run_for(n, 2);
    tcp_pair(fd);
    op_new(&received, n);
    xev_tcp_recv(xev_tcp_from_fd(fd[0]), &n->loop, &received.c, buf, 4, &received, op_called);
    settle(n);
    plain_send(fd[1], "work", 4);
    run_op(&received);
    CHECK_EQ(received.result, 4);
    op_new(&received, n);
    xev_tcp_recv_multi(xev_tcp_from_fd(fd[0]), &n->loop, &received.c, &received, op_called);
    plain_send(fd[1], "more", 4);
    run_until(n, &received.calls, 1);
    close_fd(n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(n);
}

TEST(the_preferred_backend_is_taken_where_nothing_is_in_the_way) {
    struct net n;
    clear_environment();
    net_open(&n, NULL);
    CHECK_STR_EQ(xev_loop_backend(&n.loop), has_io_uring ? "io_uring" : "epoll");
    CHECK(xev_loop_fallback_reason(&n.loop) == NULL);
    CHECK_EQ(xev_loop_features(&n.loop) != 0, has_io_uring);
    check_works(&n);
}

TEST(an_option_beats_the_environment) {
    struct net n;
    clear_environment();
    CHECK_EQ(setenv("XEV_BACKEND", "io_uring", 1), 0);
    net_open(&n, &by_epoll);
    CHECK_STR_EQ(xev_loop_backend(&n.loop), "epoll");
    CHECK_EQ(xev_loop_features(&n.loop), 0);
    CHECK(xev_loop_fallback_reason(&n.loop) == NULL);
    check_works(&n);
    CHECK_EQ(setenv("XEV_BACKEND", "epoll", 1), 0);
    if (has_io_uring) {
        net_open(&n, &by_io_uring);
        CHECK_STR_EQ(xev_loop_backend(&n.loop), "io_uring");
        check_works(&n);
    }
    CHECK_EQ(setenv("XEV_BACKEND", "nonsense", 1), 0);
    net_open(&n, &by_epoll);
    check_works(&n);
}

TEST(the_environment_names_the_backend) {
    static const struct {
        const char *value, *backend; /* NULL: refused */
    } cases[] = {
        {"epoll", "epoll"}, {"", ""},          {"auto", ""},     {"io_uring", "io_uring"},
        {"EPOLL", NULL},    {"kqueues", NULL}, {"epoll ", NULL}, {"io_uringx", NULL},
    };
    clear_environment();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        xev_loop loop;
        const char *expected = cases[i].backend;
        CHECK_EQ(setenv("XEV_BACKEND", cases[i].value, 1), 0);
        int rc = xev_loop_init(&loop);
        if (expected == NULL) {
            CHECK_EQ(rc, XEV_EINVAL);
        } else if (!has_io_uring && strcmp(expected, "io_uring") == 0) {
            CHECK_EQ(rc, XEV_ENOTSUP);
        } else {
            CHECK_EQ(rc, 0);
            const char *best = has_io_uring ? "io_uring" : "epoll";
            CHECK_STR_EQ(xev_loop_backend(&loop), *expected != '\0' ? expected : best);
            CHECK(xev_loop_fallback_reason(&loop) == NULL);
            xev_loop_deinit(&loop);
        }
    }
}

TEST(a_backend_that_was_not_built_in_is_an_error) {
    xev_loop loop;
    clear_environment();
    if (!has_io_uring) {
        CHECK_EQ(xev_loop_init_options(&loop, &by_io_uring), XEV_ENOTSUP);
    }
    CHECK_EQ(setenv("XEV_BACKEND", "kqueue", 1), 0); /* another system's */
    CHECK_EQ(xev_loop_init(&loop), XEV_ENOTSUP);
    clear_environment();
    xev_loop_options none = {.backend = (xev_backend_kind)77};
    CHECK_EQ(xev_loop_init_options(&loop, &none), XEV_EINVAL);
}

TEST(bad_options_are_refused) {
    static const xev_loop_options bad[] = {
        {.entries = 3},         {.entries = 8192},
        {.cq_entries = 100},    {.entries = 64, .cq_entries = 32},
        {.buffer_bytes = 63},   {.buffer_bytes = (1 << 20) + 1},
        {.buffers = 3},         {.buffers = 65536},
        {.buffers_max = 32769}, {.backend = (xev_backend_kind)77},
    };
    static const char *const names[] = {"entries",      "entries",      "cq_entries", "cq_entries",
                                        "buffer_bytes", "buffer_bytes", "buffers",    "buffers",
                                        "buffers",      "backend"};
    int before = open_fds();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        xev_loop loop;
        if (xev_loop_init_options(&loop, &bad[i]) != XEV_EINVAL) {
            CHECK_FAIL("options %zu are taken", i);
        }
        CHECK(strstr(xev_err_why(), names[i]) == xev_err_why());
    }
    static const xev_loop_options good[] = {
        {.entries = 1, .cq_entries = 1, .buffer_bytes = 64, .buffers = 1, .buffers_max = 1},
        {.entries = 4096, .buffer_bytes = 1 << 20, .buffers = 4},
        {.buffers = 32768, .buffer_bytes = 64},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct net n;
        net_open(&n, &good[i]);
        check_works(&n);
    }
    CHECK_EQ(open_fds(), before);
}

static void *ask_why(void *arg) {
    (void)arg;
    CHECK_STR_EQ(xev_err_why(), "");
    return NULL;
}

TEST(why_options_were_refused_is_told_to_the_thread_that_gave_them) {
    xev_loop loop;
    pthread_t other;
    CHECK_STR_EQ(xev_err_why(), "");
    CHECK_EQ(xev_loop_init_options(&loop, &(xev_loop_options){.entries = 3}), XEV_EINVAL);
    CHECK_EQ(pthread_create(&other, NULL, ask_why, NULL), 0);
    CHECK_EQ(pthread_join(other, NULL), 0);
    CHECK_STR_EQ(xev_err_why(), "entries is no power of two to 4096");
}

TEST(disable_takes_known_features_only) {
    xev_loop loop;
    static const char *const bad[] = {
        "nonsense", "all,nonsense", "multishot", "ALL", "defer_taskrun;submit_all", " all"};
    clear_environment();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQ(setenv("XEV_DISABLE", bad[i], 1), 0);
        if (xev_loop_init(&loop) != XEV_EINVAL) {
            CHECK_FAIL("XEV_DISABLE=%s is taken", bad[i]);
        }
        CHECK_EQ(xev_loop_init_options(&loop, &by_epoll), XEV_EINVAL);
        CHECK(strstr(xev_err_why(), "XEV_DISABLE: no such feature: ") != NULL);
    }
    CHECK_EQ(setenv("XEV_DISABLE", "", 1), 0);
    CHECK_EQ(xev_loop_init(&loop), 0);
    xev_loop_deinit(&loop);
}

#if !defined(XEV_NO_IO_URING)

static const struct {
    const char *name;
    uint32_t bit;
} features[] = {
    {"defer_taskrun", XEV_FEATURE_DEFER_TASKRUN},
    {"submit_all", XEV_FEATURE_SUBMIT_ALL},
    {"registered_ring", XEV_FEATURE_REGISTERED_RING},
    {"multishot_accept", XEV_FEATURE_MULTISHOT_ACCEPT},
    {"multishot_recv", XEV_FEATURE_MULTISHOT_RECV},
    {"buffer_ring", XEV_FEATURE_BUFFER_RING},
};

TEST(features_tell_what_is_switched_off) {
    clear_environment();
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        for (int by_option = 0; by_option < 2; by_option++) {
            struct net n;
            xev_loop_options options = by_io_uring;
            if (by_option) {
                options.disable = features[i].bit;
                CHECK_EQ(unsetenv("XEV_DISABLE"), 0);
            } else {
                CHECK_EQ(setenv("XEV_DISABLE", features[i].name, 1), 0);
            }
            uint32_t expected = XEV_FEATURE_ALL & ~features[i].bit;
            if (features[i].bit == XEV_FEATURE_BUFFER_RING) {
                expected &= ~(uint32_t)XEV_FEATURE_MULTISHOT_RECV; /* stands on it */
            }
            net_open(&n, &options);
            CHECK_EQ(xev_loop_features(&n.loop), expected);
            settle(&n);
            (void)run_for(&n, 1);
            CHECK_EQ(xev_loop_features(&n.loop), expected); /* nor found missing later */
            check_works(&n);
        }
    }
    struct net n;
    CHECK_EQ(setenv("XEV_DISABLE", "defer_taskrun,,submit_all", 1), 0);
    xev_loop_options options = by_io_uring;
    options.disable = XEV_FEATURE_MULTISHOT_ACCEPT;
    net_open(&n, &options);
    CHECK_EQ(xev_loop_features(&n.loop),
             XEV_FEATURE_ALL & ~(uint32_t)(XEV_FEATURE_DEFER_TASKRUN | XEV_FEATURE_SUBMIT_ALL |
                                           XEV_FEATURE_MULTISHOT_ACCEPT));
    check_works(&n);
    CHECK_EQ(setenv("XEV_DISABLE", "all", 1), 0);
    net_open(&n, &by_io_uring);
    CHECK_EQ(xev_loop_features(&n.loop), 0);
    CHECK_STR_EQ(xev_loop_backend(&n.loop), "io_uring");
    check_works(&n);
}

/* With the call refused: AUTO falls back and says why, by name it is an error. */
static void check_refused(long nr, int error, const char *step) {
    struct net n;
    xev_loop loop;
    clear_environment();
    refuse(nr, error);
    int before = open_fds();
    int rc = xev_loop_init_options(&loop, &by_io_uring);
    /* In a sandbox, or where the test is no superuser's, a limit is what refuses memory. */
    bool may_be_limit = nr == SYS_io_uring_setup && error == ENOMEM;
    if (rc != -error && !(may_be_limit && rc == XEV_ENOLOCKMEM)) {
        CHECK_FAIL("io_uring by name: %s", xev_err_name(rc));
    }
    CHECK_EQ(setenv("XEV_BACKEND", "io_uring", 1), 0);
    CHECK_EQ(xev_loop_init(&loop), rc);
    clear_environment();
    CHECK_EQ(open_fds(), before);
    net_open(&n, NULL);
    CHECK_STR_EQ(xev_loop_backend(&n.loop), "epoll");
    CHECK_EQ(xev_loop_features(&n.loop), 0);
    const char *why = xev_loop_fallback_reason(&n.loop);
    CHECK(why != NULL);
    if (strstr(why, "io_uring") == NULL || strstr(why, step) == NULL ||
        strstr(why, xev_strerror(rc)) == NULL) {
        CHECK_FAIL("reason: %s", why);
    }
    check_works(&n);
    CHECK_EQ(open_fds(), before);
}

TEST(setup_refused_with_eperm_falls_back) {
    check_refused(SYS_io_uring_setup, EPERM, "io_uring_setup");
}

TEST(setup_refused_with_enosys_falls_back) {
    check_refused(SYS_io_uring_setup, ENOSYS, "io_uring_setup");
}

TEST(setup_refused_with_eacces_falls_back) {
    check_refused(SYS_io_uring_setup, EACCES, "io_uring_setup");
}

TEST(enter_refused_with_eperm_falls_back) {
    check_refused(SYS_io_uring_enter, EPERM, "io_uring_enter");
}

TEST(enter_refused_with_enosys_falls_back) {
    check_refused(SYS_io_uring_enter, ENOSYS, "io_uring_enter");
}

TEST(enter_refused_with_eacces_falls_back) {
    check_refused(SYS_io_uring_enter, EACCES, "io_uring_enter");
}

TEST(register_refused_with_eperm_falls_back) {
    check_refused(SYS_io_uring_register, EPERM, "io_uring_register");
}

TEST(register_refused_with_enosys_falls_back) {
    check_refused(SYS_io_uring_register, ENOSYS, "io_uring_register");
}

TEST(setup_without_descriptors_falls_back) {
    check_refused(SYS_io_uring_setup, EMFILE, "io_uring_setup");
}

TEST(setup_without_descriptors_of_the_system_falls_back) {
    check_refused(SYS_io_uring_setup, ENFILE, "io_uring_setup");
}

TEST(setup_without_memory_falls_back) {
    check_refused(SYS_io_uring_setup, ENOMEM, "io_uring_setup");
}

TEST(register_without_memory_falls_back) {
    check_refused(SYS_io_uring_register, ENOMEM, "io_uring_register");
}

/* As a user's process with `ulimit -l 0`. That the kernel counts a ring against it depends on its
 * version; the filter stands for one that does. */
static void lock_no_memory(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
    CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){0, 0}), 0);
    CHECK_EQ(syscall(SYS_capget, &head, caps), 0);
    caps[0].effective &= ~(1u << CAP_IPC_LOCK);
    CHECK_EQ(syscall(SYS_capset, &head, caps), 0);
    refuse(SYS_io_uring_setup, ENOMEM);
}

TEST(no_locked_memory_falls_back_and_names_the_limit) {
    struct net n;
    clear_environment();
    lock_no_memory();
    net_open(&n, NULL);
    CHECK_STR_EQ(xev_loop_backend(&n.loop), "epoll");
    const char *why = xev_loop_fallback_reason(&n.loop);
    CHECK(why != NULL && strstr(why, "ulimit -l") != NULL);
    check_works(&n);
}

TEST(no_locked_memory_is_an_error_that_names_the_limit_where_io_uring_was_asked_for) {
    xev_loop loop;
    clear_environment();
    lock_no_memory();
    int before = open_fds();
    CHECK_EQ(xev_loop_init_options(&loop, &by_io_uring), XEV_ENOLOCKMEM);
    CHECK(strstr(xev_strerror(XEV_ENOLOCKMEM), "ulimit -l") != NULL);
    CHECK_EQ(setenv("XEV_BACKEND", "io_uring", 1), 0);
    CHECK_EQ(xev_loop_init(&loop), XEV_ENOLOCKMEM);
    CHECK_EQ(open_fds(), before);
}

/* There a process has every capability, and none of them counts. */
TEST(no_locked_memory_in_a_container_names_the_limit) {
    xev_loop loop;
    clear_environment();
    if (unshare(CLONE_NEWUSER) != 0) { /* a filter, or ThreadSanitizer's thread */
        printf("no user namespace can be made here\n");
        return;
    }
    CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){0, 0}), 0);
    refuse(SYS_io_uring_setup, ENOMEM);
    CHECK_EQ(xev_loop_init_options(&loop, &by_io_uring), XEV_ENOLOCKMEM);
}

#endif

/* A filter that allows only what a loop needs does not know the timer that only saves time. */
TEST(epoll_needs_no_timer_of_the_system) {
    static const int codes[] = {EPERM, EACCES, ENOSYS};
    clear_environment();
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct net n;
        refuse(SYS_timerfd_create, codes[i]);
        net_open(&n, &by_epoll);
        (void)run_for(&n, 20);
        check_works(&n);
    }
}

TEST(too_few_descriptors_are_an_error_and_none_leaks) {
    clear_environment();
    limit_fds();
    for (int backend = XEV_BACKEND_AUTO; backend <= XEV_BACKEND_EPOLL; backend++) {
        const xev_loop_options options = {.backend = (xev_backend_kind)backend};
        struct hoard hoard;
        xev_loop loop;
        int rc;
        if (backend == XEV_BACKEND_IO_URING && !has_io_uring) {
            continue;
        }
        exhaust_fds(&hoard);
        int all = hoard.count;
        while ((rc = xev_loop_init_options(&loop, &options)) < 0) {
            CHECK_EQ(rc, XEV_EMFILE);
            struct hoard again; /* what can be had is what could be had before */
            int released = all - hoard.count;
            if (released > 0) {
                exhaust_fds(&again);
                CHECK_EQ(again.count, released);
                restore_fds(&again);
            }
            CHECK_EQ(close(hoard.fds[--hoard.count]), 0);
        }
        CHECK_LE(all - hoard.count, 4);
        CHECK_STR_EQ(xev_loop_backend(&loop),
                     has_io_uring && backend != XEV_BACKEND_EPOLL ? "io_uring" : "epoll");
        CHECK(xev_loop_fallback_reason(&loop) == NULL);
        xev_loop_deinit(&loop);
        restore_fds(&hoard);
    }
}

#if defined(SYS_epoll_pwait2)
TEST(epoll_works_without_epoll_pwait2) {
    struct net n;
    clear_environment();
    refuse(SYS_epoll_pwait2, ENOSYS);
    net_open(&n, &by_epoll);
    uint64_t start = clock_ns();
    CHECK_LT(run_for(&n, 30), 10);
    CHECK_GE(clock_ns() - start, 30 * MS);
    check_works(&n);
}
#endif
