/* Misuse of xev/replace.h ends the program, as in misuse_test.c; bad numbers are codes. */
#include "tests/death.h"
#include "tests/replace_scene.h"

#define DIES(function, argument, ...) DIES_AFTER((void)0, function, argument, __VA_ARGS__)
#define FAILS(function, argument, code, ...)                                                       \
    do {                                                                                           \
        function(__VA_ARGS__);                                                                     \
        CHECK_EQ(step(&s, &p), code);                                                              \
    } while (0)

TEST(misuse_is_caught_and_bad_numbers_are_codes) {
    struct scene s;
    struct replacing p = {.calls = 0};
    scene_start(&s);
    const char *path = path_in(&s, "file");
    DIES(xev_replace_begin, loop, NULL, &p.r, path, 0600, &p, on_replaced);
    DIES(xev_replace_begin, replace, &s.loop, NULL, path, 0600, &p, on_replaced);
    DIES(xev_replace_begin, path, &s.loop, &p.r, NULL, 0600, &p, on_replaced);
    DIES(xev_replace_begin, cb, &s.loop, &p.r, path, 0600, &p, NULL);
    FAILS(xev_replace_begin, mode, XEV_EINVAL, &s.loop, &p.r, path, 010000, &p, on_replaced);
    DIES(xev_replace_write, replace, NULL, "a", 1);
    xev_replace_begin(&s.loop, &p.r, path, 0600, &p, on_replaced);
    CHECK_EQ(step(&s, &p), 0);
    DIES(xev_replace_write, data, &p.r, NULL, 1);
    FAILS(xev_replace_write, len_bytes, XEV_EINVAL, &p.r, "a", 0);
    DIES(xev_replace_commit, replace, NULL);
    DIES(xev_replace_abandon, replace, NULL, XEV_ECANCELED);
    DIES(xev_replace_abandon, code, &p.r, 0);
    CHECK_EQ(access(path_in(&s, "file.tmp"), F_OK), -1);
    scene_end(&s);
}
