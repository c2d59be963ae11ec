/* Windows: child processes, known by their handles. There are no zombies: a process is there as
 * long as somebody has a handle of it. What is noted here of those that this program has started is
 * whether their end was reported, and the job that holds their group. */
#include "xev/os/process.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <winternl.h>

#include "xev/os/descriptor.h"
#include "xev/os/windows/windows_base.h"

/* Of these <signal.h> has none. */
enum { NUMBER_TRAP = 5, NUMBER_BUS = 7 };
#define NUMBERS 64

/* With the number of a signal added: how a process ends that was killed by it here. The bits say
 * "error" and "not one of the system's". */
#define KILLED_BY 0xE5845600u

/* ---- what is noted ---- */

struct child {
    struct child *next;
    xev_fd fd;
    HANDLE job; /* NULL: it leads no group */
    bool collected;
};

static SRWLOCK lock = SRWLOCK_INIT;
static struct child *children;

static struct child **place_of(xev_fd fd) {
    struct child **at = &children;
    while (*at != NULL && (*at)->fd != fd) {
        at = &(*at)->next;
    }
    return at;
}

static void note(struct child *child) {
    AcquireSRWLockExclusive(&lock);
    child->next = children;
    children = child;
    ReleaseSRWLockExclusive(&lock);
}

static void drop(struct child *child) {
    if (child != NULL && child->job != NULL) {
        (void)CloseHandle(child->job);
    }
    free(child);
}

/* Whether the end of fd was reported; it is, from now on, where collect is true. */
static bool was_collected(xev_fd fd, bool collect) {
    AcquireSRWLockExclusive(&lock);
    struct child *child = *place_of(fd);
    bool before = child != NULL && child->collected;
    if (child != NULL && collect) {
        child->collected = true;
    }
    ReleaseSRWLockExclusive(&lock);
    return before;
}

/* ---- texts for the new program ---- */

/* UTF-16 that grows. After the first failure it stays as it is. */
struct text {
    wchar_t *at;
    size_t len, cap;
    int rc;
};

static void add(struct text *t, wchar_t c) {
    if (t->len == t->cap && t->rc == 0) {
        size_t cap = t->cap == 0 ? 256 : 2 * t->cap;
        wchar_t *more = realloc(t->at, cap * sizeof *more);
        t->rc = more == NULL ? XEV_ENOMEM : 0;
        t->at = more != NULL ? more : t->at;
        t->cap = more != NULL ? cap : t->cap;
    }
    if (t->rc == 0) {
        t->at[t->len++] = c;
    }
}

/* Returns UTF-16 to be freed, or NULL with a code in rc. */
static wchar_t *widened(const char *utf8, int *rc) {
    int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, utf8, -1, NULL, 0);
    wchar_t *wide = n > 0 ? malloc((size_t)n * sizeof *wide) : NULL;
    if (wide != NULL) {
        (void)MultiByteToWideChar(CP_UTF8, 0, utf8, -1, wide, n);
    }
    *rc = n <= 0 ? XEV_EINVAL : wide == NULL ? XEV_ENOMEM : 0;
    return wide;
}

/* One argument, quoted so that the C library of the new program finds it again: a backslash is
 * itself, except before a quote. */
static void add_argument(struct text *t, const char *argument) {
    int rc;
    wchar_t *wide = widened(argument, &rc);
    t->rc = t->rc == 0 ? rc : t->rc;
    if (wide == NULL) {
        return;
    }
    bool plain = wide[0] != 0 && wcspbrk(wide, L" \t\n\v\"") == NULL;
    size_t slashes = 0;
    if (!plain) {
        add(t, L'"');
    }
    for (const wchar_t *c = wide;; c++) {
        bool doubles = !plain && (*c == L'"' || *c == 0);
        for (size_t i = 0; i < slashes && (doubles || *c != L'\\'); i++) {
            add(t, L'\\');
            if (doubles) {
                add(t, L'\\');
            }
        }
        if (*c == L'\\') {
            slashes++;
            continue;
        }
        slashes = 0;
        if (*c == 0) {
            break;
        }
        if (*c == L'"') {
            add(t, L'\\');
        }
        add(t, *c);
    }
    if (!plain) {
        add(t, L'"');
    }
    free(wide);
}

static void make_command(struct text *t, const char *const *argv) {
    for (size_t i = 0; argv[i] != NULL; i++) {
        if (i > 0) {
            add(t, L' ');
        }
        add_argument(t, argv[i]);
    }
    add(t, 0);
}

/* By their names, whatever the case: the system looks variables up as if in a sorted list. */
static int compare_variables(const void *a, const void *b) {
    const wchar_t *x = *(wchar_t *const *)a, *y = *(wchar_t *const *)b;
    /* A name may begin with "=". */
    int x_len = 1 + (int)wcscspn(x + 1, L"="), y_len = 1 + (int)wcscspn(y + 1, L"=");
    return CompareStringOrdinal(x, x_len, y, y_len, TRUE) - CSTR_EQUAL;
}

/* "SYSTEMROOT=" with its value here, or NULL: it has none, or there is no memory. */
static wchar_t *own_root(void) {
    const wchar_t *value = _wgetenv(L"SYSTEMROOT");
    wchar_t *made = value != NULL ? malloc((wcslen(value) + 16) * sizeof *made) : NULL;
    if (made != NULL) {
        wcscpy(made, L"SYSTEMROOT=");
        wcscat(made, value);
    }
    return made;
}

/* The system's libraries need SystemRoot: sockets do not work without. */
static void make_environment(struct text *t, const char *const *env) {
    static const char root[] = "SYSTEMROOT=";
    bool has_root = false;
    size_t len = 0, count = 0;
    while (env[len] != NULL) {
        len++;
    }
    wchar_t **variables = malloc((len + 1) * sizeof *variables);
    t->rc = variables == NULL ? XEV_ENOMEM : t->rc;
    for (size_t i = 0; i < len && t->rc == 0; i++) {
        has_root = has_root || _strnicmp(env[i], root, sizeof root - 1) == 0;
        wchar_t *wide = widened(env[i], &t->rc);
        if (wide != NULL && wide[0] != 0) {
            variables[count++] = wide;
        } else {
            free(wide);
        }
    }
    wchar_t *added = has_root || t->rc < 0 ? NULL : own_root();
    if (added != NULL) {
        variables[count++] = added;
    }
    if (count > 0) {
        qsort(variables, count, sizeof *variables, compare_variables);
    }
    for (size_t i = 0; i < count; i++) {
        for (const wchar_t *c = variables[i]; *c != 0; c++) {
            add(t, *c);
        }
        add(t, 0);
        free(variables[i]);
    }
    free(variables);
    add(t, 0);
    add(t, 0);
}

/* ---- the program's file ---- */

#define PATH_CHARS 32768u

static bool is_file(const wchar_t *path) {
    DWORD attributes = GetFileAttributesW(path);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) == 0;
}

static bool is_absolute(const wchar_t *path) {
    return path[0] == L'/' || path[0] == L'\\' || (path[0] != 0 && path[1] == L':');
}

/* Writes to out, of PATH_CHARS, the path of the program file: as it is, or with ".exe". */
static int find_program(const wchar_t *file, const wchar_t *cwd, wchar_t *out) {
    if (file[0] == 0) {
        return XEV_ENOENT;
    }
    if (wcspbrk(file, L"/\\:") == NULL) {
        const wchar_t *path = _wgetenv(L"PATH");
        DWORD n = path != NULL ? SearchPathW(path, file, L".exe", PATH_CHARS, out, NULL) : (DWORD)0;
        return n == 0 || !is_file(out) ? XEV_ENOENT : n >= PATH_CHARS ? XEV_ENAMETOOLONG : 0;
    }
    const wchar_t *before = cwd != NULL && !is_absolute(file) ? cwd : L"";
    size_t len = wcslen(before) + wcslen(file) + sizeof "/.exe";
    if (len > PATH_CHARS) {
        return XEV_ENAMETOOLONG;
    }
    wcscpy(out, before);
    wcscat(out, before[0] != 0 ? L"/" : L"");
    wcscat(out, file);
    int rc = xev__win_any_length(out, PATH_CHARS);
    if (rc < 0) {
        return rc;
    }
    DWORD attributes = GetFileAttributesW(out);
    if (attributes != INVALID_FILE_ATTRIBUTES) {
        return (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0 ? XEV_EACCES : 0;
    }
    rc = xev__win_last_code();
    wcscat(out, L".exe");
    return is_file(out) ? 0 : rc;
}

/* Whether the system would give it to its command interpreter, which takes arguments apart by rules
 * of its own: what they are quoted by here would not keep them from being commands. Dots and blanks
 * at the end of a name are not part of it. */
static bool is_batch(const wchar_t *path) {
    size_t len = wcslen(path);
    while (len > 0 && (path[len - 1] == L'.' || path[len - 1] == L' ')) {
        len--;
    }
    return len >= 4 && (_wcsnicmp(path + len - 4, L".bat", 4) == 0 ||
                        _wcsnicmp(path + len - 4, L".cmd", 4) == 0);
}

static int check_folder(const wchar_t *cwd) {
    DWORD attributes = cwd != NULL ? GetFileAttributesW(cwd) : FILE_ATTRIBUTE_DIRECTORY;
    if (attributes == INVALID_FILE_ATTRIBUTES) {
        return xev__win_last_code();
    }
    return (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0 ? 0 : XEV_ENOTDIR;
}

/* ---- streams ---- */

static int inheritable(HANDLE from, HANDLE *to) {
    HANDLE self = GetCurrentProcess();
    return DuplicateHandle(self, from, self, to, 0, TRUE, DUPLICATE_SAME_ACCESS)
               ? 0
               : xev__win_last_code();
}

/* The child's stream i, which is inherited: *theirs, or NULL where the stream is closed. *ours: our
 * end of a pipe. */
static int make_stream(const xev_stdio *s, int i, HANDLE *theirs, xev_fd *ours) {
    static const DWORD numbers[] = {STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    HANDLE made;
    int rc;
    switch (s->kind) {
    case XEV_STDIO_NULL:
        made = CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                           &inherited, OPEN_EXISTING, 0, NULL);
        *theirs = made != INVALID_HANDLE_VALUE ? made : NULL;
        return *theirs != NULL ? 0 : xev__win_last_code();
    case XEV_STDIO_INHERIT:
        made = GetStdHandle(numbers[i]);
        return made == NULL || made == INVALID_HANDLE_VALUE ? 0 : inheritable(made, theirs);
    case XEV_STDIO_PIPE:
        rc = xev__win_pipe(i == 0, false, ours, &made);
        if (rc == 0) {
            rc = inheritable(made, theirs);
            (void)CloseHandle(made);
        }
        return rc;
    default:
        return xev__os_is_open(s->fd) ? inheritable(xev__win_handle(s->fd), theirs) : XEV_EBADF;
    }
}

struct streams {
    HANDLE theirs[3];
    xev_fd ours[3];
};

static int make_streams(struct streams *s, const xev_process_options *o) {
    int rc = 0;
    *s = (struct streams){.ours = {XEV_INVALID_FD, XEV_INVALID_FD, XEV_INVALID_FD}};
    for (int i = 0; i < 3 && rc == 0; i++) {
        rc = make_stream(&o->stdio[i], i, &s->theirs[i], &s->ours[i]);
    }
    return rc;
}

static void close_streams(struct streams *s, bool ours_too) {
    for (int i = 0; i < 3; i++) {
        if (s->theirs[i] != NULL) {
            (void)CloseHandle(s->theirs[i]);
        }
        if (ours_too && s->ours[i] != XEV_INVALID_FD) {
            (void)CloseHandle(xev__win_handle(s->ours[i]));
        }
    }
}

/* ---- starting ---- */

struct plan {
    const wchar_t *program, *cwd;
    struct text command, environment;
    struct streams streams;
    DWORD flags;
    HANDLE job;
};

/* With the three streams as the only handles that the child inherits. */
static int create(struct plan *p, PROCESS_INFORMATION *made) {
    HANDLE list[3];
    DWORD count = 0;
    for (int i = 0; i < 3; i++) {
        if (p->streams.theirs[i] != NULL) {
            list[count++] = p->streams.theirs[i];
        }
    }
    SIZE_T bytes = 0;
    (void)InitializeProcThreadAttributeList(NULL, 1, 0, &bytes);
    LPPROC_THREAD_ATTRIBUTE_LIST attributes = malloc(bytes);
    if (attributes == NULL || !InitializeProcThreadAttributeList(attributes, 1, 0, &bytes)) {
        free(attributes);
        return XEV_ENOMEM;
    }
    STARTUPINFOEXW startup = {.StartupInfo = {.cb = sizeof startup,
                                              .dwFlags = STARTF_USESTDHANDLES,
                                              .hStdInput = p->streams.theirs[0],
                                              .hStdOutput = p->streams.theirs[1],
                                              .hStdError = p->streams.theirs[2]},
                              .lpAttributeList = attributes};
    bool ok =
        count == 0 || UpdateProcThreadAttribute(attributes, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
                                                list, count * sizeof list[0], NULL, NULL);
    ok = ok && CreateProcessW(p->program, p->command.at, NULL, NULL, count > 0,
                              p->flags | EXTENDED_STARTUPINFO_PRESENT | CREATE_UNICODE_ENVIRONMENT |
                                  CREATE_SUSPENDED,
                              p->environment.at, p->cwd, &startup.StartupInfo, made);
    int rc = ok ? 0 : xev__win_last_code();
    DeleteProcThreadAttributeList(attributes);
    free(attributes);
    return rc;
}

/* In its group, before its first step. */
static int start(struct plan *p, xev_process *process) {
    PROCESS_INFORMATION made;
    int rc = create(p, &made);
    if (rc < 0) {
        return rc;
    }
    if (p->job != NULL && !AssignProcessToJobObject(p->job, made.hProcess)) {
        rc = xev__win_last_code();
        (void)TerminateProcess(made.hProcess, 1);
    }
    (void)ResumeThread(made.hThread);
    (void)CloseHandle(made.hThread);
    if (rc < 0) {
        (void)CloseHandle(made.hProcess);
        return rc;
    }
    process->fd = xev__win_fd((uintptr_t)made.hProcess);
    process->pid = (int32_t)made.dwProcessId;
    return 0;
}

static int spawn(struct plan *p, xev_process *process, const xev_process_options *o) {
    int rc = check_folder(p->cwd);
    struct child *child = calloc(1, sizeof *child);
    bool group = o->own_group || o->detached;
    rc = rc == 0 && child == NULL ? XEV_ENOMEM : rc;
    if (rc == 0 && group) {
        child->job = p->job = CreateJobObjectW(NULL, NULL);
        p->flags = CREATE_NEW_PROCESS_GROUP | (o->detached ? DETACHED_PROCESS : 0);
        rc = p->job == NULL ? xev__win_last_code() : 0;
    }
    rc = rc == 0 ? make_streams(&p->streams, o) : rc;
    rc = rc == 0 ? start(p, process) : rc;
    close_streams(&p->streams, rc < 0);
    if (rc < 0) {
        drop(child);
        return rc;
    }
    child->fd = process->fd;
    note(child);
    memcpy(process->stdio, p->streams.ours, sizeof process->stdio);
    return 0;
}

#define COMMAND_MAX 32767u /* units, with the zero */

int xev__os_process_spawn(xev_process *p, const xev_process_options *o) {
    if (o->set_uid || o->set_gid) {
        return XEV_ENOTSUP;
    }
    struct plan plan = {
        .streams = {.ours = {XEV_INVALID_FD, XEV_INVALID_FD, XEV_INVALID_FD}},
    };
    int rc = 0, file_rc;
    wchar_t *cwd = o->cwd != NULL ? widened(o->cwd, &rc) : NULL;
    wchar_t *file = widened(o->file != NULL ? o->file : o->argv[0], &file_rc);
    wchar_t *program = malloc(PATH_CHARS * sizeof *program);
    rc = rc < 0 ? rc : file_rc;
    rc = rc == 0 && program == NULL ? XEV_ENOMEM : rc;
    rc = rc == 0 ? check_folder(cwd) : rc;
    rc = rc == 0 ? find_program(file, cwd, program) : rc;
    rc = rc == 0 && is_batch(program) ? XEV_ENOEXEC : rc;
    make_command(&plan.command, o->argv);
    if (o->env != NULL) {
        make_environment(&plan.environment, o->env);
    }
    rc = rc == 0 ? plan.command.rc : rc;
    rc = rc == 0 && plan.command.len > COMMAND_MAX ? XEV_E2BIG : rc;
    rc = rc == 0 ? plan.environment.rc : rc;
    if (rc == 0) {
        plan.program = program;
        plan.cwd = cwd;
        rc = spawn(&plan, p, o);
    }
    free(plan.command.at);
    free(plan.environment.at);
    free(program);
    free(file);
    free(cwd);
    return rc;
}

/* ---- afterwards ---- */

int xev__os_process_open(int32_t pid, xev_fd *fd) {
    *fd = XEV_INVALID_FD;
    if (pid % 4 != 0) {
        return XEV_ESRCH; /* the system would take it for the number below */
    }
    HANDLE h = OpenProcess(SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_TERMINATE,
                           FALSE, (DWORD)pid);
    *fd = h != NULL ? xev__win_fd((uintptr_t)h) : XEV_INVALID_FD;
    DWORD error = h != NULL ? 0 : GetLastError();
    return error == ERROR_INVALID_PARAMETER ? XEV_ESRCH : error != 0 ? xev__win_code(error) : 0;
}

int xev__os_process_check(xev_fd fd) {
    PROCESS_BASIC_INFORMATION about;
    if (!xev__os_is_open(fd)) {
        return XEV_EBADF;
    }
    if (NtQueryInformationProcess(xev__win_handle(fd), ProcessBasicInformation, &about,
                                  sizeof about, NULL) < 0) {
        return XEV_EBADF; /* another kind of handle */
    }
    /* The last word of the structure: who has started it. */
    bool ours = (uintptr_t)about.InheritedFromUniqueProcessId == GetCurrentProcessId();
    return ours && !was_collected(fd, false) ? 0 : XEV_ECHILD;
}

/* The number of the signal that an exit code stands for, or 0. */
static int number_of(DWORD code) {
    static const struct {
        DWORD code;
        int number;
    } ends[] = {
        {STATUS_CONTROL_C_EXIT, SIGINT},       {STATUS_ACCESS_VIOLATION, SIGSEGV},
        {STATUS_STACK_OVERFLOW, SIGSEGV},      {STATUS_IN_PAGE_ERROR, NUMBER_BUS},
        {STATUS_ILLEGAL_INSTRUCTION, SIGILL},  {STATUS_PRIVILEGED_INSTRUCTION, SIGILL},
        {STATUS_BREAKPOINT, NUMBER_TRAP},      {STATUS_INTEGER_DIVIDE_BY_ZERO, SIGFPE},
        {0xC0000409 /* fail fast */, SIGABRT},
    };
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (ends[i].code == code) {
            return ends[i].number;
        }
    }
    return code > KILLED_BY && code <= KILLED_BY + NUMBERS ? (int)(code - KILLED_BY) : 0;
}

int xev__os_process_wait(xev_fd fd) {
    HANDLE h = xev__win_handle(fd);
    DWORD code = 0;
    if (WaitForSingleObject(h, 0) == WAIT_TIMEOUT) {
        return XEV_EAGAIN;
    }
    if (!GetExitCodeProcess(h, &code)) {
        return xev__win_last_code();
    }
    if (was_collected(fd, true)) {
        return XEV_ECHILD;
    }
    int number = number_of(code);
    return number > 0 ? XEV_PROCESS_SIGNALED + number : code > 255 ? 255 : (int)code;
}

/* Those that end a process for certain, if it may. There is nothing else to be sent. */
static int check_number(int number) {
    if (number < 0 || number > NUMBERS) {
        return XEV_EINVAL;
    }
    return number == 0 || number == SIGINT || number == XEV_SIGQUIT || number == SIGABRT ||
                   number == XEV_SIGKILL || number == SIGTERM
               ? 0
               : XEV_ENOTSUP;
}

bool xev__win_is_process(xev_fd fd) {
    return xev__os_is_open(fd) && GetProcessId(xev__win_handle(fd)) != 0;
}

int xev__os_process_kill(xev_fd fd, int signal_number) {
    HANDLE h = xev__win_handle(fd);
    int rc = check_number(signal_number);
    if (!xev__win_is_process(fd)) {
        return XEV_EBADF;
    }
    if (rc < 0) {
        return rc;
    }
    if (was_collected(fd, false)) {
        return XEV_ESRCH;
    }
    if (WaitForSingleObject(h, 0) != WAIT_TIMEOUT || signal_number == 0) {
        return 0;
    }
    if (TerminateProcess(h, KILLED_BY + (UINT)signal_number)) {
        return 0;
    }
    rc = xev__win_last_code();
    return WaitForSingleObject(h, 0) != WAIT_TIMEOUT ? 0 : rc == XEV_EACCES ? XEV_EPERM : rc;
}

static bool has_processes(HANDLE job) {
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION about;
    return QueryInformationJobObject(job, JobObjectBasicAccountingInformation, &about, sizeof about,
                                     NULL) &&
           about.ActiveProcesses > 0;
}

int xev__os_process_kill_group(xev_fd fd, int32_t pid, int signal_number) {
    int rc = check_number(signal_number);
    (void)pid;
    if (!xev__win_is_process(fd)) {
        return XEV_EBADF;
    }
    if (rc < 0) {
        return rc;
    }
    AcquireSRWLockExclusive(&lock);
    const struct child *child = *place_of(fd);
    if (child == NULL || child->job == NULL || !has_processes(child->job)) {
        rc = XEV_ESRCH;
    } else if (signal_number != 0) {
        rc = TerminateJobObject(child->job, KILLED_BY + (UINT)signal_number) ? 0
                                                                             : xev__win_last_code();
    }
    ReleaseSRWLockExclusive(&lock);
    return rc;
}

void xev__os_process_forked(void) {}

int xev__os_process_give_up(xev_fd fd) {
    AcquireSRWLockExclusive(&lock);
    struct child **at = place_of(fd);
    struct child *child = *at;
    if (child != NULL) {
        *at = child->next;
    }
    ReleaseSRWLockExclusive(&lock);
    drop(child);
    return xev__os_close(fd);
}
