/* The arguments of main in UTF-8, as xev takes paths and texts. On Windows main has them in a code
 * page of the system's, in which many letters become '?'. */
#ifndef EXAMPLES_ARGS_H
#define EXAMPLES_ARGS_H

#if defined(_WIN32)

#include <stdlib.h>
#include <windows.h>
/* After it. */
#include <shellapi.h>

/* Put them in the place of those that main has. They stay until the end of the program. */
static inline void args_to_utf8(int *argc, char ***argv) {
    int count = 0;
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &count);
    char **args = wide != NULL ? calloc((size_t)count + 1, sizeof *args) : NULL;
    for (int i = 0; args != NULL && i < count; i++) {
        int bytes = WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, NULL, 0, NULL, NULL);
        args[i] = malloc((size_t)bytes);
        if (args[i] == NULL) {
            return; /* they stay as they were */
        }
        (void)WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, args[i], bytes, NULL, NULL);
    }
    if (args != NULL) {
        *argc = count;
        *argv = args;
    }
}

#else

static inline void args_to_utf8(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
}

#endif

#endif
