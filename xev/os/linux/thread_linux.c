/* Linux: the place of code, by the dynamic linker; numbers and names of threads. */
#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "xev/os/thread.h"

void xev__os_code_place(const void *code, char *text, size_t len_bytes) {
    assert(text != NULL && len_bytes > 0);
    Dl_info info;
    if (dladdr(code, &info) == 0 || info.dli_fname == NULL || info.dli_fbase == NULL) {
        snprintf(text, len_bytes, "%p", code);
        return;
    }
    /* The code of a program that cannot be moved has its address by itself. */
    const ElfW(Ehdr) *file = info.dli_fbase;
    uintptr_t base = file->e_type == ET_EXEC ? 0 : (uintptr_t)info.dli_fbase;
    const char *slash = strrchr(info.dli_fname, '/');
    snprintf(text, len_bytes, "%s+%#jx", slash != NULL ? slash + 1 : info.dli_fname,
             (uintmax_t)((uintptr_t)code - base));
}

uint64_t xev__os_thread_number(void) { return (uint64_t)syscall(SYS_gettid); }

bool xev__os_thread_has_ended(uint64_t number) {
    return syscall(SYS_tgkill, getpid(), (pid_t)number, 0) < 0 && errno == ESRCH;
}

void xev__os_thread_text(uint64_t number, char *text, size_t len_bytes) {
    assert(text != NULL && len_bytes > 0);
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%" PRIu64 "/comm", number);
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        if (fgets(name, sizeof name, f) == NULL) {
            name[0] = '\0';
        }
        (void)fclose(f);
    }
    name[strcspn(name, "\n")] = '\0';
    snprintf(text, len_bytes, "%s (%" PRIu64 ")", name[0] != '\0' ? name : "thread", number);
}
