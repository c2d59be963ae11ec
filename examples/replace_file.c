/* Replaces a file. After a crash either the old file or the new one is there, and never a part of
 * one, also where several programs replace it at once. The steps: write a new file beside the old
 * one, fsync it, rename it over the old one. (A program that must know which of the two a crash
 * leaves also fsyncs the directory.) Each step blocks, so it runs on the thread pool, and the loop
 * goes on. The new file gets the permissions of the old one. A symbolic link is refused, since the
 * rename would replace the link and not its target. Usage: replace_file PATH TEXT */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "examples/args.h"
#include "xev/xev.h"

enum step { LOOK, OPEN, WRITE, SYNC, RENAME, UNLINK, CLOSE, END };

static struct job {
    xev_file_req req; /* one request, used by each step in turn */
    const char *path, *text;
    char temporary[4096]; /* removed at the end, unless the program is killed */
    uint32_t mode;
    xev_fd fd;
    enum step step;
    bool failed;
} job;

static enum step step_after(enum step step, bool failed) {
    if (failed && step < UNLINK) {
        return step <= OPEN ? END : UNLINK; /* what an open that failed has found is not ours */
    }
    return step == RENAME ? CLOSE : step + 1;
}

static xev_cb_action on_done(xev_loop *loop, xev_completion *c, int result, void *what) {
    const uint32_t flags = XEV_OPEN_WRITE | XEV_OPEN_CREATE | XEV_OPEN_EXCLUSIVE;
    (void)c;
    if (job.step == LOOK && result == 0) {
        job.mode = job.req.stat.mode & 0777;
        result = job.req.stat.type == XEV_FILE_REGULAR ? 0 : XEV_ENOTSUP;
    } else if (job.step == LOOK && result == XEV_ENOENT) {
        result = 0;
    }
    if (result < 0) {
        fprintf(stderr, "replace_file: %s: %s\n", (const char *)what, xev_strerror(result));
        job.failed = true;
    }
    job.step = step_after(job.step, result < 0);
    switch (job.step) {
    case OPEN:
        xev_file_open(loop, &job.req, job.temporary, flags, job.mode, "open", on_done);
        break;
    case WRITE:
        job.fd = result;
        xev_file_write(job.fd, loop, &job.req, job.text, strlen(job.text), "write", on_done);
        break;
    case SYNC:
        xev_file_fsync(job.fd, loop, &job.req, "fsync", on_done);
        break;
    case RENAME:
        xev_file_rename(loop, &job.req, job.temporary, job.path, "rename", on_done);
        break;
    case UNLINK:
        xev_file_unlink(loop, &job.req, job.temporary, "unlink", on_done);
        break;
    case CLOSE: /* after the fsync it has nothing left to lose */
        xev_file_close(job.fd, loop, &job.req, "close", on_done);
        break;
    default:
        break;
    }
    return XEV_DISARM;
}

int main(int argc, char **argv) {
    args_to_utf8(&argc, &argv);
    if (argc != 3 || argv[2][0] == '\0') {
        fprintf(stderr, "usage: replace_file PATH TEXT\n");
        return 2;
    }
    /* Modes are meant as they are: a new file's is masked here. */
    job = (struct job){.path = argv[1], .text = argv[2], .mode = 0644 & ~umask(0)};
    int len = snprintf(job.temporary, sizeof job.temporary, "%s.%d.new", job.path, getpid());
    xev_threadpool pool;
    xev_loop loop;
    xev_loop_options options = {.thread_pool = &pool};
    int rc = len < (int)sizeof job.temporary ? xev_threadpool_init(&pool, NULL) : XEV_ENAMETOOLONG;
    if (rc < 0 || (rc = xev_loop_init_options(&loop, &options)) < 0) {
        fprintf(stderr, "replace_file: %s\n", xev_strerror(rc));
        return 1;
    }
    xev_file_lstat_path(&loop, &job.req, job.path, "look", on_done);
    rc = xev_loop_run(&loop, XEV_RUN_UNTIL_DONE);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
    if (rc < 0) {
        fprintf(stderr, "replace_file: %s\n", xev_strerror(rc));
    }
    return rc < 0 || job.failed;
}
