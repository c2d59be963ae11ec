/* Changes of files and folders: which are reported, in which order, and how a watcher ends. */
#include "tests/loop_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* ---- scene ---- */

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
static void scene_start(struct scene *s, const char *what) {
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

static void scene_end(struct scene *s) {
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

static void put(const char *name, const char *text) {
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    CHECK_GE(fd, 0);
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    CHECK_EQ(close(fd), 0);
}

static xev_cb_action told(xev_loop *loop, xev_completion *c, int result, void *userdata) {
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

static void watch(struct scene *s) { xev_fs_event_wait(&s->watcher, &s->loop, &s->op.c, s, told); }

/* Until the n-th change has been told; then forgotten up to here. */
static void run_to(struct scene *s, uint32_t n) {
    while (s->count < n) {
        run_once(&s->loop);
    }
    run_no_wait(&s->loop);
    run_no_wait(&s->loop);
    CHECK_EQ(s->count, n);
    s->count = 0;
}

static void check_told(const struct scene *s, uint32_t i, uint32_t kind, const char *name) {
    CHECK_EQ(s->told[i].kind, kind);
    CHECK_STR_EQ(s->told[i].name, name);
}

/* ---- a folder ---- */

TEST(files_of_a_folder_are_created_changed_and_removed) {
    struct scene s;
    scene_start(&s, ".");
    watch(&s);
    run_no_wait(&s.loop);
    CHECK_EQ(s.op.calls, 0);
    put("a", "text");
    run_to(&s, 2);
    check_told(&s, 0, XEV_FS_CREATED, "a");
    check_told(&s, 1, XEV_FS_CHANGED, "a");
    put("a", "more");
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_CHANGED, "a");
    CHECK_EQ(chmod("a", 0600), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_ATTRIBUTES, "a");
    CHECK_EQ(truncate("a", 0), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_CHANGED, "a");
    CHECK_EQ(unlink("a"), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_REMOVED, "a");
    CHECK_EQ(is_active(&s.op), true);
    scene_end(&s);
    CHECK_EQ(s.op.result, XEV_ECANCELED);
}

TEST(folders_in_it_are_told_apart) {
    struct scene s;
    scene_start(&s, ".");
    watch(&s);
    CHECK_EQ(mkdir("sub", 0755), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_CREATED | XEV_FS_FOLDER, "sub");
    put("sub/deep", "not told");
    put("flat", "");
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_CREATED, "flat");
    CHECK_EQ(unlink("sub/deep"), 0);
    CHECK_EQ(rmdir("sub"), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_REMOVED | XEV_FS_FOLDER, "sub");
    scene_end(&s);
}

TEST(the_two_names_of_a_rename_belong_together) {
    struct scene s;
    scene_start(&s, NULL);
    put("a", "");
    CHECK_EQ(mkdir("out", 0755), 0);
    CHECK_EQ(xev_fs_event_init(&s.watcher, "."), 0);
    watch(&s);
    CHECK_EQ(rename("a", "b"), 0);
    run_to(&s, 2);
    check_told(&s, 0, XEV_FS_REMOVED | XEV_FS_RENAMED, "a");
    check_told(&s, 1, XEV_FS_CREATED | XEV_FS_RENAMED, "b");
    CHECK_NE(s.told[0].cookie, 0);
    CHECK_EQ(s.told[0].cookie, s.told[1].cookie);
    CHECK_EQ(rename("b", "out/b"), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_REMOVED | XEV_FS_RENAMED, "b");
    CHECK_EQ(rename("out/b", "c"), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_CREATED | XEV_FS_RENAMED, "c");
    scene_end(&s);
}

TEST(changes_before_the_wait_are_kept_in_order) {
    struct scene s;
    scene_start(&s, ".");
    for (int i = 0; i < 30; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", i);
        CHECK_EQ(close(creat(name, 0644)), 0);
    }
    watch(&s);
    run_to(&s, 30);
    for (uint32_t i = 0; i < 30; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%u", i);
        check_told(&s, i, XEV_FS_CREATED, name);
    }
    scene_end(&s);
}

TEST(the_longest_name_fits) {
    struct scene s;
    char name[256];
    scene_start(&s, ".");
    memset(name, 'n', 255);
    name[255] = '\0';
    for (int i = 0; i < 40; i++) { /* more than one reading holds */
        CHECK_EQ(close(creat(name, 0644)), 0);
        CHECK_EQ(unlink(name), 0);
    }
    uint32_t seen = 0;
    while (seen < 80) {
        struct op op = {0};
        xev_fs_event_wait(&s.watcher, &s.loop, &op.c, &op, op_cb);
        run_for(&s.loop, &op, 1);
        size_t at = 0;
        for (xev_fs_change change; xev_fs_event_next(&s.watcher, op.result, &at, &change);) {
            CHECK_EQ(change.kind, seen % 2 == 0 ? XEV_FS_CREATED : XEV_FS_REMOVED);
            CHECK_STR_EQ(change.name, name);
            seen++;
        }
    }
    scene_end(&s);
}

TEST(a_removed_folder_ends_it) {
    struct scene s;
    scene_start(&s, NULL);
    CHECK_EQ(mkdir("sub", 0755), 0);
    CHECK_EQ(xev_fs_event_init(&s.watcher, "sub"), 0);
    watch(&s);
    CHECK_EQ(rmdir("sub"), 0);
    while ((s.kinds & XEV_FS_ENDED) == 0) {
        run_once(&s.loop);
    }
    CHECK_NE(s.kinds & XEV_FS_REMOVED, 0);
    check_told(&s, s.count - 1, XEV_FS_ENDED, "");
    scene_end(&s);
}

TEST_TIMEOUT(an_overflow_is_told, 60) {
    struct scene s;
    scene_start(&s, ".");
    int max = 0;
    FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    CHECK(f != NULL);
    CHECK_EQ(fscanf(f, "%d", &max), 1);
    fclose(f);
    CHECK_EQ(close(creat("a", 0644)), 0);
    for (int i = 0; i <= max / 2; i++) { /* two kinds in turn, so that none is left out */
        CHECK_EQ(chmod("a", 0600), 0);
        CHECK_EQ(truncate("a", 1), 0);
    }
    uint32_t kinds = 0, n = 0;
    while ((kinds & XEV_FS_OVERFLOW) == 0) {
        struct op op = {0};
        xev_fs_event_wait(&s.watcher, &s.loop, &op.c, &op, op_cb);
        run_for(&s.loop, &op, 1);
        size_t at = 0;
        for (xev_fs_change change; xev_fs_event_next(&s.watcher, op.result, &at, &change); n++) {
            kinds |= change.kind;
        }
    }
    CHECK_LE(n, (uint32_t)max + 1);
    watch(&s); /* goes on */
    CHECK_EQ(unlink("a"), 0);
    while ((s.kinds & XEV_FS_REMOVED) == 0) {
        run_once(&s.loop);
    }
    scene_end(&s);
}

/* ---- a file ---- */

TEST(a_file_is_followed) {
    struct scene s;
    scene_start(&s, NULL);
    put("a", "");
    CHECK_EQ(xev_fs_event_init(&s.watcher, "a"), 0);
    watch(&s);
    put("a", "x");
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_CHANGED, "");
    CHECK_EQ(rename("a", "b"), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_RENAMED, "");
    put("b", "y");
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_CHANGED, "");
    CHECK_EQ(unlink("b"), 0);
    run_to(&s, 3);
    check_told(&s, 0, XEV_FS_ATTRIBUTES, ""); /* one link fewer */
    check_told(&s, 1, XEV_FS_REMOVED, "");
    check_told(&s, 2, XEV_FS_ENDED, "");
    scene_end(&s);
}

TEST(a_replaced_file_ends_it) {
    struct scene s;
    scene_start(&s, NULL);
    put("a", "old");
    put("a.new", "new");
    CHECK_EQ(xev_fs_event_init(&s.watcher, "a"), 0);
    watch(&s);
    CHECK_EQ(rename("a.new", "a"), 0);
    while ((s.kinds & XEV_FS_ENDED) == 0) {
        run_once(&s.loop);
    }
    CHECK_NE(s.kinds & XEV_FS_REMOVED, 0);
    scene_end(&s);
}

/* ---- errors, cancel, close, teardown ---- */

TEST(a_file_that_is_open_somewhere_is_removed_at_its_last_close) {
    struct scene s;
    xev_fs_event folder;
    struct op in_folder = {0};
    scene_start(&s, NULL);
    put("file", "x");
    CHECK_EQ(xev_fs_event_init(&s.watcher, "file"), 0);
    CHECK_EQ(xev_fs_event_init(&folder, "."), 0);
    watch(&s);
    xev_fs_event_wait(&folder, &s.loop, &in_folder.c, &in_folder, op_cb);
    int fd = open("file", O_RDONLY | O_CLOEXEC);
    CHECK_GE(fd, 0);
    CHECK_EQ(unlink("file"), 0);
    run_for(&s.loop, &in_folder, 1);
    size_t at = 0;
    xev_fs_change change;
    do { /* the folder's watcher hears of the link count, too */
        CHECK(xev_fs_event_next(&folder, in_folder.result, &at, &change));
    } while ((change.kind & XEV_FS_REMOVED) == 0);
    CHECK_STR_EQ(change.name, "file");
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_ATTRIBUTES, "");
    CHECK_EQ(close(fd), 0);
    run_to(&s, 2);
    check_told(&s, 0, XEV_FS_REMOVED, "");
    check_told(&s, 1, XEV_FS_ENDED, "");
    CHECK_EQ(xev_fs_event_close_now(&folder), 0);
    scene_end(&s);
}

TEST(what_is_not_there_cannot_be_watched) {
    struct scene s;
    xev_fs_event w;
    scene_start(&s, NULL);
    s.watcher.fd = XEV_INVALID_FD;
    CHECK_EQ(xev_fs_event_init(&w, "nothing"), XEV_ENOENT);
    CHECK_EQ(w.fd, XEV_INVALID_FD);
    put("a", "");
    CHECK_EQ(xev_fs_event_init(&w, "a/b"), XEV_ENOTDIR);
    struct op op = {0};
    xev_fs_event_wait(&w, &s.loop, &op.c, &op, op_cb);
    run_for(&s.loop, &op, 1);
    CHECK_EQ(op.result, XEV_EBADF);
    CHECK_EQ(xev_fs_event_close_now(&w), XEV_EBADF);
    scene_end(&s);
}

TEST(a_wait_is_cancelled_and_nothing_is_lost) {
    struct scene s;
    scene_start(&s, ".");
    for (int started = 0; started < 2; started++) {
        struct op waiting = {0}, cancel = {0};
        xev_fs_event_wait(&s.watcher, &s.loop, &waiting.c, &waiting, op_cb);
        if (started) {
            run_no_wait(&s.loop);
            run_no_wait(&s.loop);
        }
        xev_cancel(&s.loop, &waiting.c, &cancel.c, &cancel, op_cb);
        run_for(&s.loop, &cancel, 1);
        CHECK_EQ(cancel.result, 0);
        CHECK_EQ(waiting.result, XEV_ECANCELED);
        CHECK_LT(waiting.order, cancel.order);
    }
    CHECK_EQ(close(creat("a", 0644)), 0);
    watch(&s);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_CREATED, "a");
    scene_end(&s);
}

TEST(a_wait_takes_a_deadline) {
    struct scene s;
    struct op waiting = {0};
    scene_start(&s, ".");
    xev_fs_event_wait(&s.watcher, &s.loop, &waiting.c, &waiting, op_cb);
    xev_completion_set_timeout(&s.loop, &waiting.c, 1);
    run_for(&s.loop, &waiting, 1);
    CHECK_EQ(waiting.result, XEV_ETIMEDOUT);
    scene_end(&s);
}

TEST(teardown_cancels_the_wait) {
    struct scene s;
    scene_start(&s, ".");
    watch(&s);
    run_no_wait(&s.loop);
    xev_loop_deinit(&s.loop);
    CHECK_EQ(s.op.result, XEV_ECANCELED);
    CHECK_EQ(xev_fs_event_close_now(&s.watcher), 0);
    CHECK_EQ(s.watcher.fd, XEV_INVALID_FD);
    CHECK_EQ(descriptors(), s.descriptors);
    loop_start(&s.loop);
    scene_end(&s);
}

TEST(several_watchers_are_independent) {
    struct scene s;
    xev_fs_event other;
    struct op op = {0};
    scene_start(&s, ".");
    CHECK_EQ(xev_fs_event_init(&other, "."), 0);
    watch(&s);
    xev_fs_event_wait(&other, &s.loop, &op.c, &op, op_cb);
    CHECK_EQ(close(creat("a", 0644)), 0);
    run_to(&s, 1);
    run_for(&s.loop, &op, 1);
    size_t at = 0;
    xev_fs_change change;
    CHECK(xev_fs_event_next(&other, op.result, &at, &change));
    CHECK_STR_EQ(change.name, "a");
    CHECK_EQ(change.kind, XEV_FS_CREATED);
    CHECK(!xev_fs_event_next(&other, op.result, &at, &change));
    struct op closing = {0};
    xev_fs_event_close(&other, &s.loop, &closing.c, &closing, op_cb);
    run_for(&s.loop, &closing, 1);
    CHECK_EQ(unlink("a"), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_REMOVED, "a");
    scene_end(&s);
}

/* ---- misuse ---- */

static void init_null(void) { CHECK_EQ(xev_fs_event_init(NULL, "."), 0); }

static void init_no_path(void) {
    xev_fs_event w;
    CHECK_EQ(xev_fs_event_init(&w, NULL), 0);
}

TEST(misuse_ends_the_program) {
    check_dies(init_null, "xev_fs_event_init");
    check_dies(init_no_path, "xev_fs_event_init");
}
