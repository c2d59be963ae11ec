/* Blocking work on a thread pool, with the result back on the loop. */
#include <stdio.h>

#include "xev/xev.h"

#define JOBS 4

struct job {
    xev_completion c;
    int n;
};

static bool failed;

/* On a pool thread: may block. */
static int count_primes(void *userdata) {
    const struct job *job = userdata;
    int found = 0;
    for (int i = 2; i <= job->n; i++) {
        int d = 2;
        while (d * d <= i && i % d != 0) {
            d++;
        }
        found += d * d > i;
    }
    return found;
}

/* On the loop's thread. */
static xev_cb_action on_counted(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    const struct job *job = userdata;
    if (result < 0) {
        fprintf(stderr, "threadpool: up to %d: %s\n", job->n, xev_strerror(result));
        failed = true;
    } else {
        printf("up to %d: %d primes\n", job->n, result);
    }
    return XEV_DISARM;
}

int main(void) {
    xev_threadpool pool;
    xev_loop loop;
    int rc = xev_threadpool_init(&pool, NULL); /* starts threads when there is work for them */
    if (rc == 0) {
        xev_loop_options options = {.thread_pool = &pool};
        rc = xev_loop_init_options(&loop, &options);
    }
    if (rc < 0) {
        fprintf(stderr, "threadpool: %s\n", xev_strerror(rc));
        return 1;
    }
    struct job jobs[JOBS];
    for (int i = 0; i < JOBS; i++) {
        jobs[i].n = 10000 * (i + 1);
        xev_work_submit(&loop, &jobs[i].c, XEV_LANE_CPU, count_primes, &jobs[i], on_counted);
    }
    rc = xev_loop_run(&loop, XEV_RUN_UNTIL_DONE);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
    if (rc < 0) {
        fprintf(stderr, "threadpool: %s\n", xev_strerror(rc));
    }
    return rc < 0 || failed;
}
