/* Changes of files where the system tells the names of entries, and each change (Linux). */
#include "tests/fs_event_scene.h"

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
