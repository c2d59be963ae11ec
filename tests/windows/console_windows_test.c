/* Ctrl-C of a console, which is one of the test's own making: a test has none. */
#include <windows.h>

#include "tests/loop_scene.h"

/* Of Windows 10, 1809; not in all headers. */
#define PSEUDO_CONSOLE 0x20016
typedef HRESULT(WINAPI *create_fn)(COORD size, HANDLE in, HANDLE out, DWORD flags, void **console);
typedef void(WINAPI *close_fn)(void *console);

static void *system_call(const char *name) {
    FARPROC found = GetProcAddress(GetModuleHandleA("kernel32"), name);
    void *call;
    CHECK(found != NULL);
    memcpy(&call, &found, sizeof call);
    return call;
}

/* The exit code of a program that runs in a console of its own. */
static DWORD run_in_console(const char *program) {
    create_fn create;
    close_fn end;
    void *call = system_call("CreatePseudoConsole"), *console, *list;
    memcpy(&create, &call, sizeof create);
    call = system_call("ClosePseudoConsole");
    memcpy(&end, &call, sizeof end);
    HANDLE in, keys, screen, out;
    CHECK(CreatePipe(&in, &keys, NULL, 0));
    CHECK(CreatePipe(&screen, &out, NULL, 0));
    CHECK_EQ(create((COORD){80, 25}, in, out, 0, &console), 0);
    SIZE_T bytes = 0;
    (void)InitializeProcThreadAttributeList(NULL, 1, 0, &bytes);
    CHECK((list = malloc(bytes)) != NULL);
    STARTUPINFOEXA startup = {.StartupInfo.cb = sizeof startup, .lpAttributeList = list};
    CHECK(InitializeProcThreadAttributeList(list, 1, 0, &bytes));
    CHECK(UpdateProcThreadAttribute(list, 0, PSEUDO_CONSOLE, console, sizeof console, NULL, NULL));
    PROCESS_INFORMATION made;
    char command[512];
    snprintf(command, sizeof command, "%s", program);
    for (char *c = command; *c != '\0'; c++) {
        *c = *c == '/' ? '\\' : *c;
    }
    CHECK(CreateProcessA(NULL, command, NULL, NULL, FALSE, EXTENDED_STARTUPINFO_PRESENT, NULL, NULL,
                         &startup.StartupInfo, &made));
    CHECK_EQ(WaitForSingleObject(made.hProcess, 60000), WAIT_OBJECT_0);
    DWORD code = 0;
    CHECK(GetExitCodeProcess(made.hProcess, &code));
    CHECK(CloseHandle(made.hProcess) && CloseHandle(made.hThread));
    CHECK(CloseHandle(in) && CloseHandle(keys) && CloseHandle(screen) && CloseHandle(out));
    end(console);
    DeleteProcThreadAttributeList(list);
    free(list);
    return code;
}

TEST(a_ctrl_c_ends_a_runtime_in_order) {
    CHECK(getenv("INTERRUPTED") != NULL);
    CHECK_EQ(run_in_console(getenv("INTERRUPTED")), 42);
}
