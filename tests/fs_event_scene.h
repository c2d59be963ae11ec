/* A folder of its own with a watcher, and what that has told. */
#ifndef TESTS_FS_EVENT_SCENE_H
#define TESTS_FS_EVENT_SCENE_H

#include "tests/loop_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

struct scene {
    xev_loop loop;
    xev_fs_event watcher;
    char root[64];
    struct op op;
    uint32_t descriptors;
    /* What was told: */
    uint32_t count;
    struct {
        uint32_t kind, cookie;
        char name[64];
    } told[64];
    uint32_t kinds; /* of all */
};

/* The case's folder is its working directory. */
static inline void scene_start(struct scene *s, const char *what) {
    memset(s, 0, sizeof *s);
    strcpy(s->root, "/tmp/xev_fs_event_XXXXXX");
    CHECK(mkdtemp(s->root) != NULL);
    CHECK_EQ(chdir(s->root), 0);
    s->descriptors = descriptors();
    loop_start(&s->loop);
    if (what != NULL) {
        CHECK_EQ(xev_fs_event_init(&s->watcher, what), 0);
    }
}

static inline void scene_end(struct scene *s) {
    char command[128];
    if (s->watcher.fd >= 0) {
        struct op closing = {0};
        xev_fs_event_close(&s->watcher, &s->loop, &closing.c, &closing, op_cb);
        run_for(&s->loop, &closing, 1);
        CHECK_EQ(closing.result, 0);
    }
    xev_loop_deinit(&s->loop);
    CHECK_EQ(descriptors(), s->descriptors);
    CHECK_EQ(chdir("/"), 0);
    snprintf(command, sizeof command, "rm -rf %s", s->root);
    CHECK_EQ(system(command), 0);
}

static inline void put(const char *name, const char *text) {
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    CHECK_GE(fd, 0);
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    CHECK_EQ(close(fd), 0);
}

static inline xev_cb_action told(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct scene *s = userdata;
    (void)loop;
    (void)c;
    s->op.calls++;
    s->op.result = result;
    if (result < 0) {
        size_t at = 0;
        xev_fs_change none;
        CHECK(!xev_fs_event_next(&s->watcher, result, &at, &none));
        return XEV_DISARM;
    }
    CHECK_GT(result, 0);
    size_t at = 0;
    for (xev_fs_change change; xev_fs_event_next(&s->watcher, result, &at, &change);) {
        uint32_t i = s->count++;
        CHECK_LT(i, 64);
        s->told[i].kind = change.kind;
        s->told[i].cookie = change.cookie;
        s->kinds |= change.kind;
        CHECK_LT(strlen(change.name), sizeof s->told[i].name);
        strcpy(s->told[i].name, change.name);
    }
    CHECK_EQ(at, result);
    return XEV_REARM;
}

static inline void watch(struct scene *s) {
    xev_fs_event_wait(&s->watcher, &s->loop, &s->op.c, s, told);
}

/* Until the n-th change has been told; then forgotten up to here. */
static inline void run_to(struct scene *s, uint32_t n) {
    while (s->count < n) {
        run_once(&s->loop);
    }
    run_no_wait(&s->loop);
    run_no_wait(&s->loop);
    CHECK_EQ(s->count, n);
    s->count = 0;
}

static inline void check_told(const struct scene *s, uint32_t i, uint32_t kind, const char *name) {
    CHECK_EQ(s->told[i].kind, kind);
    CHECK_STR_EQ(s->told[i].name, name);
}

/* Run until it has told that nothing more will come, which is what it tells last. */
static inline void run_to_its_end(struct scene *s) {
    while ((s->kinds & XEV_FS_ENDED) == 0) {
        run_once(&s->loop);
    }
    CHECK_NE(s->kinds & XEV_FS_REMOVED, 0);
    check_told(s, s->count - 1, XEV_FS_ENDED, "");
}

/* A change of an entry of the watched folder: kqueue tells that the folder has changed. */
static inline void check_entry(uint32_t told, const char *told_name, uint32_t kind,
                               const char *name) {
    const char *backend = getenv("XEV_BACKEND");
    bool names = backend == NULL || strcmp(backend, "kqueue") != 0;
    CHECK_EQ(told, names ? kind : XEV_FS_CHANGED | XEV_FS_FOLDER);
    CHECK_STR_EQ(told_name, names ? name : "");
}

#endif
