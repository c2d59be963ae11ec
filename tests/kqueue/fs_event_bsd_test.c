/* Changes of files by kqueue: which reports a watcher gives, and which it cannot. */
#include <sys/event.h>

#include "tests/fs_event_scene.h"

TEST(a_folder_tells_that_its_entries_have_changed_and_not_which) {
    struct scene s;
    scene_start(&s, ".");
    watch(&s);
    put("a", "text");
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_CHANGED | XEV_FS_FOLDER, "");
    put("a", "more"); /* the folder itself is as before */
    CHECK_EQ(chmod("a", 0600), 0);
    run_no_wait(&s.loop);
    run_no_wait(&s.loop);
    CHECK_EQ(s.count, 0);
    CHECK_EQ(rename("a", "b"), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_CHANGED | XEV_FS_FOLDER, "");
    CHECK_EQ(unlink("b"), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_CHANGED | XEV_FS_FOLDER, "");
    CHECK_EQ(s.told[0].cookie, 0);
    CHECK_EQ(chmod(".", 0700), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_ATTRIBUTES | XEV_FS_FOLDER, "");
    scene_end(&s);
}

TEST(what_happens_before_it_is_asked_is_added_up) {
    struct scene s;
    scene_start(&s, NULL);
    put("a", "");
    CHECK_EQ(xev_fs_event_init(&s.watcher, "a"), 0);
    for (int i = 0; i < 10; i++) {
        put("a", "x");
        CHECK_EQ(chmod("a", 0600), 0);
    }
    CHECK_EQ(rename("a", "b"), 0);
    watch(&s);
    run_to(&s, 3);
    check_told(&s, 0, XEV_FS_CHANGED, "");
    check_told(&s, 1, XEV_FS_ATTRIBUTES, "");
    check_told(&s, 2, XEV_FS_RENAMED, "");
    scene_end(&s);
}

TEST(a_file_with_another_name_left_goes_on) {
    struct scene s;
    scene_start(&s, NULL);
    put("a", "");
    CHECK_EQ(link("a", "b"), 0);
    CHECK_EQ(xev_fs_event_init(&s.watcher, "a"), 0);
    watch(&s);
    CHECK_EQ(unlink("a"), 0);
    run_to(&s, 1);
    check_told(&s, 0, XEV_FS_ATTRIBUTES, "");
    CHECK_EQ(unlink("b"), 0);
    run_to_its_end(&s);
    scene_end(&s);
}

TEST(after_the_end_nothing_more_is_told) {
    struct scene s;
    scene_start(&s, NULL);
    put("a", "");
    int fd = open("a", O_WRONLY | O_CLOEXEC);
    CHECK_GE(fd, 0);
    CHECK_EQ(xev_fs_event_init(&s.watcher, "a"), 0);
    watch(&s);
    CHECK_EQ(unlink("a"), 0);
    run_to_its_end(&s);
    uint32_t count = s.count;
    CHECK_EQ(write(fd, "x", 1), 1);
    run_no_wait(&s.loop);
    run_no_wait(&s.loop);
    CHECK_EQ(s.count, count);
    CHECK_EQ(close(fd), 0);
    scene_end(&s);
}

/* The descriptor becomes readable by the file's own one, and both go with the watcher. */
TEST(the_descriptor_can_be_polled) {
    struct scene s;
    struct op polled = {0};
    scene_start(&s, ".");
    xev_fd_poll(s.watcher.fd, &s.loop, &polled.c, XEV_POLL_IN, &polled, op_cb);
    run_no_wait(&s.loop);
    CHECK_EQ(polled.calls, 0);
    put("a", "");
    run_for(&s.loop, &polled, 1);
    CHECK_EQ(polled.result, XEV_POLL_IN);
    watch(&s);
    run_to(&s, 1);
    CHECK_NE(s.watcher.file, XEV_INVALID_FD);
    scene_end(&s);
    CHECK_EQ(s.watcher.file, XEV_INVALID_FD);
}
