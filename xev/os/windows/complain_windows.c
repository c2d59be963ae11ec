/* Windows: a line on stderr, for which nobody waits long. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include "xev/os/complain.h"

/* A pipe may be full, and its reader stopped. PIPE_NOWAIT would be the pipe's for all who share it,
 * so the line is written by a thread of its own, for which this one waits a moment only. How long
 * it takes until that thread runs depends on the machine's load, and does not count, but for a
 * limit: while a DLL is loaded no thread begins. */
#define STEP_MS 50u
#define STEPS_OF_A_WRITE 20u
#define STEPS_IN_ALL 200u

struct line {
    uint32_t begun; /* atomic */
    DWORD len_bytes;
    char text[512];
};

static DWORD WINAPI write_line(void *arg) {
    struct line *line = arg;
    DWORD written;
    __atomic_store_n(&line->begun, 1, __ATOMIC_RELEASE);
    (void)WriteFile(GetStdHandle(STD_ERROR_HANDLE), line->text, line->len_bytes, &written, NULL);
    return 0;
}

void xev__put_line(const char *text, size_t len_bytes) {
    static struct line lines[8]; /* a thread that waits for ever keeps its line */
    static LONG next;
    DWORD error = GetLastError();
    struct line *line = &lines[(unsigned long)InterlockedIncrement(&next) % 8];
    __atomic_store_n(&line->begun, 0, __ATOMIC_RELAXED);
    line->len_bytes = (DWORD)(len_bytes < sizeof line->text ? len_bytes : sizeof line->text);
    memcpy(line->text, text, line->len_bytes);
    HANDLE thread = CreateThread(NULL, 0, write_line, line, 0, NULL);
    if (thread != NULL) {
        uint32_t writes = 0;
        for (uint32_t steps = 0; steps < STEPS_IN_ALL && writes < STEPS_OF_A_WRITE &&
                                 WaitForSingleObject(thread, STEP_MS) == WAIT_TIMEOUT;
             steps++) {
            writes += __atomic_load_n(&line->begun, __ATOMIC_ACQUIRE);
        }
        (void)CloseHandle(thread);
    }
    SetLastError(error);
}
