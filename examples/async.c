/* A thread wakes a loop. */
#include <pthread.h>
#include <stdio.h>

#include "xev/xev.h"

struct work {
    xev_watcher done;
    int answer; /* written by the thread before it notifies, read by the callback after */
};

static void *compute(void *arg) {
    struct work *w = arg;
    w->answer = 6 * 7;
    (void)xev_async_notify(&w->done);
    return NULL;
}

static xev_cb_action on_done(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    struct work *w = userdata;
    if (result == 0) {
        printf("the thread says %d\n", w->answer);
    }
    return XEV_DISARM; /* XEV_REARM would wait for the next notification */
}

int main(void) {
    xev_loop loop;
    int rc = xev_loop_init(&loop);
    if (rc < 0) {
        fprintf(stderr, "async: %s\n", xev_strerror(rc));
        return 1;
    }
    struct work w;
    xev_completion c;
    (void)xev_async_init(&w.done);
    xev_async_wait(&w.done, &loop, &c, &w, on_done);

    pthread_t thread;
    if (pthread_create(&thread, NULL, compute, &w) != 0) {
        fprintf(stderr, "async: no thread\n");
        return 1;
    }
    rc = xev_loop_run(&loop, XEV_RUN_UNTIL_DONE);
    (void)pthread_join(thread, NULL); /* a watcher outlives those who notify it */
    xev_async_deinit(&w.done);
    xev_loop_deinit(&loop);
    if (rc < 0) {
        fprintf(stderr, "async: %s\n", xev_strerror(rc));
    }
    return rc < 0;
}
