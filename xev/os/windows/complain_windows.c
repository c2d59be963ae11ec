/* Windows: a line on stderr, for which nobody waits long. */
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include "xev/os/complain.h"

/* A pipe may be full, and its reader stopped. PIPE_NOWAIT would be the pipe's for all who share it,
 * so the line is written by a thread of its own, for which this one waits a moment only. */
#define PATIENCE_MS 200

struct line {
    DWORD len_bytes;
    char text[512];
};

static DWORD WINAPI write_line(void *arg) {
    const struct line *line = arg;
    DWORD written;
    (void)WriteFile(GetStdHandle(STD_ERROR_HANDLE), line->text, line->len_bytes, &written, NULL);
    return 0;
}

void xev__put_line(const char *text, size_t len_bytes) {
    static struct line lines[8]; /* a thread that waits for ever keeps its line */
    static LONG next;
    DWORD error = GetLastError();
    struct line *line = &lines[(unsigned long)InterlockedIncrement(&next) % 8];
    line->len_bytes = (DWORD)(len_bytes < sizeof line->text ? len_bytes : sizeof line->text);
    memcpy(line->text, text, line->len_bytes);
    HANDLE thread = CreateThread(NULL, 0, write_line, line, 0, NULL);
    if (thread != NULL) {
        (void)WaitForSingleObject(thread, PATIENCE_MS);
        (void)CloseHandle(thread);
    }
    SetLastError(error);
}
