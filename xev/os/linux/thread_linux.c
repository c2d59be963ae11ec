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
    void *extra;
    if (dladdr1(code, &info, &extra, RTLD_DL_LINKMAP) == 0) {
        snprintf(text, len_bytes, "%p", code);
        return;
    }
    const struct link_map *map = extra;
    assert(map != NULL && info.dli_fname != NULL && (uintptr_t)code >= map->l_addr);
    const char *slash = strrchr(info.dli_fname, '/');
    snprintf(text, len_bytes, "%s+%#jx", slash != NULL ? slash + 1 : info.dli_fname,
             (uintmax_t)((uintptr_t)code - map->l_addr));
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
