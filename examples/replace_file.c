/* Replaces a file so that a crash leaves the old one or the new one, never a half: write a new
 * file, fsync it, rename it over the old one. Each step blocks, so it runs on the thread pool, and
 * the loop goes on. Usage: replace_file PATH TEXT */
#include <stdio.h>
#include <string.h>

#include "xev/xev.h"

static struct job {
    xev_file_req req; /* one request, used by each step in turn */
    const char *path, *text;
    char temporary[4096];
    xev_fd fd;
    int error;
} job;

static xev_cb_action finish(const char *step, int result) {
    fprintf(stderr, "replace_file: %s: %s\n", step, xev_strerror(result));
    job.error = 1;
    return XEV_DISARM;
}

static xev_cb_action on_renamed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    return result < 0 ? finish("rename", result) : XEV_DISARM;
}

static xev_cb_action on_closed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)userdata;
    if (result < 0 || job.error) {
        return job.error ? XEV_DISARM : finish("close", result);
    }
    xev_file_rename(loop, &job.req, job.temporary, job.path, NULL, on_renamed);
    return XEV_DISARM;
}

static xev_cb_action on_synced(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)userdata;
    if (result < 0) {
        (void)finish("fsync", result);
    }
    xev_file_close(job.fd, loop, &job.req, NULL, on_closed);
    return XEV_DISARM;
}

static xev_cb_action on_written(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)userdata;
    if (result < 0) {
        (void)finish("write", result);
        xev_file_close(job.fd, loop, &job.req, NULL, on_closed);
    } else {
        xev_file_fsync(job.fd, loop, &job.req, NULL, on_synced);
    }
    return XEV_DISARM;
}

static xev_cb_action on_opened(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)userdata;
    if (result < 0) {
        return finish("open", result);
    }
    job.fd = result;
    xev_file_write(job.fd, loop, &job.req, job.text, strlen(job.text), NULL, on_written);
    return XEV_DISARM;
}

int main(int argc, char **argv) {
    if (argc != 3 || argv[2][0] == '\0') {
        fprintf(stderr, "usage: replace_file PATH TEXT\n");
        return 2;
    }
    job.path = argv[1];
    job.text = argv[2];
    snprintf(job.temporary, sizeof job.temporary, "%s.new", job.path);
    xev_threadpool pool;
    xev_loop loop;
    xev_loop_options options = {.thread_pool = &pool};
    int rc = xev_threadpool_init(&pool, NULL);
    if (rc < 0 || (rc = xev_loop_init_options(&loop, &options)) < 0) {
        fprintf(stderr, "replace_file: %s\n", xev_strerror(rc));
        return 1;
    }
    const uint32_t flags = XEV_OPEN_WRITE | XEV_OPEN_CREATE | XEV_OPEN_TRUNCATE;
    xev_file_open(&loop, &job.req, job.temporary, flags, 0644, NULL, on_opened);
    rc = xev_loop_run(&loop, XEV_RUN_UNTIL_DONE);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
    return rc < 0 || job.error;
}
