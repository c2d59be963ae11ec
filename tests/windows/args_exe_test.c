/* replace_file.exe, with names of files that no code page of Windows has all letters of. */
#include <windows.h>

#include "tests/loop_scene.h"

static int run(const char *path, const char *text) {
    xev_loop loop;
    xev_process p;
    struct op wait = {0};
    const char *argv[] = {"replace_file", path, text, NULL};
    const xev_process_options options = {
        .file = getenv("REPLACE_FILE"), .argv = argv, .stdio = {{0}, {0}, {XEV_STDIO_INHERIT, 0}}};
    loop_start(&loop);
    CHECK_EQ(xev_process_spawn(&p, &options), 0);
    xev_process_wait(&p, &loop, &wait.c, &wait, op_cb);
    run_for(&loop, &wait, 1);
    int result = wait.result;
    wait = (struct op){0};
    xev_process_close(&p, &loop, &wait.c, &wait, op_cb);
    run_for(&loop, &wait, 1);
    xev_loop_deinit(&loop);
    return result;
}

TEST(arguments_are_taken_in_any_letters) {
    static const wchar_t *const wide[] = {L"a b.txt", L"gr\u00fc\u00dfe.txt", L"\u65e5\u672c.txt",
                                          L"\u0416 \u05d0.txt", L"\U0001f600.txt"};
    static const char *const names[] = {"a b.txt",
                                        "gr\xc3\xbc\xc3\x9f"
                                        "e.txt",
                                        "\xe6\x97\xa5\xe6\x9c\xac.txt", "\xd0\x96 \xd7\x90.txt",
                                        "\xf0\x9f\x98\x80.txt"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char got[32] = "";
        DWORD n = 0;
        CHECK_EQ(run(names[i], names[i]), 0);
        HANDLE h =
            CreateFileW(wide[i], GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
        CHECK(h != INVALID_HANDLE_VALUE);
        CHECK(ReadFile(h, got, sizeof got - 1, &n, NULL));
        CHECK_STR_EQ(got, names[i]);
        CHECK(CloseHandle(h));
        CHECK(DeleteFileW(wide[i]));
    }
}
