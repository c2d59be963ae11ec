/* A case runs in this program, started again with `--case NAME`. A job object holds what it starts,
 * too. It prints itself which check failed.
 *
 * With XEV_TEST_TOGETHER cases run in the runner's own process. The first one that fails ends it,
 * and the rest counts as errors. */
#include <windows.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/plain.h"

static void must(BOOL ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "%s: error %lu\n", what, GetLastError());
        exit(EXIT_FAILURE);
    }
}

static HANDLE make_job(void) {
    HANDLE job = CreateJobObjectA(NULL, NULL);
    must(job != NULL, "CreateJobObject");
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {0};
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    must(SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits),
         "SetInformationJobObject");
    return job;
}

enum plain_outcome plain_run_apart(const char *program, const struct test_case *tc,
                                   char text[PLAIN_TEXT_BYTES]) {
    (void)program;
    if (getenv("XEV_TEST_TOGETHER") != NULL) { /* a process costs Wine more than most cases */
        printf("%s\n", tc->name);
        (void)SetEnvironmentVariableA("XEV_TEST_CASE", tc->name); /* for a child that repeats it */
        fflush(stdout);
        tc->run();
        return PLAIN_PASSED;
    }
    char path[MAX_PATH];
    char command[MAX_PATH + 256];
    must(GetModuleFileNameA(NULL, path, sizeof path) != 0, "GetModuleFileName");
    snprintf(command, sizeof command, "\"%s\" --case %s", path, tc->name);
    (void)SetEnvironmentVariableA("XEV_TEST_CASE", tc->name);
    STARTUPINFOA startup = {.cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES};
    startup.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    startup.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    startup.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    PROCESS_INFORMATION process;
    HANDLE job = make_job();
    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX); /* no dialog; it is inherited */
    fflush(NULL);
    must(CreateProcessA(path, command, NULL, NULL, TRUE, CREATE_SUSPENDED, NULL, NULL, &startup,
                        &process),
         "CreateProcess");
    must(AssignProcessToJobObject(job, process.hProcess), "AssignProcessToJobObject");
    ResumeThread(process.hThread);
    DWORD waited = WaitForSingleObject(process.hProcess, (DWORD)test_timeout_s(tc) * 1000);
    DWORD status = 0;
    GetExitCodeProcess(process.hProcess, &status);
    CloseHandle(job);
    WaitForSingleObject(process.hProcess, INFINITE);
    CloseHandle(process.hThread);
    CloseHandle(process.hProcess);
    if (waited != WAIT_OBJECT_0) {
        plain_describe(tc, text, "Test timeout expired");
    } else if (status == TEST_CHECK_FAILED) {
        return PLAIN_FAILED;
    } else if (status != 0) {
        plain_describe(tc, text, "Early exit with return value %lu (0x%08lx)", status, status);
    } else {
        return PLAIN_PASSED;
    }
    return PLAIN_ERROR;
}

void plain_fail_apart(const char *text) { (void)text; }
