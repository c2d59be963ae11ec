/* Windows: threads. There is no fork. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "xev/os/thread.h"
#include "xev/os/windows/windows_base.h"

uint64_t xev__os_thread_id(void) {
    static _Atomic uint64_t last;
    static _Thread_local uint64_t id;
    if (id == 0) {
        id = ++last;
    }
    assert(id > 0);
    return id;
}

uint64_t xev__os_thread_number(void) { return GetCurrentThreadId(); }

bool xev__os_thread_has_ended(uint64_t number) {
    HANDLE thread = OpenThread(SYNCHRONIZE, FALSE, (DWORD)number);
    if (thread == NULL) {
        return true;
    }
    bool ended = WaitForSingleObject(thread, 0) == WAIT_OBJECT_0;
    (void)CloseHandle(thread);
    return ended;
}

void xev__os_thread_text(uint64_t number, char *text, size_t len_bytes) {
    assert(text != NULL && len_bytes > 0);
    snprintf(text, len_bytes, "thread (%" PRIu64 ")", number);
}

uint32_t xev__os_forks;

int xev__os_watch_forks(void) { return 0; }

int xev__os_in_forked_child(void (*fn)(void)) {
    (void)fn;
    return 0;
}

/* Names stand in files of their own, if at all. */
bool xev__os_code_name(const void *code, char *text, size_t len_bytes) {
    XEV_ASSERT(code != NULL && text != NULL && len_bytes > 0);
    return false;
}

void xev__os_code_place(const void *code, char *text, size_t len_bytes) {
    assert(text != NULL && len_bytes > 0);
    HMODULE module;
    char path[MAX_PATH];
    if (!GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS |
                                GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                            code, &module) ||
        GetModuleFileNameA(module, path, sizeof path) == 0) {
        snprintf(text, len_bytes, "%p", code);
        return;
    }
    path[sizeof path - 1] = '\0';
    const char *slash = strrchr(path, '\\');
    snprintf(text, len_bytes, "%s+%#jx", slash != NULL ? slash + 1 : path,
             (uintmax_t)((uintptr_t)code - (uintptr_t)module));
}

void xev__os_block_write_signals(void) {} /* no write raises one */
