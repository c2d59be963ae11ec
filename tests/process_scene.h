/* What the tests of processes share: children and their ends, their output, folders. */
#ifndef TESTS_PROCESS_SCENE_H
#define TESTS_PROCESS_SCENE_H

#include "tests/loop_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const char *const true_argv[] = {"/bin/true", NULL};
static const char *const cat_argv[] = {"/bin/cat", NULL};

/* macOS and the BSDs start a child by fork, and so do the tests on kqueue. */
static inline bool starts_by_fork(void) {
    const char *backend = getenv("XEV_BACKEND");
    return backend != NULL && strcmp(backend, "kqueue") == 0;
}

struct child {
    xev_process process;
    struct op wait;
};

static inline int spawn_sh(xev_process *p, const char *script, xev_process_options o) {
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    o.argv = argv;
    return xev_process_spawn(p, &o);
}

static inline void start_wait(xev_loop *loop, struct child *c) {
    c->wait = (struct op){0};
    xev_process_wait(&c->process, loop, &c->wait.c, &c->wait, op_cb);
}

static inline int end_of(xev_loop *loop, struct child *c) {
    start_wait(loop, c);
    run_for(loop, &c->wait, 1);
    return c->wait.result;
}

static inline void close_fd_in(xev_loop *loop, xev_fd fd) {
    struct op closing = {0};
    xev_fd_close(fd, loop, &closing.c, &closing, op_cb);
    run_for(loop, &closing, 1);
    CHECK_EQ(closing.result, 0);
}

static inline void close_child(xev_loop *loop, struct child *c) {
    struct op closing = {0};
    for (int i = 0; i < 3; i++) {
        if (c->process.stdio[i] >= 0) {
            close_fd_in(loop, c->process.stdio[i]);
        }
    }
    xev_process_close(&c->process, loop, &closing.c, &closing, op_cb);
    run_for(loop, &closing, 1);
    CHECK_EQ(closing.result, 0);
}

/* Read fd to its end, as text. */
static inline void read_all(xev_loop *loop, xev_fd fd, char *out, size_t cap) {
    size_t len = 0;
    for (;;) {
        struct op reading = {0};
        CHECK_LT(len, cap - 1);
        xev_fd_read(fd, loop, &reading.c, out + len, cap - 1 - len, &reading, op_cb);
        run_for(loop, &reading, 1);
        if (reading.result == XEV_EOF) {
            break;
        }
        CHECK_GT(reading.result, 0);
        len += (size_t)reading.result;
    }
    out[len] = '\0';
}

/* Run argv, whose exit code must be 0. Returns what it writes to its standard output. */
static inline void output_of(const char *const *argv, xev_process_options o, char *out,
                             size_t cap) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    o.argv = argv;
    o.stdio[1].kind = XEV_STDIO_PIPE;
    CHECK_EQ(xev_process_spawn(&c.process, &o), 0);
    read_all(&loop, c.process.stdio[1], out, cap);
    CHECK_EQ(end_of(&loop, &c), 0);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

static inline void output_of_sh(const char *script, xev_process_options o, char *out, size_t cap) {
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    output_of(argv, o, out, cap);
}

static inline int result_of_sh(const char *script) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    CHECK_EQ(spawn_sh(&c.process, script, (xev_process_options){0}), 0);
    int result = end_of(&loop, &c);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
    return result;
}

/* Wait until the child has ended, without collecting it. */
static inline void wait_for_zombie(int32_t pid) {
    siginfo_t info;
    CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static inline void check_no_children(void) {
    siginfo_t info;
    CHECK_EQ(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL), -1);
    CHECK_EQ(errno, ECHILD);
}

/* Check that a failed spawn has left no descriptor and no child. */
static inline int failure_of(const xev_process_options *o) {
    xev_process p;
    uint32_t before = descriptors();
    int rc = xev_process_spawn(&p, o);
    CHECK_LT(rc, 0);
    CHECK_EQ(p.fd, XEV_INVALID_FD);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(p.stdio[i], XEV_INVALID_FD);
    }
    CHECK_EQ(descriptors(), before);
    check_no_children();
    return rc;
}

static inline int failure_of_file(const char *file) {
    const char *argv[] = {"x", NULL};
    xev_process_options o = {.file = file, .argv = argv, .stdio = {{XEV_STDIO_PIPE, 0}}};
    return failure_of(&o);
}

struct folder {
    char path[64];
};

static inline struct folder folder_new(void) {
    struct folder f = {"/tmp/xev_process_XXXXXX"};
    CHECK(mkdtemp(f.path) != NULL);
    return f;
}

static inline void folder_remove(const struct folder *f) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", f->path);
    CHECK_EQ(system(command), 0);
}

static inline void put_file(const struct folder *f, const char *name, const char *text,
                            mode_t mode) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK_GE(fd, 0);
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    CHECK_EQ(fchmod(fd, mode), 0);
    CHECK_EQ(close(fd), 0);
}

/* A process call that has nothing to do with any other. */
static inline void another_child(void) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    xev_process_options o = {.argv = true_argv};
    CHECK_EQ(xev_process_spawn(&c.process, &o), 0);
    CHECK_EQ(end_of(&loop, &c), 0);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

/* A child that runs until it is killed or its standard input is closed. */
static inline void start_idle(struct child *c) {
    xev_process_options o = {.argv = cat_argv, .stdio = {{XEV_STDIO_PIPE, 0}}};
    CHECK_EQ(xev_process_spawn(&c->process, &o), 0);
}

#endif
