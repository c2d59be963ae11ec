/* Windows: changes of the entries of a folder, by ReadDirectoryChangesW. A watched file is an entry
 * of its folder.
 *
 * The memory of a wait: records of our own from the beginning, what the system writes from SYSTEM
 * on, and from NAME on the watched file's name, or "". The system's records, with names in UTF-16,
 * become ours in place. One of ours is at most half as long again, so that none reaches the
 * system's next one. */
#include "xev/os/fs_event.h"

#include <stddef.h>
#include <string.h>

#include "xev/os/windows/windows_base.h"

enum { SYSTEM = 1536, NAME = 2 * SYSTEM, NAME_BYTES = 1024 };
_Static_assert(NAME + NAME_BYTES == XEV__WIN_CHANGES_BYTES &&
                   XEV__WIN_CHANGES_BYTES == sizeof(((xev_fs_event *)0)->buffer),
               "the parts of the buffer");

struct record {
    uint32_t kind, cookie;
    char name[];
};

#define FILTER                                                                                     \
    (FILE_NOTIFY_CHANGE_FILE_NAME | FILE_NOTIFY_CHANGE_DIR_NAME | FILE_NOTIFY_CHANGE_ATTRIBUTES |  \
     FILE_NOTIFY_CHANGE_SIZE | FILE_NOTIFY_CHANGE_LAST_WRITE | FILE_NOTIFY_CHANGE_SECURITY)

static BOOL ask(HANDLE h, void *at, DWORD len_bytes, OVERLAPPED *o) {
    return ReadDirectoryChangesW(h, at, len_bytes, FALSE, FILTER, NULL, o, NULL);
}

bool xev__win_is_folder(xev_fd fd) {
    BY_HANDLE_FILE_INFORMATION info;
    return GetFileInformationByHandle(xev__win_handle(fd), &info) &&
           (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

/* The system keeps changes from the first request on. */
static int keep_from_now(HANDLE h) {
    _Alignas(DWORD) char first[4096];
    DWORD n;
    HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (event == NULL) {
        return xev__win_last_code();
    }
    OVERLAPPED o = {.hEvent = event};
    int rc = ask(h, first, sizeof first, &o) ? 0 : xev__win_last_code();
    if (rc == 0) {
        (void)CancelIoEx(h, &o);
        (void)GetOverlappedResult(h, &o, &n, TRUE);
    }
    (void)CloseHandle(event);
    return rc;
}

/* Cuts path after its folder, and copies the last part to name. */
static int split(wchar_t *path, char *name) {
    wchar_t *last = path, *absolute = NULL;
    for (wchar_t *c = path; *c != 0; c++) {
        if (*c == L'/' || *c == L'\\' || *c == L':') {
            last = c + 1;
            absolute = c;
        }
    }
    int n = WideCharToMultiByte(CP_UTF8, 0, last, -1, name, NAME_BYTES, NULL, NULL);
    if (absolute == NULL) {
        path[0] = L'.';
        last = path + 1;
    }
    *last = 0;
    return n > 0 ? 0 : XEV_ENAMETOOLONG;
}

int xev__os_fs_event_open(const char *path, xev_fd *fd, xev_fd *file, void *buffer) {
    (void)file;
    wchar_t wide[XEV__WIN_PATH + 1];
    char *name = (char *)buffer + NAME;
    int rc = xev__win_path(path, wide, XEV__WIN_PATH);
    if (rc < 0) {
        return rc;
    }
    DWORD attributes = GetFileAttributesW(wide);
    if (attributes == INVALID_FILE_ATTRIBUTES) {
        return xev__win_last_code();
    }
    name[0] = '\0';
    rc = (attributes & FILE_ATTRIBUTE_DIRECTORY) == 0 ? split(wide, name) : 0;
    if (rc < 0) {
        return rc;
    }
    HANDLE h = CreateFileW(wide, FILE_LIST_DIRECTORY,
                           FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                           OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OVERLAPPED, NULL);
    if (h == INVALID_HANDLE_VALUE) {
        return xev__win_last_code();
    }
    rc = keep_from_now(h);
    if (rc < 0) {
        (void)CloseHandle(h);
        return rc;
    }
    *fd = xev__win_fd((uintptr_t)h);
    return 0;
}

bool xev__win_changes_begin(xev_fd fd, void *buffer, OVERLAPPED *o) {
    return ask(xev__win_handle(fd), (char *)buffer + SYSTEM, NAME - SYSTEM, o);
}

static uint32_t change_kind(DWORD action) {
    switch (action) {
    case FILE_ACTION_ADDED:
        return XEV_FS_CREATED;
    case FILE_ACTION_REMOVED:
        return XEV_FS_REMOVED;
    case FILE_ACTION_RENAMED_OLD_NAME:
        return XEV_FS_REMOVED | XEV_FS_RENAMED;
    case FILE_ACTION_RENAMED_NEW_NAME:
        return XEV_FS_CREATED | XEV_FS_RENAMED;
    default:
        return XEV_FS_CHANGED;
    }
}

/* Appends a record at *len. */
static void put(char *buffer, size_t *len, uint32_t kind, uint32_t cookie, const char *name) {
    const struct record r = {.kind = kind, .cookie = cookie};
    size_t bytes = strlen(name) + 1;
    memcpy(buffer + *len, &r, sizeof r);
    memcpy(buffer + *len + offsetof(struct record, name), name, bytes);
    *len += (sizeof r + bytes + 3) & ~(size_t)3;
}

/* As the file system compares names: whatever the case, of letters other than A to Z as well. */
static bool is_named(const wchar_t *name, int units, const char *wanted) {
    wchar_t wide[NAME_BYTES];
    int n = MultiByteToWideChar(CP_UTF8, 0, wanted, -1, wide, NAME_BYTES);
    return n > 1 && CompareStringOrdinal(name, units, wide, n - 1, TRUE) == CSTR_EQUAL;
}

int xev__win_changes(void *memory, int rc) {
    static uint32_t renames; /* atomic */
    char *buffer = memory;
    const char *wanted = buffer + NAME;
    size_t len = 0;
    uint32_t cookie = 0;
    if (rc == XEV_EACCES || rc == XEV_ENOENT) { /* the folder itself has been removed */
        put(buffer, &len, XEV_FS_REMOVED | XEV_FS_ENDED, 0, "");
        return (int)len;
    }
    rc = rc == XEV_EOVERFLOW ? 0 : rc;
    if (rc <= 0) {
        put(buffer, &len, XEV_FS_OVERFLOW, 0, "");
        return rc < 0 ? rc : (int)len;
    }
    FILE_NOTIFY_INFORMATION head;
    for (size_t at = SYSTEM;; at += head.NextEntryOffset) {
        wchar_t wide[SYSTEM / 2];
        char name[SYSTEM];
        memcpy(&head, buffer + at, offsetof(FILE_NOTIFY_INFORMATION, FileName));
        memcpy(wide, buffer + at + offsetof(FILE_NOTIFY_INFORMATION, FileName),
               head.FileNameLength);
        int n = WideCharToMultiByte(CP_UTF8, 0, wide, (int)(head.FileNameLength / sizeof wide[0]),
                                    name, sizeof name - 1, NULL, NULL);
        name[n > 0 ? n : 0] = '\0';
        bool old_name = head.Action == FILE_ACTION_RENAMED_OLD_NAME;
        cookie = old_name ? __atomic_add_fetch(&renames, 1, __ATOMIC_RELAXED) : cookie;
        bool moved = old_name || head.Action == FILE_ACTION_RENAMED_NEW_NAME;
        int units = (int)(head.FileNameLength / sizeof wide[0]);
        if (wanted[0] == '\0' || is_named(wide, units, wanted)) {
            put(buffer, &len, change_kind(head.Action), moved ? cookie : 0,
                wanted[0] == '\0' ? name : "");
        }
        if (head.NextEntryOffset == 0) {
            return (int)len;
        }
    }
}

/* Not called: reads are requests of the port. */
int xev__os_fs_event_read(xev_fd fd, void *buffer, size_t len_bytes) {
    (void)fd;
    (void)buffer;
    (void)len_bytes;
    return XEV_ENOTSUP;
}

bool xev__os_fs_event_next(const void *buffer, size_t len_bytes, size_t *at,
                           xev_fs_change *change) {
    const char *bytes = buffer;
    struct record r;
    if (*at >= len_bytes || len_bytes - *at <= sizeof r) {
        return false;
    }
    memcpy(&r, bytes + *at, sizeof r);
    const char *name = bytes + *at + offsetof(struct record, name);
    size_t room = len_bytes - *at - offsetof(struct record, name), name_len = strnlen(name, room);
    size_t next = *at + ((sizeof r + name_len + 1 + 3) & ~(size_t)3);
    if (name_len == room || next > len_bytes) {
        return false; /* this is no record of ours */
    }
    *change = (xev_fs_change){.kind = r.kind, .cookie = r.cookie, .name = name};
    *at = next;
    return true;
}
