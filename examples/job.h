/* A program that runs for somebody: what it writes is handed on, within a time and a length.
 *
 * It leads a process group and starts in a thread of the loop's pool. It is ended by SIGTERM to the
 * group and, grace_ms later, SIGKILL: at its deadline, beyond its output, or by job_end. What it
 * has started and left behind in its group is killed when it ends itself; what has left the group
 * keeps the pipe open, and is waited for grace_ms.
 */
#ifndef EXAMPLES_JOB_H
#define EXAMPLES_JOB_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "xev/xev.h"

enum { JOB_ARGS_MAX = 32, JOB_PIECE_BYTES = 16384 };

struct job {
    /* Set before job_begin, the rest zeroed. */
    xev_loop *loop;
    const char *argv[JOB_ARGS_MAX + 1];
    uint32_t time_ms, grace_ms;
    uint64_t left_bytes; /* of output */
    /* It has written len_bytes to stdout or stderr. False: no more, before job_resume. */
    bool (*output)(struct job *job, const void *data, size_t len_bytes);
    /* It is over, and its memory is the caller's again. */
    void (*over)(struct job *job);
    /* Then: as of xev_process_wait, or what kept it from running; and why it was ended, or "". */
    int result;
    const char *why; /* " late", " full" */

    /* ---- private ---- */
    xev_process process;
    xev_fd pipe, child_end;
    xev_completion spawn, read, wait, timer, close_pipe;
    int pending; /* operations under way */
    bool running, ended, held;
    int step; /* what the timer does: 0 SIGTERM, 1 SIGKILL, 2 gives up the pipe, 3 nothing */
    char buf[JOB_PIECE_BYTES];
};

static inline xev_cb_action job_on_timer(xev_loop *loop, xev_completion *c, int result,
                                         void *userdata);

/* One operation less is under way. */
static inline xev_cb_action job_done(struct job *job) {
    job->pending--;
    if (job->ended && job->pipe == XEV_INVALID_FD) {
        if (job->step < 4 && xev_completion_state(&job->timer) == XEV_COMPLETION_ACTIVE) {
            job->step = 4;
            xev_timer_reset(NULL, job->loop, &job->timer, NULL, 0, job, job_on_timer);
        }
        if (job->pending == 0) {
            job->over(job);
        }
    }
    return XEV_DISARM;
}

static inline xev_cb_action job_on_closed(xev_loop *loop, xev_completion *c, int result,
                                          void *userdata) {
    (void)loop, (void)c, (void)result;
    return job_done(userdata);
}

static inline void job_close_pipe(struct job *job) {
    if (job->pipe != XEV_INVALID_FD) {
        job->pending++;
        xev_fd_close(job->pipe, job->loop, &job->close_pipe, job, job_on_closed);
        job->pipe = XEV_INVALID_FD;
    }
}

static inline xev_cb_action job_on_timer(xev_loop *loop, xev_completion *c, int result,
                                         void *userdata) {
    struct job *job = userdata;
    if (result < 0 || job->step > 2) {
        return job_done(job);
    }
    if (job->step == 2 && job->held) {
        job->step--; /* it has ended, and who reads its output is slow: again later */
    } else if (job->step == 2) {
        job_close_pipe(job);
    } else {
        job->why = job->step == 0 ? " late" : job->why;
        (void)xev_process_kill_group(&job->process, job->step == 0 ? SIGTERM : XEV_SIGKILL);
    }
    job->step++;
    xev_timer_run(NULL, loop, c, job->grace_ms, job, job_on_timer);
    return XEV_DISARM;
}

/* End it before its time, if it is not ending. why: static. */
static inline void job_end(struct job *job, const char *why) {
    job->time_ms = 0; /* of one that is only being spawned */
    if (job->running && !job->ended && job->step == 0) {
        job->why = why;
        job->step = 1;
        (void)xev_process_kill_group(&job->process, SIGTERM);
        xev_timer_reset(NULL, job->loop, &job->timer, NULL, job->grace_ms, job, job_on_timer);
    }
}

static inline xev_cb_action job_on_exit(xev_loop *loop, xev_completion *c, int result,
                                        void *userdata) {
    struct job *job = userdata;
    if (result == XEV_ECANCELED) {
        return job_done(job); /* the loop ends */
    }
    job->ended = true;
    job->result = result;
    (void)xev_process_kill_group(&job->process, XEV_SIGKILL);
    if (job->step < 2) {
        job->step = 2;
        xev_timer_reset(NULL, loop, &job->timer, NULL, job->grace_ms, job, job_on_timer);
    }
    xev_process_close(&job->process, loop, c, job, job_on_closed);
    return XEV_DISARM;
}

static inline xev_cb_action job_on_output(xev_loop *loop, xev_completion *c, int result,
                                          void *userdata) {
    struct job *job = userdata;
    (void)loop, (void)c;
    if (result > 0) {
        size_t len = (size_t)result < job->left_bytes ? (size_t)result : (size_t)job->left_bytes;
        job->left_bytes -= len;
        if (len < (size_t)result) {
            job_end(job, " full"); /* and the rest is dropped */
        }
        job->held = len > 0 && !job->output(job, job->buf, len);
        if (!job->held) {
            return XEV_REARM;
        }
    } else if (result != XEV_ECANCELED) {
        job_close_pipe(job);
    }
    return job_done(job);
}

/* Its output may go on. */
static inline void job_resume(struct job *job) {
    if (job->held && job->pipe != XEV_INVALID_FD) {
        job->pending++;
        xev_fd_read(job->pipe, job->loop, &job->read, job->buf, sizeof job->buf, job,
                    job_on_output);
    }
    job->held = false;
}

static inline xev_cb_action job_on_spawned(xev_loop *loop, xev_completion *c, int result,
                                           void *userdata) {
    struct job *job = userdata;
    (void)c;
    if (result >= 0) {
        job->running = job->held = true;
        job->pending += 2;
        xev_process_wait(&job->process, loop, &job->wait, job, job_on_exit);
        xev_timer_run(NULL, loop, &job->timer, job->time_ms, job, job_on_timer);
        job_resume(job);
    } else if (result != XEV_ECANCELED) {
        job->ended = true;
        job->result = result;
        job_close_pipe(job);
    }
    return job_done(job);
}

/* On a thread of the pool: it waits for the disk. */
static inline int job_spawn(void *userdata) {
    struct job *job = userdata;
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", NULL};
    const xev_stdio out = {XEV_STDIO_FD, job->child_end};
    const xev_process_options options = {
        .argv = job->argv, .env = env, .stdio = {[1] = out, [2] = out}, .own_group = true};
    int rc = xev_process_spawn(&job->process, &options);
    (void)close(job->child_end);
    return rc;
}

/* Begin it: 0, or why it cannot; then over is not called. */
static inline int job_begin(struct job *job) {
    job->why = "";
    int rc = xev_pipe_open(&job->pipe, &job->child_end);
    if (rc == 0) {
        job->pending++;
        xev_work_submit(job->loop, &job->spawn, XEV_LANE_PROCESS, job_spawn, job, job_on_spawned);
    }
    return rc;
}

/* Where the loop ends before it does: nothing of it goes on. */
static inline void job_kill(struct job *job) {
    if (job->running && !job->ended) {
        (void)xev_process_kill_group(&job->process, XEV_SIGKILL);
    }
}

/* "end exit 3 late\n", "end signal 9\n", "error: not found\n": how it ended, in text. */
#define JOB_END_BYTES 120
static inline const char *job_end_text(const struct job *job, int result,
                                       char text[JOB_END_BYTES]) {
    int number = xev_process_signal(result);
    if (result < 0) {
        snprintf(text, JOB_END_BYTES, "error: %s\n", xev_strerror(result));
    } else {
        snprintf(text, JOB_END_BYTES, "end %s %d%s\n", number != 0 ? "signal" : "exit",
                 number != 0 ? number : result, job->why);
    }
    return text;
}

#endif
