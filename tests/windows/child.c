/* What the tests start as a child: does what its arguments say. */
#include <direct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

static int start_another(const char *self) {
    STARTUPINFOA startup = {.cb = sizeof startup};
    PROCESS_INFORMATION made;
    char command[MAX_PATH + 16];
    snprintf(command, sizeof command, "\"%s\" sleep", self);
    if (!CreateProcessA(self, command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &made)) {
        return 1;
    }
    printf("%lu\n", made.dwProcessId);
    fflush(stdout);
    Sleep(INFINITE);
    return 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "exit") == 0) {
        ExitProcess((UINT)strtoul(argv[2], NULL, 0));
    } else if (strcmp(what, "arguments") == 0) {
        for (int i = 2; i < argc; i++) {
            printf("[%s]", argv[i]);
        }
    } else if (strcmp(what, "variable") == 0) {
        const char *value = getenv(argv[2]);
        printf("%s", value != NULL ? value : "(none)");
    } else if (strcmp(what, "names") == 0) {
        /* Of the environment, in the system's order; some are Wine's own. */
        wchar_t *all = GetEnvironmentStringsW();
        for (const wchar_t *v = all; *v != 0; v += wcslen(v) + 1) {
            if (_wcsnicmp(v, L"xev_", 4) == 0) {
                printf("[%.*ls]", (int)wcscspn(v, L"="), v);
            }
        }
    } else if (strcmp(what, "folder") == 0) {
        char folder[MAX_PATH];
        printf("%s", _getcwd(folder, sizeof folder));
    } else if (strcmp(what, "cat") == 0) {
        for (int c; (c = getchar()) != EOF;) {
            putchar(c);
        }
        fprintf(stderr, "done");
    } else if (strcmp(what, "sleep") == 0) {
        Sleep(INFINITE);
    } else if (strcmp(what, "another") == 0) {
        return start_another(argv[0]);
    } else {
        return 2;
    }
    return 0;
}
