/* Replacing a file: the new contents or the old ones, and nothing beside them. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/replace_scene.h"

static int begin(struct scene *s, struct replacing *p, const char *path) {
    memset(p, 0xa5, sizeof *p);
    p->calls = 0;
    xev_replace_begin(&s->loop, &p->r, path, 0640, p, on_replaced);
    return step(s, p);
}

static int write_text(struct scene *s, struct replacing *p, const char *text) {
    xev_replace_write(&p->r, text, strlen(text));
    return step(s, p);
}

static int commit(struct scene *s, struct replacing *p) {
    xev_replace_commit(&p->r);
    return step(s, p);
}

static void check_file(const struct scene *s, const char *name, const char *text) {
    char found[64] = "";
    int fd = open(path_in(s, name), O_RDONLY | O_CLOEXEC);
    CHECK_GE(fd, 0);
    CHECK_EQ(read(fd, found, sizeof found - 1), (ssize_t)strlen(text));
    CHECK_STR_EQ(found, text);
    CHECK_EQ(close(fd), 0);
}

/* name.tmp is not there. */
static void check_alone(const struct scene *s, const char *name) {
    char temporary[64];
    snprintf(temporary, sizeof temporary, "%s.tmp", name);
    CHECK_EQ(access(path_in(s, temporary), F_OK), -1);
}

TEST(the_old_file_is_there_until_the_commit) {
    struct scene s;
    struct replacing p;
    struct stat st;
    scene_start(&s);
    uint32_t before = descriptors();
    put_file(&s, "file", "old", 3);
    put_file(&s, "file.tmp", "left by a process that was killed", 33);
    for (int round = 0; round < 2; round++) {
        CHECK_EQ(begin(&s, &p, path_in(&s, "file")), 0);
        CHECK_EQ(write_text(&s, &p, "new "), 0);
        CHECK_EQ(write_text(&s, &p, "text"), 0);
        check_file(&s, "file", round == 0 ? "old" : "new text");
        CHECK_EQ(commit(&s, &p), 0);
        check_file(&s, "file", "new text");
        check_alone(&s, "file");
    }
    CHECK_EQ(begin(&s, &p, path_in(&s, "made")), 0);
    CHECK_EQ(commit(&s, &p), 0);
    check_file(&s, "made", "");
    CHECK_EQ(stat(path_in(&s, "made"), &st), 0);
    CHECK_EQ(st.st_mode & 0777 & ~0640u, 0);
    CHECK_EQ(descriptors(), before);
    scene_end(&s);
}

TEST(a_path_may_have_no_folder) {
    struct scene s;
    struct replacing p;
    char here[PATH_MAX];
    scene_start(&s);
    CHECK(getcwd(here, sizeof here) != NULL);
    CHECK_EQ(chdir(s.dir), 0);
    CHECK_EQ(begin(&s, &p, "plain"), 0);
    CHECK_EQ(write_text(&s, &p, "text"), 0);
    CHECK_EQ(commit(&s, &p), 0);
    check_file(&s, "plain", "text");
    CHECK_EQ(chdir(here), 0);
    scene_end(&s);
}

TEST(what_is_given_up_leaves_nothing) {
    struct scene s;
    struct replacing p;
    scene_start(&s);
    uint32_t before = descriptors();
    put_file(&s, "file", "old", 3);
    CHECK_EQ(begin(&s, &p, path_in(&s, "file")), 0);
    CHECK_EQ(write_text(&s, &p, "new"), 0);
    xev_replace_abandon(&p.r, XEV_EBADMSG);
    CHECK_EQ(step(&s, &p), XEV_EBADMSG);
    check_file(&s, "file", "old");
    check_alone(&s, "file");
    CHECK_EQ(descriptors(), before);
    scene_end(&s);
}

/* At each step: the code is told, once; the old file is as it was, and nothing is beside it. */
TEST(failures_are_told_and_leave_the_old_file) {
    struct scene s;
    struct replacing p;
    char text[PATH_MAX + 10], sub[PATH_MAX];
    scene_start(&s);
    uint32_t before = descriptors();
    CHECK_EQ(begin(&s, &p, path_in(&s, "none/file")), XEV_ENOENT);
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    CHECK_EQ(begin(&s, &p, text), XEV_ENAMETOOLONG);
    put_file(&s, "file", "old", 3);
    CHECK_EQ(begin(&s, &p, path_in(&s, "file")), 0);
    struct rlimit limit, none;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
    none = (struct rlimit){0, limit.rlim_max};
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
    CHECK_EQ(write_text(&s, &p, "new"), XEV_EFBIG);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    check_file(&s, "file", "old");
    check_alone(&s, "file");
    snprintf(sub, sizeof sub, "%s", path_in(&s, "folder"));
    CHECK_EQ(mkdir(sub, 0700), 0);
    CHECK_EQ(begin(&s, &p, sub), 0); /* a folder is in its place */
    CHECK_EQ(write_text(&s, &p, "new"), 0);
    CHECK_EQ(commit(&s, &p), XEV_EISDIR);
    check_alone(&s, "folder");
    CHECK_EQ(mkdir(path_in(&s, "file.tmp"), 0700), 0);
    CHECK_LT(begin(&s, &p, path_in(&s, "file")), 0); /* which nobody has left by being killed */
    check_file(&s, "file", "old");
    CHECK_EQ(rmdir(path_in(&s, "file.tmp")), 0);
    CHECK_EQ(descriptors(), before);
    scene_end(&s);
}

/* Somebody may have put a link beside it, or has left a file that all may read: the new file is a
 * file of its own, with its own permissions. */
TEST(what_is_left_beside_it_is_not_used) {
    struct scene s;
    struct replacing p;
    struct stat st;
    char others[PATH_MAX];
    scene_start(&s);
    (void)umask(022);
    put_file(&s, "others", "theirs", 6);
    snprintf(others, sizeof others, "%s", path_in(&s, "others"));
    for (int round = 0; round < 2; round++) {
        if (round == 0) {
            CHECK_EQ(symlink(others, path_in(&s, "file.tmp")), 0);
        } else {
            put_file(&s, "file.tmp", "left", 4);
            CHECK_EQ(chmod(path_in(&s, "file.tmp"), 0666), 0);
        }
        CHECK_EQ(begin(&s, &p, path_in(&s, "file")), 0);
        CHECK_EQ(write_text(&s, &p, "mine"), 0);
        CHECK_EQ(commit(&s, &p), 0);
        check_file(&s, "file", "mine");
        check_file(&s, "others", "theirs");
        check_alone(&s, "file");
        CHECK_EQ(lstat(path_in(&s, "file"), &st), 0);
        CHECK_EQ(st.st_mode, S_IFREG | 0640);
    }
    scene_end(&s);
}

TEST(a_loop_without_a_pool_refuses) {
    xev_loop loop;
    struct scene s = {.dir = "/tmp"};
    struct replacing p = {.calls = 0};
    loop_start(&loop);
    xev_replace_begin(&loop, &p.r, "/tmp/xev-replace-none", 0600, &p, on_replaced);
    run_done(&loop);
    CHECK_EQ(p.calls, 1);
    CHECK_EQ(p.result, XEV_ENOPOOL);
    check_alone(&s, "xev-replace-none");
    xev_loop_deinit(&loop);
}

/* The loop ends while a step waits for a thread: before there is a descriptor, and with one. */
TEST(the_end_of_the_loop_is_told_once) {
    for (int opened = 0; opened < 2; opened++) {
        struct scene s;
        struct replacing p;
        struct hold held;
        scene_start(&s);
        uint32_t before = descriptors();
        memset(&p, 0, sizeof p);
        if (opened) {
            CHECK_EQ(begin(&s, &p, path_in(&s, "file")), 0);
        }
        hold_lane(&s, &held, XEV_LANE_FS);
        if (opened) {
            xev_replace_write(&p.r, "text", 4);
        } else {
            xev_replace_begin(&s.loop, &p.r, path_in(&s, "file"), 0600, &p, on_replaced);
        }
        run_no_wait(&s.loop);
        sem_post(&held.go);
        xev_loop_deinit(&s.loop);
        CHECK_EQ(p.calls, 1);
        CHECK_EQ(p.result, XEV_ECANCELED);
        CHECK_LE(descriptors(), before);
        loop_start(&s.loop);
        scene_end(&s);
    }
}
