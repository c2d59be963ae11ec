/* Windows: files and directories. Paths are UTF-8, with either slash. */
#include <stdio.h>
#include <stddef.h>
#include <string.h>

#include "xev/os/descriptor.h"
#include "xev/os/file.h"
#include "xev/os/windows/windows_base.h"

int xev__win_wide(const char *text, wchar_t *out, size_t len) {
    assert(text != NULL && len <= INT_MAX);
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, out, (int)len) > 0) {
        return text[0] != '\0' ? 0 : XEV_ENOENT; /* as POSIX: an empty path names nothing */
    }
    return GetLastError() == ERROR_INSUFFICIENT_BUFFER ? XEV_ENAMETOOLONG : XEV_EINVAL;
}

/* Whether a part of path is longer than any file system takes. The system says of it only that
 * nothing has that name. */
static bool has_long_part(const wchar_t *path) {
    enum { PART_MAX = 255 };
    size_t len = 0;
    for (; *path != 0; path++) {
        len = *path == L'/' || *path == L'\\' ? 0 : len + 1;
        if (len > PART_MAX) {
            return true;
        }
    }
    return false;
}

int xev__win_any_length(wchar_t *path, size_t len) {
    /* A folder's name has room for a file's of the old form (8.3) behind it. */
    enum { OLD_MAX = MAX_PATH - 12 };
    if (has_long_part(path)) {
        return XEV_ENAMETOOLONG;
    }
    if (wcsncmp(path, L"\\\\?\\", 4) == 0) {
        return 0;
    }
    wchar_t whole[XEV__WIN_PATH];
    DWORD n = GetFullPathNameW(path, XEV__WIN_PATH, whole, NULL);
    if (n < OLD_MAX || wcsncmp(whole, L"\\\\.\\", 4) == 0) {
        return n > 0 ? 0 : xev__win_last_code();
    }
    bool of_share = n < XEV__WIN_PATH && whole[0] == L'\\' && whole[1] == L'\\';
    const wchar_t *before = of_share ? L"\\\\?\\UNC" : L"\\\\?\\";
    if (n >= XEV__WIN_PATH || wcslen(before) + n >= len) {
        return XEV_ENAMETOOLONG;
    }
    wcscpy(path, before);
    wcscat(path, of_share ? whole + 1 : whole);
    return 0;
}

int xev__win_path(const char *text, wchar_t *out, size_t len) {
    int rc = xev__win_wide(text, out, len);
    return rc == 0 ? xev__win_any_length(out, len) : rc;
}

/* A path in the system's form, on the stack. */
struct wide {
    wchar_t text[XEV__WIN_PATH];
};

static int wide_path(struct wide *w, const char *path) {
    return xev__win_path(path, w->text, XEV__WIN_PATH);
}

static int ok_or_code(BOOL ok) { return ok ? 0 : xev__win_last_code(); }

/* ---- open ---- */

static bool is_directory(HANDLE h) {
    BY_HANDLE_FILE_INFORMATION info;
    return GetFileInformationByHandle(h, &info) &&
           (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

/* What a file is that is not one of data, or XEV_FILE_UNKNOWN. */
static enum xev_file_type special_type(HANDLE h) {
    const DWORD of_socket = 0x80000023; /* IO_REPARSE_TAG_AF_UNIX */
    FILE_ATTRIBUTE_TAG_INFO info;
    if (!GetFileInformationByHandleEx(h, FileAttributeTagInfo, &info, sizeof info) ||
        (info.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) == 0) {
        return XEV_FILE_UNKNOWN;
    }
    return info.ReparseTag == IO_REPARSE_TAG_SYMLINK ? XEV_FILE_SYMLINK
           : info.ReparseTag == of_socket            ? XEV_FILE_SOCKET
                                                     : XEV_FILE_UNKNOWN;
}

static bool is_link(HANDLE h) { return special_type(h) == XEV_FILE_SYMLINK; }

int xev__os_file_open(const char *path, uint32_t flags, uint32_t mode) {
    struct wide w;
    int rc = wide_path(&w, path);
    if (rc < 0) {
        return rc;
    }
    bool writes = (flags & XEV_OPEN_WRITE) != 0, create = (flags & XEV_OPEN_CREATE) != 0;
    bool truncate = (flags & XEV_OPEN_TRUNCATE) != 0;
    bool directory = (flags & XEV_OPEN_DIRECTORY) != 0;
    DWORD access = (flags & XEV_OPEN_READ) != 0 || directory ? GENERIC_READ : 0;
    if (writes) {
        /* Append access alone writes at the end; with it the file is not truncated below. */
        access |= (flags & XEV_OPEN_APPEND) != 0
                      ? FILE_APPEND_DATA | FILE_WRITE_ATTRIBUTES | SYNCHRONIZE
                      : GENERIC_WRITE;
    }
    DWORD how = create && (flags & XEV_OPEN_EXCLUSIVE) != 0 ? CREATE_NEW
                : create                                    ? OPEN_ALWAYS
                                                            : OPEN_EXISTING;
    /* BACKUP_SEMANTICS: for directories. A file without any write permission is read-only. */
    DWORD attributes = FILE_FLAG_BACKUP_SEMANTICS;
    attributes |= create && (mode & 0222) == 0 ? FILE_ATTRIBUTE_READONLY : FILE_ATTRIBUTE_NORMAL;
    attributes |= (flags & XEV_OPEN_NOFOLLOW) != 0 ? FILE_FLAG_OPEN_REPARSE_POINT : 0;
    attributes |= (flags & XEV_OPEN_DIRECT) != 0 ? FILE_FLAG_NO_BUFFERING : 0;
    attributes |= (flags & XEV_OPEN_SYNC) != 0 ? FILE_FLAG_WRITE_THROUGH : 0;
    HANDLE h = CreateFileW(w.text, access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                           NULL, how, attributes, NULL);
    if (h == INVALID_HANDLE_VALUE) {
        return xev__win_last_code();
    }
    bool is_dir = is_directory(h);
    if (directory && !is_dir) {
        rc = XEV_ENOTDIR;
    } else if (is_dir && (writes || create)) {
        rc = XEV_EISDIR;
    } else if ((flags & XEV_OPEN_NOFOLLOW) != 0 && is_link(h)) {
        rc = XEV_ELOOP;
    } else if (truncate && writes && (flags & XEV_OPEN_APPEND) == 0) {
        rc = ok_or_code(SetEndOfFile(h));
    } else if (truncate) {
        rc = xev__os_file_truncate(path, 0);
    }
    if (rc < 0) {
        (void)CloseHandle(h);
        return rc;
    }
    return xev__win_fd((uintptr_t)h);
}

/* ---- reading and writing ----
 *
 * A read or write at an offset moves the position of the file, unlike on POSIX, so the position is
 * put back. The system carries out one operation of an open file at a time, so a lock costs
 * nothing but where two files share one. */

static SRWLOCK position_locks[64]; /* zero is unlocked */

static SRWLOCK *lock_of(xev_fd fd) { return &position_locks[(uint32_t)fd / 4 % 64]; }

/* One piece at offset, or at the position. */
static int move_piece(xev_fd fd, void *base, size_t len_bytes, uint64_t offset, bool writes) {
    HANDLE h = xev__win_handle(fd), event = NULL;
    DWORD n = 0, len = (DWORD)(len_bytes < INT_MAX ? len_bytes : INT_MAX);
    OVERLAPPED at = {0}, *o = NULL;
    if (offset != XEV__AT_POSITION) {
        event = CreateEventW(NULL, TRUE, FALSE, NULL);
        if (event == NULL) {
            return xev__win_last_code();
        }
        at.Offset = (DWORD)offset;
        at.OffsetHigh = (DWORD)(offset >> 32);
        at.hEvent = (HANDLE)((uintptr_t)event | 1); /* the bit: no packet for a port */
        o = &at;
    }
    BOOL ok = writes ? WriteFile(h, base, len, &n, o) : ReadFile(h, base, len, &n, o);
    if (!ok && o != NULL && GetLastError() == ERROR_IO_PENDING) {
        /* The program has opened the file for overlapped operations. */
        ok = GetOverlappedResult(h, o, &n, TRUE);
    }
    int rc = ok ? (int)n : xev__win_last_code();
    if (event != NULL) {
        (void)CloseHandle(event);
    }
    return !writes && (rc == XEV_EOF || rc == XEV_EPIPE) ? 0 : rc;
}

static int move_all(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset, bool writes) {
    int total = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (vec[i].len_bytes == 0) {
            continue;
        }
        uint64_t at = offset == XEV__AT_POSITION ? offset : offset + (uint64_t)total;
        int rc = move_piece(fd, vec[i].base, vec[i].len_bytes, at, writes);
        if (rc < 0) {
            return total > 0 ? total : rc;
        }
        total += rc;
        if ((size_t)rc < vec[i].len_bytes) {
            break;
        }
    }
    return total;
}

static int move_locked(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset,
                       bool writes) {
    HANDLE h = xev__win_handle(fd);
    LARGE_INTEGER zero = {0}, before;
    if (!xev__os_is_open(fd)) {
        return XEV_EBADF;
    }
    if (offset != XEV__AT_POSITION && offset > INT64_MAX) {
        return XEV_EINVAL;
    }
    if (GetFileType(h) != FILE_TYPE_DISK) {
        int rc = offset == XEV__AT_POSITION ? move_all(fd, vec, count, offset, writes) : XEV_ESPIPE;
        return rc == XEV_EACCES ? XEV_EBADF : rc;
    }
    if (is_directory(h)) {
        return XEV_EISDIR;
    }
    AcquireSRWLockExclusive(lock_of(fd));
    bool restores = offset != XEV__AT_POSITION && SetFilePointerEx(h, zero, &before, FILE_CURRENT);
    int rc = move_all(fd, vec, count, offset, writes);
    if (restores) {
        (void)SetFilePointerEx(h, before, NULL, FILE_BEGIN);
    }
    ReleaseSRWLockExclusive(lock_of(fd));
    return rc == XEV_EACCES ? XEV_EBADF : rc; /* not opened for this: POSIX says EBADF */
}

int xev__os_file_readv(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset) {
    assert(vec != NULL && count > 0);
    return move_locked(fd, vec, count, offset, false);
}

int xev__os_file_writev(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset,
                        uint64_t *done) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += vec[i].len_bytes;
    }
    while (*done < total) {
        uint64_t skip = *done;
        uint32_t i = 0;
        while (skip >= vec[i].len_bytes) {
            skip -= vec[i++].len_bytes;
        }
        xev_vec rest = {(char *)vec[i].base + skip, vec[i].len_bytes - (size_t)skip};
        uint64_t at = offset == XEV__AT_POSITION ? offset : offset + *done;
        int rc = *done == 0 ? move_locked(fd, vec, count, offset, true)
                            : move_locked(fd, &rest, 1, at, true);
        if (rc <= 0) {
            return rc < 0 ? rc : XEV_EIO;
        }
        *done += (uint64_t)rc;
    }
    return (int)total;
}

/* Windows has no call that reads or writes only what does not wait. */
int xev__os_file_read_now(xev_fd fd, const xev_vec *vec, uint32_t count, size_t len_bytes,
                          uint64_t offset) {
    (void)fd;
    (void)vec;
    (void)count;
    (void)len_bytes;
    (void)offset;
    return XEV_ENOTSUP;
}

int xev__os_file_write_now(xev_fd fd, const xev_vec *vec, uint32_t count, uint64_t offset) {
    (void)fd;
    (void)vec;
    (void)count;
    (void)offset;
    return XEV_ENOTSUP;
}

uint32_t xev__os_file_can_try(xev_fd fd) {
    (void)fd;
    return 0;
}

bool xev__os_file_writes_through(xev_fd fd) {
    (void)fd;
    return false;
}

int xev__os_file_sync(xev_fd fd, bool data_only) {
    (void)data_only;
    if (!xev__os_is_open(fd)) {
        return XEV_EBADF;
    }
    HANDLE h = xev__win_handle(fd);
    if (GetFileType(h) != FILE_TYPE_DISK) {
        return XEV_EINVAL;
    }
    int rc = ok_or_code(FlushFileBuffers(h));
    if (rc != XEV_EACCES) {
        return rc;
    }
    /* The system asks for the right to write, and POSIX does not. */
    HANDLE writes =
        ReOpenFile(h, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                   FILE_FLAG_BACKUP_SEMANTICS);
    if (writes != INVALID_HANDLE_VALUE) {
        rc = ok_or_code(FlushFileBuffers(writes));
        (void)CloseHandle(writes);
    }
    return rc;
}

/* ---- what is known of a file ---- */

static uint64_t joined(DWORD high, DWORD low) { return (uint64_t)high << 32 | low; }

/* From 100 ns since 1601. */
static int64_t ns_since_1970(uint64_t time) {
    enum { UNITS_PER_S = 10000000 };
    const int64_t offset = (int64_t)11644473600 * UNITS_PER_S, most = INT64_MAX / 100;
    int64_t units = time < INT64_MAX ? (int64_t)time - offset : most;
    /* Some file systems say 0 for what they do not keep: too long ago for ns. */
    return (units < -most ? -most : units > most ? most : units) * 100;
}

static int64_t file_time(FILETIME t) {
    return ns_since_1970(joined(t.dwHighDateTime, t.dwLowDateTime));
}

static int stat_handle(HANDLE h, xev_file_stat *out) {
    BY_HANDLE_FILE_INFORMATION info;
    if (GetFileType(h) != FILE_TYPE_DISK) {
        *out = (xev_file_stat){.mode = 0666, .links = 1};
        out->type = GetFileType(h) == FILE_TYPE_CHAR ? XEV_FILE_CHAR_DEVICE : XEV_FILE_FIFO;
        return 0;
    }
    if (!GetFileInformationByHandle(h, &info)) {
        return xev__win_last_code();
    }
    FILE_STANDARD_INFO size = {0};
    FILE_BASIC_INFO basic = {0};
    (void)GetFileInformationByHandleEx(h, FileStandardInfo, &size, sizeof size);
    (void)GetFileInformationByHandleEx(h, FileBasicInfo, &basic, sizeof basic);
    bool is_dir = (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
    bool read_only = (info.dwFileAttributes & FILE_ATTRIBUTE_READONLY) != 0;
    enum xev_file_type special = (info.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0
                                     ? special_type(h)
                                     : XEV_FILE_UNKNOWN;
    *out = (xev_file_stat){
        .size_bytes = joined(info.nFileSizeHigh, info.nFileSizeLow),
        .allocated_bytes = (uint64_t)size.AllocationSize.QuadPart,
        .device = info.dwVolumeSerialNumber,
        .inode = joined(info.nFileIndexHigh, info.nFileIndexLow),
        .links = info.nNumberOfLinks,
        .mode = (read_only && !is_dir ? 0444u : 0666u) | (is_dir ? 0111u : 0),
        .type = special != XEV_FILE_UNKNOWN ? special
                : is_dir                    ? XEV_FILE_DIRECTORY
                                            : XEV_FILE_REGULAR,
        .access_ns = file_time(info.ftLastAccessTime),
        .modify_ns = file_time(info.ftLastWriteTime),
        .change_ns = ns_since_1970((uint64_t)basic.ChangeTime.QuadPart),
    };
    return 0;
}

static HANDLE open_to_look(const wchar_t *path, bool follow) {
    return CreateFileW(path, FILE_READ_ATTRIBUTES,
                       FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                       FILE_FLAG_BACKUP_SEMANTICS | (follow ? 0 : FILE_FLAG_OPEN_REPARSE_POINT),
                       NULL);
}

int xev__os_file_stat(const char *path, bool follow, xev_file_stat *out) {
    struct wide w;
    int rc = wide_path(&w, path);
    if (rc < 0) {
        return rc;
    }
    HANDLE h = open_to_look(w.text, follow);
    if (h == INVALID_HANDLE_VALUE && follow && GetLastError() == ERROR_CANT_ACCESS_FILE) {
        h = open_to_look(w.text, false); /* the file of a socket cannot be opened as such */
    }
    if (h == INVALID_HANDLE_VALUE) {
        return xev__win_last_code();
    }
    rc = stat_handle(h, out);
    (void)CloseHandle(h);
    return rc;
}

int xev__os_file_stat_fd(xev_fd fd, xev_file_stat *out) {
    if (!xev__os_is_open(fd)) {
        return XEV_EBADF;
    }
    if (xev__win_is_socket(fd)) {
        *out = (xev_file_stat){.mode = 0666, .links = 1, .type = XEV_FILE_SOCKET};
        return 0;
    }
    return stat_handle(xev__win_handle(fd), out);
}

/* ---- sizes and names ---- */

static int truncate_handle(HANDLE h, uint64_t size) {
    if (size > INT64_MAX) {
        return XEV_EFBIG;
    }
    if (GetFileType(h) != FILE_TYPE_DISK) {
        return XEV_EINVAL;
    }
    FILE_END_OF_FILE_INFO info = {.EndOfFile.QuadPart = (LONGLONG)size};
    int rc = ok_or_code(SetFileInformationByHandle(h, FileEndOfFileInfo, &info, sizeof info));
    return rc == XEV_EACCES ? XEV_EINVAL : rc; /* not open for writing */
}

int xev__os_file_truncate(const char *path, uint64_t size) {
    struct wide w;
    int rc = size <= INT64_MAX ? wide_path(&w, path) : XEV_EFBIG;
    if (rc < 0) {
        return rc;
    }
    HANDLE h =
        CreateFileW(w.text, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    if (h == INVALID_HANDLE_VALUE) {
        rc = xev__win_last_code();
        DWORD attributes = rc == XEV_EACCES ? GetFileAttributesW(w.text) : 0;
        bool is_dir =
            attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
        return is_dir ? XEV_EISDIR : rc;
    }
    rc = truncate_handle(h, size);
    (void)CloseHandle(h);
    return rc;
}

int xev__os_file_truncate_fd(xev_fd fd, uint64_t size) {
    return xev__os_is_open(fd) ? truncate_handle(xev__win_handle(fd), size) : XEV_EBADF;
}

static DWORD attributes_of(const wchar_t *path) { return GetFileAttributesW(path); }

static bool names_something(const wchar_t *path) {
    return attributes_of(path) != INVALID_FILE_ATTRIBUTES;
}

static bool names_directory(const wchar_t *path) {
    DWORD attributes = attributes_of(path);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

static bool identity_of_path(const wchar_t *path, BY_HANDLE_FILE_INFORMATION *info) {
    HANDLE h = open_to_look(path, false);
    bool ok = h != INVALID_HANDLE_VALUE && GetFileInformationByHandle(h, info);
    if (h != INVALID_HANDLE_VALUE) {
        (void)CloseHandle(h);
    }
    return ok;
}

/* Whether two paths lead to one file: they may differ in case only. */
static bool are_same(const wchar_t *a, const wchar_t *b) {
    BY_HANDLE_FILE_INFORMATION x, y;
    return identity_of_path(a, &x) && identity_of_path(b, &y) &&
           x.dwVolumeSerialNumber == y.dwVolumeSerialNumber &&
           x.nFileIndexHigh == y.nFileIndexHigh && x.nFileIndexLow == y.nFileIndexLow;
}

/* Since Windows 10, 1607, the system's own file systems have POSIX's rename: whoever has the old
 * file open goes on with it. MoveFileEx is refused then. False: it was not done. */
static bool rename_as_posix(const wchar_t *from, const wchar_t *to) {
    enum { RENAME_EX = 22, READ_ONLY_TOO = 0x40 /* since 1809 */, PATH_BYTES = 2 * XEV__WIN_PATH };
    _Alignas(FILE_RENAME_INFO) char room[sizeof(FILE_RENAME_INFO) + PATH_BYTES] = {0};
    FILE_RENAME_INFO *info = (void *)room;
    wchar_t *name = (void *)(room + offsetof(FILE_RENAME_INFO, FileName));
    DWORD n = GetFullPathNameW(to, XEV__WIN_PATH, name, NULL);
    if (n == 0 || n >= XEV__WIN_PATH) {
        return false;
    }
    HANDLE h = CreateFileW(
        from, DELETE | SYNCHRONIZE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
        OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (h == INVALID_HANDLE_VALUE) {
        return false;
    }
    info->FileNameLength = n * (DWORD)sizeof(wchar_t);
    DWORD flags = FILE_RENAME_FLAG_REPLACE_IF_EXISTS | FILE_RENAME_FLAG_POSIX_SEMANTICS;
    bool done = false;
    for (DWORD more = READ_ONLY_TOO;; more = 0) {
        memcpy(room, &(DWORD){flags | more}, sizeof(DWORD)); /* a union that old headers lack */
        done = SetFileInformationByHandle(h, (FILE_INFO_BY_HANDLE_CLASS)RENAME_EX, info,
                                          sizeof room) != 0;
        if (done || more == 0) {
            break;
        }
    }
    (void)CloseHandle(h);
    return done;
}

int xev__os_file_rename(const char *from, const char *to) {
    struct wide a, b;
    int rc = wide_path(&a, from);
    rc = rc == 0 ? wide_path(&b, to) : rc;
    if (rc < 0) {
        return rc;
    }
    bool onto_directory = names_directory(b.text), is_dir = names_directory(a.text);
    if (is_dir != onto_directory && names_something(a.text) && names_something(b.text)) {
        return is_dir ? XEV_ENOTDIR : XEV_EISDIR;
    }
    if (!is_dir) {
        return rename_as_posix(a.text, b.text)
                   ? 0
                   : ok_or_code(MoveFileExW(a.text, b.text, MOVEFILE_REPLACE_EXISTING));
    }
    bool replaces = onto_directory && !are_same(a.text, b.text);
    if (replaces && !RemoveDirectoryW(b.text)) { /* POSIX replaces an empty one */
        return xev__win_last_code();
    }
    rc = ok_or_code(MoveFileExW(a.text, b.text, 0));
    if (rc < 0 && replaces) {
        (void)CreateDirectoryW(b.text, NULL);
    }
    return rc;
}

int xev__os_file_unlink(const char *path) {
    struct wide w;
    int rc = wide_path(&w, path);
    if (rc < 0) {
        return rc;
    }
    if (names_directory(w.text)) {
        DWORD attributes = attributes_of(w.text);
        return (attributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0
                   ? ok_or_code(RemoveDirectoryW(w.text))
                   : XEV_EISDIR;
    }
    if (DeleteFileW(w.text)) {
        return 0;
    }
    rc = xev__win_last_code();
    DWORD attributes = attributes_of(w.text);
    if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_READONLY) != 0) {
        /* POSIX asks for permission on the folder only. */
        (void)SetFileAttributesW(w.text, attributes & ~(DWORD)FILE_ATTRIBUTE_READONLY);
        rc = ok_or_code(DeleteFileW(w.text));
        if (rc < 0) {
            (void)SetFileAttributesW(w.text, attributes);
        }
    }
    return rc;
}

int xev__os_file_mkdir(const char *path, uint32_t mode) {
    struct wide w;
    (void)mode; /* the folder inherits its permissions */
    int rc = wide_path(&w, path);
    return rc == 0 ? ok_or_code(CreateDirectoryW(w.text, NULL)) : rc;
}

int xev__os_file_rmdir(const char *path) {
    struct wide w;
    int rc = wide_path(&w, path);
    return rc == 0 ? ok_or_code(RemoveDirectoryW(w.text)) : rc;
}

/* A link to a folder is of another kind. A target is relative to the link's folder. */
static bool leads_to_directory(const struct wide *target, const struct wide *link) {
    struct wide path = *link;
    wchar_t *name = path.text;
    for (wchar_t *c = path.text; *c != 0; c++) {
        name = *c == L'/' || *c == L'\\' ? c + 1 : name;
    }
    const wchar_t *t = target->text;
    if (t[0] == L'\\' || (t[0] != 0 && t[1] == L':')) {
        return names_directory(t);
    }
    if ((size_t)(name - path.text) + wcslen(t) >= XEV__WIN_PATH) {
        return false;
    }
    wcscpy(name, t);
    return names_directory(path.text);
}

int xev__os_file_symlink(const char *target, const char *link_path) {
    struct wide a, b;
    int rc = xev__win_wide(target, a.text, XEV__WIN_PATH);
    rc = rc == 0 ? wide_path(&b, link_path) : rc;
    if (rc < 0) {
        return rc;
    }
    /* A target is stored as it is, and the system takes no other separator there. */
    for (wchar_t *c = wcschr(a.text, L'/'); c != NULL; c = wcschr(c, L'/')) {
        *c = L'\\';
    }
    DWORD kind = leads_to_directory(&a, &b) ? SYMBOLIC_LINK_FLAG_DIRECTORY : 0;
    const DWORD of_anybody = SYMBOLIC_LINK_FLAG_ALLOW_UNPRIVILEGED_CREATE; /* since 1703 */
    if (CreateSymbolicLinkW(b.text, a.text, kind | of_anybody)) {
        return 0;
    }
    rc = xev__win_last_code();
    return rc == XEV_EINVAL ? ok_or_code(CreateSymbolicLinkW(b.text, a.text, kind)) : rc;
}

int xev__os_file_link(const char *from, const char *to) {
    struct wide a, b;
    int rc = wide_path(&a, from);
    rc = rc == 0 ? wide_path(&b, to) : rc;
    return rc == 0 ? ok_or_code(CreateHardLinkW(b.text, a.text, NULL)) : rc;
}

/* ---- directories: entries in a form of our own, with names in UTF-8 ---- */

struct entry {
    uint64_t inode;
    uint16_t whole_bytes; /* of this entry, a multiple of 8 */
    uint8_t type;
    char name[];
};

static size_t put_entry(char *out, size_t room, const FILE_ID_BOTH_DIR_INFO *info) {
    struct entry *e = (struct entry *)(void *)out;
    int units = (int)(info->FileNameLength / sizeof(wchar_t));
    bool dots = (units == 1 || units == 2) && info->FileName[0] == L'.' &&
                info->FileName[units - 1] == L'.';
    if (dots) {
        return 0;
    }
    XEV_ASSERT(room > offsetof(struct entry, name) + 1);
    int len = WideCharToMultiByte(CP_UTF8, 0, info->FileName, units, e->name,
                                  (int)(room - offsetof(struct entry, name) - 1), NULL, NULL);
    XEV_ASSERT(len > 0); /* readdir asks for no more than fits */
    e->name[len] = '\0';
    size_t whole = (offsetof(struct entry, name) + (size_t)len + 1 + 7) / 8 * 8;
    DWORD attributes = info->FileAttributes;
    e->inode = (uint64_t)info->FileId.QuadPart;
    e->whole_bytes = (uint16_t)whole;
    e->type = (attributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0 ? XEV_FILE_UNKNOWN
              : (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0   ? XEV_FILE_DIRECTORY
                                                               : XEV_FILE_REGULAR;
    return whole;
}

int xev__os_file_readdir(xev_fd fd, void *buf, size_t len_bytes) {
    /* A name of the system's has two bytes a unit, one of ours three at most, so what fits into
     * two thirds of the room fits into the room. */
    _Alignas(8) char raw[2048];
    size_t asked = len_bytes * 2 / 3 < sizeof raw ? len_bytes * 2 / 3 : sizeof raw;
    if (!xev__os_is_open(fd)) {
        return XEV_EBADF;
    }
    if (!is_directory(xev__win_handle(fd))) {
        return XEV_ENOTDIR;
    }
    for (;;) {
        if (!GetFileInformationByHandleEx(xev__win_handle(fd), FileIdBothDirectoryInfo, raw,
                                          (DWORD)(asked & ~(size_t)7))) {
            DWORD error = GetLastError();
            return error == ERROR_NO_MORE_FILES || error == ERROR_FILE_NOT_FOUND
                       ? XEV_EOF
                       : xev__win_code(error);
        }
        size_t filled = 0;
        const FILE_ID_BOTH_DIR_INFO *info = (const void *)raw;
        for (;;) {
            filled += put_entry((char *)buf + filled, len_bytes - filled, info);
            if (info->NextEntryOffset == 0) {
                break;
            }
            info = (const void *)((const char *)info + info->NextEntryOffset);
        }
        if (filled > 0) {
            return (int)filled;
        }
    }
}

bool xev__os_file_next_entry(const void *buf, size_t filled_bytes, size_t *at_bytes,
                             xev_file_entry *entry) {
    const size_t head = offsetof(struct entry, name);
    if (*at_bytes >= filled_bytes || filled_bytes - *at_bytes <= head) {
        return false;
    }
    const struct entry *e = (const void *)((const char *)buf + *at_bytes);
    if (e->whole_bytes <= head || e->whole_bytes > filled_bytes - *at_bytes) {
        return false; /* the caller's buffer was not filled by a read */
    }
    *at_bytes += e->whole_bytes;
    *entry =
        (xev_file_entry){.name = e->name, .inode = e->inode, .type = (enum xev_file_type)e->type};
    return true;
}

/* ---- copy and sendfile ---- */

#define PIECE ((size_t)64 << 10)

int xev__os_copy_begin(struct xev__os_copy *copy, const char *from, const char *to,
                       bool exclusive) {
    *copy = (struct xev__os_copy){.from = -1, .to = -1};
    copy->from = xev__os_file_open(from, XEV_OPEN_READ, 0);
    if (copy->from < 0) {
        return copy->from;
    }
    xev_file_stat source = {0}, target = {0};
    int rc = xev__os_file_stat_fd(copy->from, &source);
    if (rc == 0 && source.type != XEV_FILE_REGULAR) {
        rc = source.type == XEV_FILE_DIRECTORY ? XEV_EISDIR : XEV_EINVAL;
    }
    if (rc == 0) {
        uint32_t flags = XEV_OPEN_WRITE | XEV_OPEN_CREATE;
        copy->to = xev__os_file_open(to, flags | XEV_OPEN_EXCLUSIVE, source.mode);
        copy->created = copy->to >= 0;
        if (copy->to == XEV_EEXIST && !exclusive) {
            copy->to = xev__os_file_open(to, flags, source.mode);
        }
        rc = copy->to < 0 ? copy->to : xev__os_file_stat_fd(copy->to, &target);
    }
    if (rc == 0 && source.inode == target.inode && source.device == target.device) {
        rc = XEV_EINVAL; /* it is the source itself, and must not be truncated */
    }
    if (rc == 0 && !copy->created) {
        rc = xev__os_file_truncate_fd(copy->to, 0);
    }
    if (rc < 0) {
        (void)xev__os_close(copy->from);
        if (copy->to >= 0) {
            (void)xev__os_close(copy->to);
        }
    }
    return rc;
}

int xev__os_copy_piece(struct xev__os_copy *copy) {
    static _Thread_local char buf[PIECE];
    xev_vec vec = {buf, sizeof buf};
    int n = xev__os_file_readv(copy->from, &vec, 1, XEV__AT_POSITION);
    if (n <= 0) {
        return n;
    }
    vec.len_bytes = (size_t)n;
    uint64_t done = 0;
    return xev__os_file_writev(copy->to, &vec, 1, XEV__AT_POSITION, &done);
}

int xev__os_copy_end(struct xev__os_copy *copy, const char *to, int result) {
    (void)xev__os_close(copy->from);
    int rc = xev__os_close(copy->to);
    rc = result < 0 ? result : rc;
    if (rc < 0 && copy->created) {
        (void)xev__os_file_unlink(to);
    }
    return rc;
}

/* TransmitFile would wait for a slow peer, and of what a cancelled one has sent nobody knows. So a
 * piece is read, and what the socket has room for is sent. */
int xev__os_sendfile(xev_fd socket, xev_fd file, uint64_t offset, size_t len_bytes) {
    static _Thread_local char buf[PIECE];
    size_t sent = 0;
    while (sent < len_bytes) {
        size_t left = len_bytes - sent;
        xev_vec vec = {buf, left < sizeof buf ? left : sizeof buf};
        int n = xev__os_file_readv(file, &vec, 1, offset + sent);
        if (n <= 0) {
            return sent > 0 ? (int)sent : n;
        }
        WSABUF data = {.buf = buf, .len = (ULONG)n};
        DWORD taken = 0;
        int rc = xev__win_socket_result(
            socket, WSASend(xev__win_socket(socket), &data, 1, &taken, 0, NULL, NULL));
        if (rc < 0) {
            return sent > 0 ? (int)sent : rc;
        }
        sent += taken;
        if (taken < (DWORD)n) {
            break;
        }
    }
    return (int)sent;
}

int xev__os_leave_blocking(xev_fd fd) {
    int rc = xev__os_set_nonblocking(fd, true);
    return rc < 0 ? rc : 0;
}
