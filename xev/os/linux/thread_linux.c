/* Linux: where code is, by what the dynamic linker knows. */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "xev/os/thread.h"

void xev__os_code_place(const void *code, char *text, size_t len_bytes) {
    Dl_info info;
    void *extra;
    if (dladdr1(code, &info, &extra, RTLD_DL_LINKMAP) == 0) {
        snprintf(text, len_bytes, "%p", code);
        return;
    }
    const struct link_map *map = extra;
    const char *slash = strrchr(info.dli_fname, '/');
    snprintf(text, len_bytes, "%s+%#jx", slash != NULL ? slash + 1 : info.dli_fname,
             (uintmax_t)((uintptr_t)code - map->l_addr));
}
