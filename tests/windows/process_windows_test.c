/* Child processes on Windows. The common tests of them start programs that only Unix has. */
#include <signal.h>

#include "tests/loop_scene.h"

struct child {
    xev_process process;
    struct op wait;
};

static const char *program(void) {
    const char *path = getenv("CHILD");
    CHECK(path != NULL);
    return path;
}

static void spawn(struct child *c, const char *const *argv, xev_process_options o) {
    memset(c, 0, sizeof *c);
    o.file = program();
    o.argv = argv;
    CHECK_EQ(xev_process_spawn(&c->process, &o), 0);
    CHECK_GT(c->process.pid, 0);
}

static int end_of(xev_loop *loop, struct child *c) {
    c->wait = (struct op){0};
    xev_process_wait(&c->process, loop, &c->wait.c, &c->wait, op_cb);
    run_for(loop, &c->wait, 1);
    return c->wait.result;
}

static void close_child(xev_loop *loop, struct child *c) {
    for (int i = 0; i < 3; i++) {
        if (c->process.stdio[i] != XEV_INVALID_FD) {
            struct op closing = {0};
            xev_fd_close(c->process.stdio[i], loop, &closing.c, &closing, op_cb);
            run_for(loop, &closing, 1);
            CHECK_EQ(closing.result, 0);
        }
    }
    struct op closing = {0};
    xev_process_close(&c->process, loop, &closing.c, &closing, op_cb);
    run_for(loop, &closing, 1);
    CHECK_EQ(closing.result, 0);
}

static void read_all(xev_loop *loop, xev_fd fd, char *out, size_t cap) {
    size_t len = 0;
    for (struct op reading = {0}; reading.result != XEV_EOF;) {
        reading = (struct op){0};
        CHECK_LT(len, cap - 1);
        xev_fd_read(fd, loop, &reading.c, out + len, cap - 1 - len, &reading, op_cb);
        run_for(loop, &reading, 1);
        CHECK(reading.result > 0 || reading.result == XEV_EOF);
        len += reading.result > 0 ? (size_t)reading.result : 0;
    }
    out[len] = '\0';
}

static int result_of(const char *const *argv) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    spawn(&c, argv, (xev_process_options){0});
    int result = end_of(&loop, &c);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
    return result;
}

static void check_output(const char *const *argv, xev_process_options o, const char *wanted) {
    char out[512];
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    o.stdio[1].kind = XEV_STDIO_PIPE;
    spawn(&c, argv, o);
    read_all(&loop, c.process.stdio[1], out, sizeof out);
    CHECK_EQ(end_of(&loop, &c), 0);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
    CHECK_STR_EQ(out, wanted);
}

TEST(exit_codes_are_reported) {
    CHECK_EQ(result_of((const char *[]){"child", "exit", "0", NULL}), 0);
    CHECK_EQ(result_of((const char *[]){"child", "exit", "42", NULL}), 42);
    CHECK_EQ(result_of((const char *[]){"child", "exit", "259", NULL}), 255);
    CHECK_EQ(result_of((const char *[]){"child", "exit", "0xffffffff", NULL}), 255);
}

TEST(a_crash_is_a_signal) {
    int result = result_of((const char *[]){"child", "exit", "0xc0000005", NULL});
    CHECK_EQ(xev_process_signal(result), 11);
    CHECK_EQ(xev_process_exit_code(result), -1);
}

TEST(arguments_arrive_as_they_are) {
    const char *argv[] = {"child",  "arguments", "",       "plain",   "two words", "\"quoted\"",
                          "back\\", "sp ace\\",  "a\\\\b", "\\\"x y", "t\tb",      NULL};
    check_output(argv, (xev_process_options){0},
                 "[][plain][two words][\"quoted\"][back\\][sp ace\\][a\\\\b][\\\"x y][t\tb]");
}

TEST(the_environment_is_the_one_that_is_given) {
    const char *env[] = {"ZED=last", "XEV_CHILD=yes", NULL};
    xev_process_options given = {.env = env};
    CHECK_EQ(_putenv("XEV_PARENT=here"), 0);
    check_output((const char *[]){"child", "variable", "XEV_CHILD", NULL}, given, "yes");
    check_output((const char *[]){"child", "variable", "XEV_PARENT", NULL}, given, "(none)");
    check_output((const char *[]){"child", "variable", "XEV_PARENT", NULL},
                 (xev_process_options){0}, "here");
}

/* The system looks names up as if they were sorted, whatever their case. */
TEST(the_environment_is_sorted) {
    const char *env[] = {"xev_two=2", "XEV_ZED=last", "XEV_A=1", "xev_c=3", "XEV_B=", NULL};
    check_output((const char *[]){"child", "names", NULL}, (xev_process_options){.env = env},
                 "[XEV_A][XEV_B][xev_c][xev_two][XEV_ZED]");
}

TEST(the_child_starts_in_its_folder) {
    char self[MAX_PATH];
    CHECK_GT(GetFullPathNameA(program(), sizeof self, self, NULL), 0);
    xev_loop loop;
    struct child c;
    char out[512];
    const char *argv[] = {"child", "folder", NULL};
    xev_process_options o = {.file = self, .argv = argv, .cwd = "C:\\windows"};
    o.stdio[1].kind = XEV_STDIO_PIPE;
    loop_start(&loop);
    CHECK_EQ(xev_process_spawn(&c.process, &o), 0);
    read_all(&loop, c.process.stdio[1], out, sizeof out);
    CHECK_EQ(_stricmp(out, "C:\\windows"), 0);
    CHECK_EQ(end_of(&loop, &c), 0);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(three_pipes_lead_to_the_child) {
    static char sent[100000], out[sizeof sent + 1], errors[16];
    xev_loop loop;
    struct child c;
    struct op writing = {0};
    memset(sent, 'x', sizeof sent);
    loop_start(&loop);
    spawn(&c, (const char *[]){"child", "cat", NULL},
          (xev_process_options){
              .stdio = {{XEV_STDIO_PIPE, 0}, {XEV_STDIO_PIPE, 0}, {XEV_STDIO_PIPE, 0}}});
    size_t written = 0, len = 0;
    struct op reading = {0};
    xev_fd_read(c.process.stdio[1], &loop, &reading.c, out, sizeof out, &reading, op_cb);
    while (len < sizeof sent) {
        if (!is_active(&writing) && written < sizeof sent && writing.terminal == 0) {
            xev_fd_write(c.process.stdio[0], &loop, &writing.c, sent + written,
                         sizeof sent - written, &writing, op_cb);
        }
        run_once(&loop);
        if (writing.terminal == 1) {
            CHECK_GT(writing.result, 0);
            written += (size_t)writing.result;
            writing = (struct op){0};
            if (written == sizeof sent) {
                struct op closing = {0};
                xev_fd_close(c.process.stdio[0], &loop, &closing.c, &closing, op_cb);
                run_for(&loop, &closing, 1);
                c.process.stdio[0] = XEV_INVALID_FD;
            }
        }
        if (reading.terminal == 1) {
            CHECK_GT(reading.result, 0);
            len += (size_t)reading.result;
            reading = (struct op){0};
            if (len < sizeof sent) {
                xev_fd_read(c.process.stdio[1], &loop, &reading.c, out + len, sizeof out - len,
                            &reading, op_cb);
            }
        }
    }
    CHECK_MEM_EQ(out, sent, sizeof sent);
    read_all(&loop, c.process.stdio[1], out, sizeof out);
    CHECK_STR_EQ(out, "");
    read_all(&loop, c.process.stdio[2], errors, sizeof errors);
    CHECK_STR_EQ(errors, "done");
    CHECK_EQ(end_of(&loop, &c), 0);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(a_killed_child_reports_the_signal) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    spawn(&c, (const char *[]){"child", "sleep", NULL}, (xev_process_options){0});
    CHECK_EQ(xev_process_kill(&c.process, 0), 0);
    CHECK_EQ(xev_process_kill(&c.process, 99), XEV_EINVAL);
    CHECK_EQ(xev_process_kill(&c.process, 10), XEV_ENOTSUP); /* SIGUSR1 */
    CHECK_EQ(xev_process_kill_group(&c.process, 9), XEV_ESRCH);
    CHECK_EQ(xev_process_kill(&c.process, 9), 0);
    int result = end_of(&loop, &c);
    CHECK_EQ(xev_process_signal(result), 9);
    CHECK_EQ(xev_process_kill(&c.process, 9), XEV_ESRCH);
    CHECK_EQ(end_of(&loop, &c), XEV_ECHILD); /* collected before */
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

/* As <signal.h> has them, or xev. */
TEST(signals_that_end_a_process_have_their_names) {
    static const int numbers[] = {SIGINT, XEV_SIGQUIT, SIGABRT, XEV_SIGKILL, SIGTERM};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        xev_loop loop;
        struct child c;
        loop_start(&loop);
        spawn(&c, (const char *[]){"child", "sleep", NULL}, (xev_process_options){0});
        CHECK_EQ(xev_process_kill(&c.process, numbers[i]), 0);
        int result = end_of(&loop, &c);
        CHECK_EQ(xev_process_exit_code(result), -1);
        CHECK_EQ(xev_process_signal(result), numbers[i]);
        close_child(&loop, &c);
        xev_loop_deinit(&loop);
    }
    /* What __fastfail ends a process with, and abort() in some of Microsoft's libraries. */
    CHECK_EQ(xev_process_signal(result_of((const char *[]){"child", "exit", "0xC0000409", NULL})),
             SIGABRT);
}

TEST(a_group_is_killed_with_what_its_leader_has_started) {
    xev_loop loop;
    struct child c;
    char line[32] = "";
    struct op reading = {0};
    loop_start(&loop);
    spawn(&c, (const char *[]){program(), "another", NULL},
          (xev_process_options){.stdio = {{0}, {XEV_STDIO_PIPE, 0}}, .own_group = true});
    xev_fd_read(c.process.stdio[1], &loop, &reading.c, line, sizeof line - 1, &reading, op_cb);
    run_for(&loop, &reading, 1);
    CHECK_GT(reading.result, 0);
    HANDLE other = OpenProcess(SYNCHRONIZE, FALSE, (DWORD)strtoul(line, NULL, 10));
    CHECK(other != NULL);
    CHECK_EQ(xev_process_kill_group(&c.process, 0), 0);
    CHECK_EQ(xev_process_kill_group(&c.process, 15), 0);
    CHECK_EQ(xev_process_signal(end_of(&loop, &c)), 15);
    CHECK_EQ(WaitForSingleObject(other, 30000), WAIT_OBJECT_0);
    CHECK_EQ(xev_process_kill_group(&c.process, 15), XEV_ESRCH);
    (void)CloseHandle(other);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(a_wait_that_is_cancelled_collects_nothing) {
    xev_loop loop;
    struct child c;
    struct op cancel = {0};
    loop_start(&loop);
    spawn(&c, (const char *[]){"child", "sleep", NULL}, (xev_process_options){0});
    xev_process_wait(&c.process, &loop, &c.wait.c, &c.wait, op_cb);
    run_no_wait(&loop);
    xev_cancel(&loop, &c.wait.c, &cancel.c, &cancel, op_cb);
    run_for(&loop, &c.wait, 1);
    run_for(&loop, &cancel, 1);
    CHECK_EQ(c.wait.result, XEV_ECANCELED);
    CHECK_EQ(xev_process_kill(&c.process, 9), 0);
    CHECK_EQ(xev_process_signal(end_of(&loop, &c)), 9);
    close_child(&loop, &c);
    xev_loop_deinit(&loop);
}

TEST(a_loop_ends_with_a_wait_under_way) {
    xev_loop loop;
    struct child c;
    loop_start(&loop);
    spawn(&c, (const char *[]){"child", "sleep", NULL}, (xev_process_options){0});
    xev_process_wait(&c.process, &loop, &c.wait.c, &c.wait, op_cb);
    run_no_wait(&loop);
    xev_loop_deinit(&loop);
    CHECK_EQ(c.wait.terminal, 1);
    CHECK_EQ(c.wait.result, XEV_ECANCELED);
    CHECK_EQ(xev_process_kill(&c.process, 9), 0);
    CHECK_EQ(xev_process_close_now(&c.process), 0);
}

TEST(only_children_are_waited_for) {
    xev_loop loop;
    struct child c = {0};
    loop_start(&loop);
    CHECK_EQ(xev_process_open(&c.process, (int32_t)GetCurrentProcessId()), 0);
    CHECK_EQ(end_of(&loop, &c), XEV_ECHILD);
    CHECK_EQ(xev_process_close_now(&c.process), 0);
    CHECK_EQ(xev_process_open(&c.process, INT32_MAX), XEV_ESRCH);
    for (int32_t i = 1; i < 4; i++) { /* of which there are none */
        CHECK_EQ(xev_process_open(&c.process, (int32_t)GetCurrentProcessId() + i), XEV_ESRCH);
    }
    xev_loop_deinit(&loop);
}

static int failure_of(const char *file, const char *cwd) {
    xev_process p;
    const char *argv[] = {"x", NULL};
    int before = test_open_descriptors();
    int rc = xev_process_spawn(
        &p, &(xev_process_options){
                .file = file, .argv = argv, .cwd = cwd, .stdio = {{XEV_STDIO_PIPE, 0}}});
    CHECK_EQ(p.fd, XEV_INVALID_FD);
    CHECK_EQ(p.stdio[0], XEV_INVALID_FD);
    CHECK_EQ(test_open_descriptors(), before);
    return rc;
}

TEST(what_cannot_be_started_is_told) {
    CHECK_EQ(failure_of("no-such-program", NULL), XEV_ENOENT);
    CHECK_EQ(failure_of("./no/such/program", NULL), XEV_ENOENT);
    CHECK_EQ(failure_of("C:\\windows", NULL), XEV_EACCES);
    CHECK_EQ(failure_of(program(), "C:\\no-such-folder"), XEV_ENOENT);
    CHECK_EQ(failure_of(program(), program()), XEV_ENOTDIR);
    xev_process p;
    const char *argv[] = {program(), "exit", "0", NULL};
    CHECK_EQ(xev_process_spawn(&p, &(xev_process_options){.argv = argv, .set_uid = true}),
             XEV_ENOTSUP);
}

/* Beyond what the system takes without a prefix; in folders with blanks and other letters. */
TEST(the_path_of_a_program_may_be_long) {
    enum { PARTS = 6 };
    static wchar_t whole[4096], part[8][4096], slashes[4096];
    static char path[4096];
    wchar_t from[MAX_PATH];
    char name[] = "xev-XXXXXX";
    CHECK(MultiByteToWideChar(CP_UTF8, 0, program(), -1, slashes, MAX_PATH) > 0);
    CHECK(GetFullPathNameW(slashes, MAX_PATH, from, NULL) < MAX_PATH);
    CHECK(mkdtemp(name) != NULL);
    CHECK(MultiByteToWideChar(CP_UTF8, 0, name, -1, slashes, MAX_PATH) > 0);
    wcscpy(whole, L"\\\\?\\");
    CHECK(GetFullPathNameW(slashes, MAX_PATH, whole + 4, NULL) < MAX_PATH);
    strcpy(path, name);
    for (int i = 0; i < PARTS; i++) {
        wcscat(whole, L"\\a folder of many letters, a folder of many letters, \u00fc\u65e5");
        strcat(path, "/a folder of many letters, a folder of many letters, \xc3\xbc\xe6\x97\xa5");
        wcscpy(part[i], whole);
        CHECK(CreateDirectoryW(whole, NULL));
    }
    wcscpy(part[PARTS], whole);
    wcscat(part[PARTS], L"\\my child.exe");
    CHECK(CopyFileW(from, part[PARTS], TRUE));
    CHECK_GT(strlen(path), 300);
    for (int with_suffix = 0; with_suffix < 2; with_suffix++) {
        xev_process p;
        xev_loop loop;
        struct op wait = {0};
        char file[4096];
        const char *argv[] = {"child", "exit", "7", NULL};
        snprintf(file, sizeof file, "%s/my child%s", path, with_suffix ? ".exe" : "");
        loop_start(&loop);
        CHECK_EQ(xev_process_spawn(&p, &(xev_process_options){.file = file, .argv = argv}), 0);
        xev_process_wait(&p, &loop, &wait.c, &wait, op_cb);
        run_for(&loop, &wait, 1);
        CHECK_EQ(wait.result, 7);
        wait = (struct op){0};
        xev_process_close(&p, &loop, &wait.c, &wait, op_cb);
        run_for(&loop, &wait, 1);
        xev_loop_deinit(&loop);
        snprintf(file, sizeof file, "%s/no child%s", path, with_suffix ? ".exe" : "");
        CHECK_EQ(failure_of(file, NULL), XEV_ENOENT);
    }
    CHECK_EQ(failure_of(path, NULL), XEV_EACCES);
    CHECK(DeleteFileW(part[PARTS]));
    for (int i = PARTS; i-- > 0;) {
        CHECK(RemoveDirectoryW(part[i]));
    }
    (void)rmdir(name);
}

/* The command interpreter, to which the system gives batch files, does not quote as programs do:
 * an argument could be a command. */
TEST(a_batch_file_is_no_program) {
    static const char *const names[] = {"xev.bat", "xev.CMD"};
    char base[MAX_PATH], path[MAX_PATH + 16], dotted[MAX_PATH + 17];
    CHECK_GT(GetTempPathA(sizeof base, base), 0);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s%s", base, names[i]);
        snprintf(dotted, sizeof dotted, "%s. .", path);
        FILE *f = fopen(path, "wb");
        CHECK(f != NULL);
        CHECK(fputs("@exit 0\r\n", f) >= 0);
        CHECK_EQ(fclose(f), 0);
        CHECK_EQ(failure_of(path, NULL), XEV_ENOEXEC);
        int rc = failure_of(dotted, NULL);
        CHECK(rc == XEV_ENOEXEC || rc == XEV_ENOENT); /* as the file system takes it */
        CHECK(DeleteFileA(path));
    }
}

TEST(a_command_line_may_be_too_long) {
    static char argument[40000];
    xev_process p;
    const char *argv[] = {program(), argument, NULL};
    memset(argument, 'x', sizeof argument - 1);
    CHECK_EQ(xev_process_spawn(&p, &(xev_process_options){.argv = argv}), XEV_E2BIG);
}

TEST(many_children_end) {
    enum { CHILDREN = 24 };
    static struct child c[CHILDREN];
    xev_loop loop;
    loop_start(&loop);
    for (int i = 0; i < CHILDREN; i++) {
        char code[8];
        snprintf(code, sizeof code, "%d", i);
        spawn(&c[i], (const char *[]){"child", "exit", code, NULL}, (xev_process_options){0});
        xev_process_wait(&c[i].process, &loop, &c[i].wait.c, &c[i].wait, op_cb);
    }
    run_done(&loop);
    for (int i = 0; i < CHILDREN; i++) {
        CHECK_EQ(c[i].wait.result, i);
        close_child(&loop, &c[i]);
    }
    xev_loop_deinit(&loop);
}
