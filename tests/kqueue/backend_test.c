/* The kqueue backend where its kernel has less than the conformance tests meet, and more to do at
 * once. */
#include <sys/event.h>

#include <pthread.h>
#include <unistd.h>

#include "tests/loop_scene.h"

static const xev_loop_options by_kqueue = {.backend = XEV_BACKEND_KQUEUE};

static void *notify_many(void *arg) {
    for (int i = 0; i < 100000; i++) { /* more than fit a pipe that nobody reads */
        (void)xev_async_notify(arg);
    }
    return NULL;
}

static void wake_loop(void) {
    xev_loop loop;
    xev_watcher w;
    struct op wait = {0};
    pthread_t thread;
    CHECK_EQ(xev_loop_init_options(&loop, &by_kqueue), 0);
    CHECK_EQ(xev_async_init(&w), 0);
    xev_async_wait(&w, &loop, &wait.c, &wait, op_cb);
    CHECK_EQ(pthread_create(&thread, NULL, notify_many, &w), 0);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(wait.calls, 1);
    CHECK_EQ(wait.result, 0);
    xev_async_deinit(&w);
    xev_loop_deinit(&loop);
}

TEST(wakes_by_a_user_event) { wake_loop(); }

TEST(wakes_by_a_pipe_where_there_are_no_user_events) {
    kqueue_refuse_user(true);
    wake_loop();
    kqueue_refuse_user(false);
}

/* More additions in one turn than the backend keeps, and than the kernel answers in one call. */
TEST(all_of_many_additions_are_made) {
    enum { PIPES = 700 };
    static struct op reads[PIPES];
    static int fd[PIPES][2];
    static char byte[PIPES];
    xev_loop loop;
    CHECK_EQ(xev_loop_init_options(&loop, &by_kqueue), 0);
    for (int i = 0; i < PIPES; i++) {
        CHECK_EQ(pipe(fd[i]), 0);
        xev_fd_read(fd[i][0], &loop, &reads[i].c, &byte[i], 1, &reads[i], op_cb);
    }
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_NO_WAIT), 0);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_NO_WAIT), 0);
    for (int i = 0; i < PIPES; i++) {
        CHECK_EQ(reads[i].calls, 0);
        CHECK_EQ(write(fd[i][1], "x", 1), 1);
    }
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    for (int i = 0; i < PIPES; i++) {
        CHECK_EQ(reads[i].calls, 1);
        CHECK_EQ(reads[i].result, 1);
        CHECK_EQ(close(fd[i][0]) + close(fd[i][1]), 0);
    }
    xev_loop_deinit(&loop);
}

TEST(a_descriptor_that_is_closed_before_the_wait_is_not_added) {
    xev_loop loop;
    struct op read_op = {0};
    int fd[2];
    char byte;
    CHECK_EQ(xev_loop_init_options(&loop, &by_kqueue), 0);
    CHECK_EQ(pipe(fd), 0);
    xev_fd_read(fd[0], &loop, &read_op.c, &byte, 1, &read_op, op_cb);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_NO_WAIT), 0); /* tried, and kept for the next wait */
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    CHECK_EQ(read_op.calls, 1);
    CHECK_EQ(read_op.result, XEV_EBADF);
    CHECK_EQ(close(fd[1]), 0);
    xev_loop_deinit(&loop);
}
