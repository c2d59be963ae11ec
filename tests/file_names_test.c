/* Names of files and folders: what replaces what, and how long a path may be. */
#include "tests/file_scene.h"

/* dir/name, also where PATH_MAX is too little for it. The text stays valid for the next few calls.
 */
static const char *long_path(const struct scene *s, const char *name) {
    static char paths[4][4096];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", s->dir, name);
    return path;
}

static int open_long(struct scene *s, const char *name, uint32_t flags) {
    struct freq f;
    int fd = RUN(s, xev_file_open(&s->loop, &f.r, long_path(s, name), flags, 0644, ARG));
    CHECK_GE(fd, 0);
    return fd;
}

static int rename_in(struct scene *s, const char *from, const char *to) {
    struct freq f;
    return RUN(s, xev_file_rename(&s->loop, &f.r, long_path(s, from), long_path(s, to), ARG));
}

static int mkdir_in(struct scene *s, const char *name) {
    struct freq f;
    return RUN(s, xev_file_mkdir(&s->loop, &f.r, long_path(s, name), 0700, ARG));
}

static int rmdir_in(struct scene *s, const char *name) {
    struct freq f;
    return RUN(s, xev_file_rmdir(&s->loop, &f.r, long_path(s, name), ARG));
}

static int type_in(struct scene *s, const char *name) {
    struct freq f;
    int rc = RUN(s, xev_file_stat_path(&s->loop, &f.r, long_path(s, name), ARG));
    return rc < 0 ? rc : (int)f.r.stat.type;
}

TEST(what_is_renamed_to_its_own_name_stays) {
    struct scene s;
    scene_start(&s);
    CHECK_EQ(mkdir_in(&s, "empty"), 0);
    CHECK_EQ(rename_in(&s, "empty", "empty"), 0);
    CHECK_EQ(type_in(&s, "empty"), XEV_FILE_DIRECTORY);
    CHECK_EQ(mkdir_in(&s, "full"), 0);
    put_file(&s, "full/a", "x", 1);
    CHECK_EQ(rename_in(&s, "full", "full"), 0);
    CHECK_EQ(type_in(&s, "full/a"), XEV_FILE_REGULAR);
    CHECK_EQ(rename_in(&s, "full/a", "full/a"), 0);
    CHECK_EQ(type_in(&s, "full/a"), XEV_FILE_REGULAR);
    scene_end(&s);
}

TEST(a_folder_replaces_an_empty_folder_and_nothing_else) {
    struct scene s;
    scene_start(&s);
    put_file(&s, "file", "x", 1);
    CHECK_EQ(mkdir_in(&s, "a"), 0);
    put_file(&s, "a/in", "x", 1);
    CHECK_EQ(mkdir_in(&s, "b"), 0);
    CHECK_EQ(rename_in(&s, "a", "file"), XEV_ENOTDIR);
    CHECK_EQ(rename_in(&s, "file", "b"), XEV_EISDIR);
    CHECK_EQ(rename_in(&s, "nothing", "b"), XEV_ENOENT);
    CHECK_EQ(type_in(&s, "file"), XEV_FILE_REGULAR);
    CHECK_EQ(type_in(&s, "b"), XEV_FILE_DIRECTORY);
    CHECK_EQ(rename_in(&s, "b", "a"), XEV_ENOTEMPTY);
    CHECK_EQ(type_in(&s, "b"), XEV_FILE_DIRECTORY);
    CHECK_EQ(rename_in(&s, "a", "b"), 0);
    CHECK_EQ(type_in(&s, "b/in"), XEV_FILE_REGULAR);
    CHECK_EQ(type_in(&s, "a"), XEV_ENOENT);
    scene_end(&s);
}

/* The names of a folder in a folder, and so on, whose whole path has more than 600 characters. */
TEST(a_path_may_be_long) {
    enum { PART = 200, PARTS = 3 };
    struct scene s;
    struct freq f;
    char name[PARTS * (PART + 1) + 8] = "", other[sizeof name], got[4];
    size_t lengths[PARTS];
    scene_start(&s);
    for (int i = 0; i < PARTS; i++) {
        size_t len = strlen(name);
        memset(name + len, 'a' + i, PART);
        name[len + PART] = '\0';
        lengths[i] = len + PART;
        CHECK_EQ(mkdir_in(&s, name), 0);
        CHECK_EQ(mkdir_in(&s, name), XEV_EEXIST);
        strcat(name, "/");
    }
    strcpy(other, name);
    strcat(name, "a");
    strcat(other, "b");
    int fd = open_long(&s, name, XEV_OPEN_WRITE | XEV_OPEN_CREATE);
    CHECK_EQ(RUN(&s, xev_file_write(fd, &s.loop, &f.r, "long", 4, ARG)), 4);
    close_file(&s, fd);
    CHECK_EQ(rename_in(&s, name, other), 0);
    CHECK_EQ(type_in(&s, name), XEV_ENOENT);
    CHECK_EQ(type_in(&s, other), XEV_FILE_REGULAR);
    CHECK_EQ(
        RUN(&s, xev_file_copy(&s.loop, &f.r, long_path(&s, other), long_path(&s, name), 0, ARG)),
        0);
    fd = open_long(&s, name, XEV_OPEN_READ);
    CHECK_EQ(RUN(&s, xev_file_read(fd, &s.loop, &f.r, got, sizeof got, ARG)), 4);
    CHECK_MEM_EQ(got, "long", 4);
    close_file(&s, fd);
    CHECK_EQ(RUN(&s, xev_file_truncate_path(&s.loop, &f.r, long_path(&s, name), 1, ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_unlink(&s.loop, &f.r, long_path(&s, name), ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_unlink(&s.loop, &f.r, long_path(&s, other), ARG)), 0);
    for (int i = PARTS; i-- > 0;) {
        name[lengths[i]] = '\0';
        CHECK_EQ(rmdir_in(&s, name), 0);
    }
    scene_end(&s);
}

TEST(a_part_of_a_path_may_be_too_long) {
    struct scene s;
    struct freq f;
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    scene_start(&s);
    CHECK_EQ(mkdir_in(&s, name), XEV_ENAMETOOLONG);
    CHECK_EQ(type_in(&s, name), XEV_ENAMETOOLONG);
    CHECK_EQ(RUN(&s, xev_file_open(&s.loop, &f.r, long_path(&s, name),
                                   XEV_OPEN_WRITE | XEV_OPEN_CREATE, 0644, ARG)),
             XEV_ENAMETOOLONG);
    name[255] = '\0';
    CHECK_EQ(mkdir_in(&s, name), 0);
    CHECK_EQ(rmdir_in(&s, name), 0);
    scene_end(&s);
}

TEST(a_file_that_is_open_is_replaced) {
    struct scene s;
    struct freq f;
    char got[8];
    scene_start(&s);
    put_file(&s, "old", "old", 3);
    put_file(&s, "new", "newer", 5);
    int reads = open_in(&s, "old", XEV_OPEN_READ);
    CHECK_EQ(rename_in(&s, "new", "old"), 0);
    CHECK_EQ(RUN(&s, xev_file_read(reads, &s.loop, &f.r, got, sizeof got, ARG)), 3);
    CHECK_MEM_EQ(got, "old", 3);
    close_file(&s, reads);
    reads = open_in(&s, "old", XEV_OPEN_READ);
    CHECK_EQ(RUN(&s, xev_file_read(reads, &s.loop, &f.r, got, sizeof got, ARG)), 5);
    close_file(&s, reads);
    scene_end(&s);
}

TEST(what_is_open_for_reading_is_flushed) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    put_file(&s, "a", "x", 1);
    int fd = open_in(&s, "a", XEV_OPEN_READ);
    CHECK_EQ(RUN(&s, xev_file_fsync(fd, &s.loop, &f.r, ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_fdatasync(fd, &s.loop, &f.r, ARG)), 0);
    close_file(&s, fd);
    scene_end(&s);
}

/* Whatever the length of the read. */
TEST(a_folder_is_not_read_as_a_file) {
    struct scene s;
    static char buf[8192];
    scene_start(&s);
    int fd = open_in(&s, ".", XEV_OPEN_READ | XEV_OPEN_DIRECTORY);
    for (size_t len = 1; len <= sizeof buf; len *= 2) {
        struct op op = {0};
        xev_fd_read(fd, &s.loop, &op.c, buf, len, &op, op_cb);
        run_for(&s.loop, &op, 1);
        CHECK_EQ(op.result, XEV_EISDIR);
    }
    close_file(&s, fd);
    scene_end(&s);
}

TEST(an_empty_path_names_nothing) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    xev_loop *l = &s.loop;
    put_file(&s, "a", "x", 1);
    const char *a = long_path(&s, "a"), *b = long_path(&s, "b");
    CHECK_EQ(RUN(&s, xev_file_open(l, &f.r, "", XEV_OPEN_READ, 0, ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_open(l, &f.r, "", XEV_OPEN_READ | XEV_OPEN_DIRECTORY, 0, ARG)),
             XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_open(l, &f.r, "", XEV_OPEN_WRITE | XEV_OPEN_CREATE, 0600, ARG)),
             XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_stat_path(l, &f.r, "", ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_lstat_path(l, &f.r, "", ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_truncate_path(l, &f.r, "", 0, ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_unlink(l, &f.r, "", ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_mkdir(l, &f.r, "", 0700, ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_rmdir(l, &f.r, "", ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_rename(l, &f.r, "", b, ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_rename(l, &f.r, a, "", ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_link(l, &f.r, "", b, ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_link(l, &f.r, a, "", ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_symlink(l, &f.r, "", b, ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_symlink(l, &f.r, "a", "", ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_copy(l, &f.r, "", b, 0, ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_copy(l, &f.r, a, "", 0, ARG)), XEV_ENOENT);
    CHECK_EQ(type_in(&s, "a"), XEV_FILE_REGULAR);
    CHECK_EQ(type_in(&s, "b"), XEV_ENOENT);
    scene_end(&s);
}

TEST(a_link_is_followed_unless_it_is_not_to_be) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    xev_loop *l = &s.loop;
    put_file(&s, "a", "x", 1);
    CHECK_EQ(RUN(&s, xev_file_symlink(l, &f.r, "a", long_path(&s, "to_a"), ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_symlink(l, &f.r, "b", long_path(&s, "to_b"), ARG)), 0);
    close_file(&s, open_long(&s, "to_a", XEV_OPEN_READ));
    close_file(&s, open_long(&s, "a", XEV_OPEN_READ | XEV_OPEN_NOFOLLOW));
    for (int i = 0; i < 4; i++) {
        const uint32_t flags[] = {XEV_OPEN_READ, XEV_OPEN_WRITE, XEV_OPEN_WRITE | XEV_OPEN_TRUNCATE,
                                  XEV_OPEN_WRITE | XEV_OPEN_CREATE};
        for (int k = 0; k < 2; k++) {
            CHECK_EQ(RUN(&s, xev_file_open(l, &f.r, long_path(&s, k == 0 ? "to_a" : "to_b"),
                                           flags[i] | XEV_OPEN_NOFOLLOW, 0600, ARG)),
                     XEV_ELOOP);
        }
    }
    CHECK_EQ(type_in(&s, "b"), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_stat_path(l, &f.r, long_path(&s, "a"), ARG)), 0);
    CHECK_EQ(f.r.stat.size_bytes, 1);
    close_file(&s, open_long(&s, "b", XEV_OPEN_WRITE | XEV_OPEN_CREATE | XEV_OPEN_NOFOLLOW));
    scene_end(&s);
}
