/* Changes of files on Windows, whose reports differ from inotify's. */
#include "tests/loop_scene.h"

static char folder[MAX_PATH];

static const char *in(const char *name) {
    static char paths[4][MAX_PATH + 64];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s\\%s", folder, name);
    return path;
}

static void put_file(const char *name, const char *text) {
    FILE *f = fopen(in(name), "wb");
    CHECK(f != NULL);
    CHECK(fputs(text, f) >= 0);
    CHECK_EQ(fclose(f), 0);
}

static void make_folder(void) {
    char base[MAX_PATH];
    static int number;
    CHECK_GT(GetTempPathA(sizeof base, base), 0);
    snprintf(folder, sizeof folder, "%sxev-%lu-%d", base, GetCurrentProcessId(), number++);
    CHECK(CreateDirectoryA(folder, NULL));
}

struct watch {
    xev_fs_event w;
    struct op op;
    uint32_t kinds, cookies[2];
    const char *wanted; /* changes of this name are gathered */
};

static void start(struct watch *w, xev_loop *loop) {
    w->op = (struct op){0};
    xev_fs_event_wait(&w->w, loop, &w->op.c, &w->op, op_cb);
}

/* Wait until changes of these kinds have come to name. */
static void expect(struct watch *w, xev_loop *loop, const char *name, uint32_t kinds) {
    uint32_t found = 0;
    while ((found & kinds) != kinds) {
        start(w, loop);
        run_for(loop, &w->op, 1);
        CHECK_GT(w->op.result, 0);
        size_t at = 0;
        for (xev_fs_change change; xev_fs_event_next(&w->w, w->op.result, &at, &change);) {
            if (strcmp(change.name, name) == 0) {
                found |= change.kind;
            }
            if ((change.kind & XEV_FS_RENAMED) != 0) {
                w->cookies[(change.kind & XEV_FS_CREATED) != 0] = change.cookie;
            }
        }
    }
}

static void close_watch(struct watch *w, xev_loop *loop) {
    struct op closing = {0};
    xev_fs_event_close(&w->w, loop, &closing.c, &closing, op_cb);
    run_for(loop, &closing, 1);
    CHECK_EQ(closing.result, 0);
}

TEST(changes_in_a_folder_come_with_names) {
    static struct watch w;
    xev_loop loop;
    make_folder();
    loop_start(&loop);
    CHECK_EQ(xev_fs_event_init(&w.w, folder), 0);
    put_file("one", "1"); /* before the first wait */
    expect(&w, &loop, "one", XEV_FS_CREATED);
    wchar_t path[MAX_PATH];
    CHECK(MultiByteToWideChar(CP_UTF8, 0, in("two \xc3\xa4"), -1, path, MAX_PATH) > 0);
    HANDLE made = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_NEW, 0, NULL);
    CHECK(made != INVALID_HANDLE_VALUE);
    CHECK(CloseHandle(made));
    expect(&w, &loop, "two \xc3\xa4", XEV_FS_CREATED);
    close_watch(&w, &loop);
    xev_loop_deinit(&loop);
}

TEST(a_rename_is_two_changes_with_one_cookie) {
    static struct watch w;
    xev_loop loop;
    make_folder();
    put_file("one", "1");
    loop_start(&loop);
    CHECK_EQ(xev_fs_event_init(&w.w, folder), 0);
    CHECK(MoveFileA(in("one"), in("two")));
    expect(&w, &loop, "two", XEV_FS_CREATED | XEV_FS_RENAMED);
    CHECK_NE(w.cookies[0], 0);
    CHECK_EQ(w.cookies[0], w.cookies[1]);
    CHECK(DeleteFileA(in("two")));
    expect(&w, &loop, "two", XEV_FS_REMOVED);
    close_watch(&w, &loop);
    xev_loop_deinit(&loop);
}

TEST(a_file_is_watched_by_its_name) {
    static struct watch w;
    xev_loop loop;
    make_folder();
    put_file("wanted", "1");
    put_file("other", "1");
    loop_start(&loop);
    CHECK_EQ(xev_fs_event_init(&w.w, in("wanted")), 0);
    put_file("other", "22");
    put_file("wanted", "333");
    expect(&w, &loop, "", XEV_FS_CHANGED);
    CHECK(DeleteFileA(in("wanted")));
    expect(&w, &loop, "", XEV_FS_REMOVED);
    close_watch(&w, &loop);
    xev_loop_deinit(&loop);
}

/* The file system's names have no case, of other letters than A to Z neither. */
TEST(a_file_is_watched_whatever_the_case_of_its_name) {
    xev_loop loop;
    struct watch w;
    char path[sizeof folder + 16];
    wchar_t wide[sizeof path];
    make_folder();
    snprintf(path, sizeof path, "%s\\\xc3\xa9.txt", folder); /* e with an acute accent */
    CHECK_GT(MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, (int)sizeof path), 0);
    HANDLE h = CreateFileW(wide, GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_NEW, 0, NULL);
    CHECK(h != INVALID_HANDLE_VALUE);
    CHECK(CloseHandle(h));
    snprintf(path, sizeof path, "%s\\\xc3\x89.TXT", folder); /* the capital */
    loop_start(&loop);
    CHECK_EQ(xev_fs_event_init(&w.w, path), 0);
    start(&w, &loop);
    CHECK(DeleteFileW(wide));
    run_for(&loop, &w.op, 1);
    CHECK_GT(w.op.result, 0);
    close_watch(&w, &loop);
    xev_loop_deinit(&loop);
}

TEST(too_many_changes_are_an_overflow) {
    static struct watch w;
    xev_loop loop;
    uint32_t found = 0;
    make_folder();
    loop_start(&loop);
    CHECK_EQ(xev_fs_event_init(&w.w, folder), 0);
    for (int i = 0; i < 200; i++) {
        char name[64];
        snprintf(name, sizeof name, "a-file-with-a-name-of-some-length-%d", i);
        put_file(name, "1");
    }
    for (uint32_t seen = 0; (found & XEV_FS_OVERFLOW) == 0 && seen < 200;) {
        start(&w, &loop);
        run_for(&loop, &w.op, 1);
        CHECK_GT(w.op.result, 0);
        size_t at = 0;
        for (xev_fs_change change; xev_fs_event_next(&w.w, w.op.result, &at, &change);) {
            found |= change.kind;
            seen += (change.kind & XEV_FS_CREATED) != 0; /* or all of them, in several waits */
        }
    }
    close_watch(&w, &loop);
    xev_loop_deinit(&loop);
}

TEST(a_wait_is_cancelled_and_torn_down) {
    static struct watch w[2];
    xev_loop loop;
    struct op cancel = {0};
    make_folder();
    loop_start(&loop);
    CHECK_EQ(xev_fs_event_init(&w[0].w, folder), 0);
    CHECK_EQ(xev_fs_event_init(&w[1].w, folder), 0);
    start(&w[0], &loop);
    start(&w[1], &loop);
    run_no_wait(&loop);
    xev_cancel(&loop, &w[0].op.c, &cancel.c, &cancel, op_cb);
    run_for(&loop, &w[0].op, 1);
    run_for(&loop, &cancel, 1);
    CHECK_EQ(w[0].op.result, XEV_ECANCELED);
    put_file("later", "1");
    expect(&w[0], &loop, "later", XEV_FS_CREATED);
    run_for(&loop, &w[1].op, 1);
    start(&w[1], &loop);
    close_watch(&w[0], &loop);
    xev_loop_deinit(&loop);
    CHECK_EQ(w[1].op.terminal, 1);
    CHECK_EQ(xev_fs_event_close_now(&w[1].w), 0);
}

TEST(what_is_not_there_cannot_be_watched) {
    xev_fs_event w;
    CHECK_EQ(xev_fs_event_init(&w, "C:\\no\\such\\folder"), XEV_ENOENT);
    CHECK_EQ(w.fd, XEV_INVALID_FD);
}
