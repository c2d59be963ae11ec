/* A fork for children that end soon: the child is this program, started again for the same case. It
 * does what the case has done so far, for its earlier children without them, and is the child when
 * it comes to the call that has started it. */
#include "tests/windows/posix.h"

#include "tests/system.h"
#include "tests/test.h"

static int calls;           /* of this case */
static char case_name[256]; /* of calls */
static int own_call = -1;   /* -1: not known yet; 0: this process is no child */

static int number_in(const char *name) {
    char text[16];
    return GetEnvironmentVariableA(name, text, sizeof text) > 0 ? atoi(text) : 0;
}

bool test_repeats(void) {
    own_call = own_call < 0 ? number_in("XEV_TEST_FORK") : own_call;
    return calls < own_call;
}

int test_fork(int err) {
    char name[256] = "", path[MAX_PATH], command[2 * MAX_PATH], number[16];
    (void)GetEnvironmentVariableA("XEV_TEST_CASE", name, sizeof name);
    if (strcmp(name, case_name) != 0) {
        strcpy(case_name, name);
        calls = 0;
    }
    bool repeats = test_repeats();
    calls++;
    if (repeats) {
        return calls == own_call ? 0 : INT_MAX;
    }
    CHECK(GetModuleFileNameA(NULL, path, sizeof path) > 0);
    snprintf(command, sizeof command, "\"%s\" --case %s", path, name);
    snprintf(number, sizeof number, "%d", calls);
    HANDLE error = (HANDLE)(intptr_t)err;
    STARTUPINFOA startup = {.cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES};
    PROCESS_INFORMATION made;
    startup.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    startup.hStdError = error;
    (void)SetHandleInformation(error, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT);
    (void)SetEnvironmentVariableA("XEV_TEST_FORK", number);
    BOOL ok = CreateProcessA(path, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &made);
    (void)SetEnvironmentVariableA("XEV_TEST_FORK", NULL);
    (void)SetHandleInformation(error, HANDLE_FLAG_INHERIT, 0);
    if (!ok) {
        return -1;
    }
    (void)CloseHandle(made.hThread);
    return (int)(intptr_t)made.hProcess;
}

/* How it ended, as WIFSIGNALED and the others of lacks.h read it. */
pid_t posix_waitpid(pid_t pid, int *status, int flags) {
    enum { ABORTED = 3 };
    HANDLE process = (HANDLE)(intptr_t)pid;
    DWORD code = 0;
    (void)flags;
    if (WaitForSingleObject(process, INFINITE) != WAIT_OBJECT_0 ||
        !GetExitCodeProcess(process, &code)) {
        return -1;
    }
    (void)CloseHandle(process);
    *status = code == ABORTED ? -SIGABRT : (int)(code & 0x7fffffff);
    return pid;
}
