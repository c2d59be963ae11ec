/* The calls of posix.h on files and memory. */
#include "tests/windows/posix.h"

#undef mkdir
#undef open

#include <direct.h>

#include "tests/test.h"

char *posix_mkdtemp(char *path) {
    static unsigned count;
    char *end = path + strlen(path) - 6;
    do {
        snprintf(end, 7, "%02x%04x", count++ & 0xff, (unsigned)GetCurrentProcessId() & 0xffff);
    } while (_mkdir(path) != 0 && errno == EEXIST);
    return path;
}

int posix_mkdir(const char *path, unsigned mode) {
    (void)mode;
    return _mkdir(path);
}

/* What is aligned stands behind the pointer to what malloc gave, in a list, since it is freed as
 * all else is. */
struct aligned {
    struct aligned *next;
    void *memory;
};

static SRWLOCK lock = SRWLOCK_INIT;
static struct aligned *lists[4096];

static struct aligned **list_of(const void *memory) {
    return &lists[(uintptr_t)memory / 32 % (sizeof lists / sizeof lists[0])];
}

void *posix_aligned_alloc(size_t alignment, size_t bytes) {
    if (alignment <= 16) {
        return malloc(bytes);
    }
    struct aligned *a = malloc(sizeof *a);
    void *memory = _aligned_malloc(bytes, alignment);
    if (a == NULL || memory == NULL) {
        return NULL;
    }
    AcquireSRWLockExclusive(&lock);
    *a = (struct aligned){.next = *list_of(memory), .memory = memory};
    *list_of(memory) = a;
    ReleaseSRWLockExclusive(&lock);
    return memory;
}

void posix_free(void *memory) {
    AcquireSRWLockExclusive(&lock);
    struct aligned **at = list_of(memory);
    while (*at != NULL && (*at)->memory != memory) {
        at = &(*at)->next;
    }
    struct aligned *a = *at;
    if (a != NULL) {
        *at = a->next;
    }
    ReleaseSRWLockExclusive(&lock);
    if (a != NULL) {
        _aligned_free(memory);
        (free)(a);
    } else {
        (free)(memory);
    }
}

/* The real one of tests that wrap it. The library calls it on other systems only. */
#undef aligned_alloc
void *aligned_alloc(size_t alignment, size_t bytes);
void *aligned_alloc(size_t alignment, size_t bytes) {
    return posix_aligned_alloc(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes) {
    *out = posix_aligned_alloc(alignment, bytes);
    return *out != NULL ? 0 : ENOMEM;
}

ssize_t posix_getrandom(void *to, size_t len, unsigned flags) {
    static ULONGLONG state;
    unsigned char *bytes = to;
    (void)flags;
    state = state != 0 ? state : GetTickCount64() ^ ((ULONGLONG)GetCurrentProcessId() << 32);
    for (size_t i = 0; i < len; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (unsigned char)(state >> 56);
    }
    return (ssize_t)len;
}

int posix_nftw(const char *path, int (*visit)(const char *, const struct stat *, int, struct FTW *),
               int fds, int flags) {
    struct FTW at = {0};
    DIR *dir = opendir(path);
    for (const struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        char below[MAX_PATH];
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            snprintf(below, sizeof below, "%s/%s", path, e->d_name);
            (void)posix_nftw(below, visit, fds, flags);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
        return _rmdir(path);
    }
    return visit(path, NULL, 0, &at);
}

static HANDLE handle_of(int fd) { return (HANDLE)(intptr_t)fd; }

static int fail(void) {
    DWORD error = GetLastError();
    errno = error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND ? ENOENT
            : error == ERROR_FILE_EXISTS                                   ? EEXIST
            : error == ERROR_INVALID_HANDLE                                ? EBADF
            : error == ERROR_ACCESS_DENIED                                 ? EACCES
                                                                           : EIO;
    return -1;
}

int posix_open(const char *path, int flags, ...) {
    bool writes = (flags & (O_WRONLY | O_RDWR)) != 0, create = (flags & O_CREAT) != 0;
    DWORD how = create && (flags & O_EXCL) != 0 ? CREATE_NEW : create ? OPEN_ALWAYS : OPEN_EXISTING;
    DWORD access = (flags & O_WRONLY) != 0 ? 0 : GENERIC_READ;
    access |= !writes ? 0 : (flags & O_APPEND) != 0 ? FILE_APPEND_DATA : GENERIC_WRITE;
    HANDLE h = CreateFileA(strcmp(path, "/dev/null") == 0 ? "NUL" : path, access,
                           FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, how,
                           FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h == INVALID_HANDLE_VALUE) {
        return fail();
    }
    if (writes && (flags & O_TRUNC) != 0) {
        (void)SetEndOfFile(h);
    }
    return (int)(intptr_t)h;
}

int posix_fstat(int fd, struct stat *st) {
    BY_HANDLE_FILE_INFORMATION info;
    memset(st, 0, sizeof *st);
    if (!GetFileInformationByHandle(handle_of(fd), &info)) {
        return fail();
    }
    uint64_t since_1601 =
        ((uint64_t)info.ftLastWriteTime.dwHighDateTime << 32) | info.ftLastWriteTime.dwLowDateTime;
    st->st_size = (off_t)(((uint64_t)info.nFileSizeHigh << 32) | info.nFileSizeLow);
    st->st_ino = (off_t)(((uint64_t)info.nFileIndexHigh << 32) | info.nFileIndexLow);
    st->st_dev = info.dwVolumeSerialNumber;
    st->st_nlink = info.nNumberOfLinks;
    st->st_mtime = (off_t)(since_1601 / 10000000) - 11644473600;
    st->st_mtim =
        (struct timespec){.tv_sec = st->st_mtime, .tv_nsec = (long)(since_1601 % 10000000) * 100};
    st->st_mode =
        (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0 ? S_IFDIR | 0777 : S_IFREG | 0666;
    return 0;
}

int posix_stat(const char *path, struct stat *st) {
    HANDLE h = CreateFileA(path, FILE_READ_ATTRIBUTES,
                           FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                           OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    int rc = h != INVALID_HANDLE_VALUE ? posix_fstat((int)(intptr_t)h, st) : fail();
    (void)CloseHandle(h);
    return rc;
}

off_t posix_lseek(int fd, off_t offset, int whence) {
    LARGE_INTEGER to = {.QuadPart = offset}, at;
    return SetFilePointerEx(handle_of(fd), to, &at, (DWORD)whence) ? (off_t)at.QuadPart : fail();
}

int posix_ftruncate(int fd, off_t len) {
    FILE_END_OF_FILE_INFO end = {.EndOfFile.QuadPart = len};
    return SetFileInformationByHandle(handle_of(fd), FileEndOfFileInfo, &end, sizeof end) ? 0
                                                                                          : fail();
}

int posix_truncate(const char *path, off_t len) {
    int fd = posix_open(path, O_WRONLY);
    int rc = fd >= 0 ? posix_ftruncate(fd, len) : -1;
    (void)CloseHandle(handle_of(fd));
    return rc;
}

int posix_mkostemp(char *path, int flags) {
    static unsigned count;
    char *end = path + strlen(path) - 6;
    int fd;
    do {
        snprintf(end, 7, "%02x%04x", count++ & 0xff, (unsigned)GetCurrentProcessId() & 0xffff);
        fd = posix_open(path, O_RDWR | O_CREAT | O_EXCL | flags, 0600);
    } while (fd < 0 && errno == EEXIST);
    return fd;
}

int posix_memfd_create(const char *name, unsigned flags) {
    char path[256];
    (void)flags;
    snprintf(path, sizeof path, "%s-XXXXXX", name);
    int fd = posix_mkostemp(path, 0);
    return fd < 0 || DeleteFileA(path) ? fd : fail(); /* it stays as long as it is open */
}

static ssize_t move_at(int fd, void *data, size_t len, off_t at, bool writes) {
    OVERLAPPED o = {.Offset = (DWORD)at, .OffsetHigh = (DWORD)((uint64_t)at >> 32)};
    DWORD n = 0;
    BOOL ok = writes ? WriteFile(handle_of(fd), data, (DWORD)len, &n, &o)
                     : ReadFile(handle_of(fd), data, (DWORD)len, &n, &o);
    return ok || GetLastError() == ERROR_HANDLE_EOF ? (ssize_t)n : fail();
}

ssize_t posix_pread(int fd, void *to, size_t len, off_t at) {
    return move_at(fd, to, len, at, false);
}

ssize_t posix_pwrite(int fd, const void *from, size_t len, off_t at) {
    return move_at(fd, (void *)(uintptr_t)from, len, at, true);
}
