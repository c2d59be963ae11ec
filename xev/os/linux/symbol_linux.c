/* Linux: names of functions. The dynamic linker knows those that are exported; static ones and
 * those of a program stand in the file's own table of symbols, if it is not stripped. */
#include <assert.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xev/os/thread.h"

#define OWN_CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)

struct image {
    const uint8_t *data;
    size_t len;
};

/* NULL: not all of it is in the file. */
static const void *image_at(const struct image *image, uint64_t offset, uint64_t len) {
    return offset <= image->len && len <= image->len - offset ? image->data + offset : NULL;
}

static const ElfW(Shdr) *
    section_at(const struct image *image, const ElfW(Ehdr) * head, uint32_t i) {
    if (i >= head->e_shnum || head->e_shentsize != sizeof(ElfW(Shdr))) {
        return NULL;
    }
    return image_at(image, head->e_shoff + (uint64_t)i * sizeof(ElfW(Shdr)), sizeof(ElfW(Shdr)));
}

/* The function that address, as of the file, is in, by one table. */
static bool name_in_table(const struct image *image, const ElfW(Ehdr) * head,
                          const ElfW(Shdr) * table, uint64_t address, char *text,
                          size_t len_bytes) {
    const ElfW(Shdr) *names = section_at(image, head, table->sh_link);
    const ElfW(Sym) *symbols = image_at(image, table->sh_offset, table->sh_size);
    const char *strings = names != NULL ? image_at(image, names->sh_offset, names->sh_size) : NULL;
    if (strings == NULL || symbols == NULL) {
        return false;
    }
    for (uint64_t i = 0; i < table->sh_size / sizeof *symbols; i++) {
        const ElfW(Sym) *s = &symbols[i];
        if ((s->st_info & 0xf) == STT_FUNC && address >= s->st_value &&
            address - s->st_value < s->st_size && s->st_name < names->sh_size) {
            snprintf(text, len_bytes, "%.*s", (int)(names->sh_size - s->st_name),
                     strings + s->st_name);
            return text[0] != '\0';
        }
    }
    return false;
}

static bool name_in_file(const struct image *image, uint64_t address, char *text,
                         size_t len_bytes) {
    const ElfW(Ehdr) *head = image_at(image, 0, sizeof *head);
    if (head == NULL || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
        head->e_ident[EI_CLASS] != OWN_CLASS) {
        return false;
    }
    for (uint32_t i = 0; i < head->e_shnum; i++) {
        const ElfW(Shdr) *s = section_at(image, head, i);
        if (s != NULL && s->sh_type == SHT_SYMTAB &&
            name_in_table(image, head, s, address, text, len_bytes)) {
            return true;
        }
    }
    return false;
}

/* The file that the code is from, and where it is loaded. False: that is not known. */
static bool find_file(const void *code, const Dl_info *info, const char **path, uintptr_t *base) {
    *path = "/proc/self/exe";
    *base = 0;
    if (info->dli_fbase == NULL) {
        return true; /* a static program: where it was linked, if it cannot be moved */
    }
    const ElfW(Ehdr) *head = info->dli_fbase;
    if (head->e_type != ET_EXEC) {
        *base = (uintptr_t)head;
    }
    assert((uintptr_t)code >= *base);
    (void)code; /* without assertions */
    if ((uintptr_t)head + head->e_phoff != getauxval(AT_PHDR)) {
        *path = info->dli_fname; /* not the program: of that it is argv[0] */
    }
    return *path != NULL;
}

bool xev__os_code_name(const void *code, char *text, size_t len_bytes) {
    assert(text != NULL && len_bytes > 0);
    Dl_info info = {0};
    if (dladdr(code, &info) == 0) {
        info = (Dl_info){0};
    }
    if (info.dli_sname != NULL) {
        snprintf(text, len_bytes, "%s", info.dli_sname);
        return true;
    }
    const char *path;
    uintptr_t base;
    int fd = find_file(code, &info, &path, &base) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct stat st;
    bool found = false;
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data != MAP_FAILED) {
            const struct image image = {data, (size_t)st.st_size};
            found = name_in_file(&image, (uintptr_t)code - base, text, len_bytes);
            (void)munmap(data, image.len);
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return found;
}
