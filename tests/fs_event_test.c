/* Changes of files and folders: what each system reports, and how a watcher ends. */
#include "tests/fs_event_scene.h"

/* ---- what is told ---- */

TEST(a_removed_folder_ends_it) {
    struct scene s;
    scene_start(&s, NULL);
    CHECK_EQ(mkdir("sub", 0755), 0);
    CHECK_EQ(xev_fs_event_init(&s.watcher, "sub"), 0);
    watch(&s);
    CHECK_EQ(rmdir("sub"), 0);
    run_to_its_end(&s);
    scene_end(&s);
}

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
    run_to_its_end(&s);
    scene_end(&s);
}

/* ---- errors, cancel, close, teardown ---- */

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
    check_entry(s.told[0].kind, s.told[0].name, XEV_FS_CREATED, "a");
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
    check_entry(change.kind, change.name, XEV_FS_CREATED, "a");
    CHECK(!xev_fs_event_next(&other, op.result, &at, &change));
    struct op closing = {0};
    xev_fs_event_close(&other, &s.loop, &closing.c, &closing, op_cb);
    run_for(&s.loop, &closing, 1);
    CHECK_EQ(unlink("a"), 0);
    run_to(&s, 1);
    check_entry(s.told[0].kind, s.told[0].name, XEV_FS_REMOVED, "a");
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
