/* Calls and names of POSIX and Linux that Windows has not, so that the tests compile. A case that
 * comes to such a call is left out. Included by posix.h. */
#ifndef TESTS_WINDOWS_LACKS_H
#define TESTS_WINDOWS_LACKS_H

_Noreturn void posix_lacks(const char *call);
int posix_lacks_int(const char *call);
void *posix_lacks_pointer(const char *call);

/* ---- processes ---- */

#define fork() posix_lacks_int("fork")
pid_t posix_waitpid(pid_t pid, int *status, int flags);
#define waitpid posix_waitpid
#define waitid(kind, id, info, flags) posix_lacks_int("waitid")
#define kill(pid, number) posix_lacks_int("kill")
#define getppid() posix_lacks_int("getppid")
#define setpgid(pid, group) posix_lacks_int("setpgid")
#define getpgid(pid) posix_lacks_int("getpgid")
#define prctl(...) posix_lacks_int("prctl")
#define execv(...) posix_lacks_int("execv")
#define syscall(...) posix_lacks_int("syscall")
#define geteuid() posix_lacks_int("geteuid")
#define WIFSIGNALED(status) ((status) < 0)
#define WIFEXITED(status) ((status) >= 0)
#define WTERMSIG(status) (-(status))
#define WEXITSTATUS(status) (status)
enum { P_ALL, P_PID, WEXITED = 4, WNOHANG = 1, WNOWAIT = 8, __WALL = 16, SYS_gettid, RLIMIT_DATA };
enum { SYS_capget, SYS_capset, SYS_socket };
typedef unsigned id_t;
typedef unsigned long long rlim_t;
struct rlimit {
    rlim_t rlim_cur, rlim_max;
};
#define RLIMIT_NOFILE 7
#define RLIMIT_FSIZE 1
#define RLIM_INFINITY (~(rlim_t)0)
int posix_getrlimit(int which, struct rlimit *limit);
int posix_setrlimit(int which, const struct rlimit *limit);
#define getrlimit posix_getrlimit
#define setrlimit posix_setrlimit

/* ---- signals ---- */

typedef struct {
    int si_signo, si_code, si_pid, si_status;
} siginfo_t;
typedef int sigset_t;
struct sigaction {
    void (*sa_handler)(int);
    void (*sa_sigaction)(int, siginfo_t *, void *);
    int sa_flags;
    sigset_t sa_mask;
};
struct itimerval {
    struct timeval it_interval, it_value;
};
enum { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF };
enum { SA_RESTART = 1, SA_SIGINFO = 4, SA_NODEFER = 8 };
#define sigemptyset(set) (*(set) = 0)
#define sigfillset(set) (*(set) = -1)
#define sigaddset(set, number) posix_lacks_int("sigaddset")
#define sigismember(set, number) posix_lacks_int("sigismember")
#define sigaction(number, action, before) posix_lacks_int("sigaction")
#define setitimer(which, every, before) posix_lacks_int("setitimer")
#define getitimer(which, every) posix_lacks_int("getitimer")
#undef pthread_sigmask
#define pthread_sigmask(how, set, before) posix_lacks_int("pthread_sigmask")
#define pthread_kill(thread, number) posix_lacks_int("pthread_kill")
#define pause() posix_lacks_int("pause")
#define SIGKILL 9
#define SIGPIPE 13
#define SIGUSR1 10
#define SIGUSR2 12
#define SIGHUP 1
#define SIGQUIT 3
#define SIGBUS 7
#define SIGSTOP 19
#define SIGXFSZ 25
#define SIGURG 23
#define SIGWINCH 28
#define SIGCHLD 17
#define SIGALRM 14
#define SIGRTMIN 34
#define SIGRTMAX 64

/* ---- descriptors ---- */

#define epoll_create1(flags) posix_lacks_int("epoll_create1")
#define EPOLL_CLOEXEC 0
int posix_eventfd(unsigned count, int flags); /* open, and nothing else */
#define eventfd posix_eventfd
#define ioctl(...) posix_lacks_int("ioctl")
#define dprintf(...) posix_lacks_int("dprintf")
#define posix_openpt(flags) posix_lacks_int("posix_openpt")
#define grantpt(fd) posix_lacks_int("grantpt")
#define unlockpt(fd) posix_lacks_int("unlockpt")
#define ptsname(fd) ((const char *)posix_lacks_pointer("ptsname"))
#define tcgetattr(fd, to) posix_lacks_int("tcgetattr")
#define tcsetattr(fd, how, from) posix_lacks_int("tcsetattr")
#define cfmakeraw(what) posix_lacks_int("cfmakeraw")
#define mkfifo(path, mode) posix_lacks_int("mkfifo")
#define symlink(to, path) posix_lacks_int("symlink")
#define link(to, path) posix_lacks_int("link")
#define readlink(path, to, len) posix_lacks_int("readlink")
#define fchmod(fd, mode) posix_lacks_int("fchmod")
#define dup3(from, to, flags) posix_lacks_int("dup3")
int posix_mkostemp(char *path, int flags);
#define mkostemp posix_mkostemp
#define sendmsg(fd, msg, flags) posix_lacks_int("sendmsg")
#define recvmsg(fd, msg, flags) posix_lacks_int("recvmsg")
#define ptsname_r(fd, to, len) posix_lacks_int("ptsname_r")
#define if_nametoindex(name) (unsigned)posix_lacks_int("if_nametoindex")
#define ppoll(fds, count, time, set) posix_lacks_int("ppoll")
#define getegid() posix_lacks_int("getegid")
#define getuid() posix_lacks_int("getuid")
#define getgid() posix_lacks_int("getgid")
#define eventfd_write(fd, value) posix_lacks_int("eventfd_write")
#define lstat(path, to) posix_lacks_int("lstat")
#undef mmap
#define mmap(at, len, rights, flags, fd, offset) posix_lacks_pointer("mmap")
#define munmap(at, len) posix_lacks_int("munmap")
enum { PROT_NONE, PROT_READ, PROT_WRITE, MAP_PRIVATE = 2, MAP_ANONYMOUS = 4, MAP_NORESERVE = 8 };
#define MAP_FAILED ((void *)-1)
enum { EFD_CLOEXEC, EFD_NONBLOCK, SIOCINQ, SIOCOUTQ, F_DUPFD, O_NOCTTY = 0, TCSANOW = 0 };
struct termios {
    int c_lflag;
};

/* ---- sockets ---- */

struct iovec {
    void *iov_base;
    size_t iov_len;
};
struct msghdr {
    void *msg_name;
    socklen_t msg_namelen;
    struct iovec *msg_iov;
    size_t msg_iovlen;
    void *msg_control;
    size_t msg_controllen;
    int msg_flags;
};
struct cmsghdr {
    size_t cmsg_len;
    int cmsg_level, cmsg_type;
};
#define CMSG_SPACE(n) (sizeof(struct cmsghdr) + (n))
#define CMSG_LEN(n) (sizeof(struct cmsghdr) + (n))
#define CMSG_FIRSTHDR(msg) ((struct cmsghdr *)(msg)->msg_control)
#define CMSG_DATA(h) ((unsigned char *)((h) + 1))
enum { POLLRDHUP = 0x2000, TCP_NOTSENT_LOWAT = 25, O_DIRECTORY = 0x10000, EAI_OVERFLOW = -12 };
enum { F_SETPIPE_SZ = 1031, TCP_KEEPINTVL = 17, TCP_KEEPIDLE = 3, TCP_CLOSE_WAIT = 8 };
enum { SO_PEEK_OFF = 0x7003, SO_LOCK_FILTER, SO_REUSEPORT };
#define S_ISSOCK(mode) ((void)(mode), false)
typedef unsigned long nfds_t;
enum { F_SETLEASE = 1024, F_UNLCK = 2, F_WRLCK = 1, SIGIO = 29 };
enum { SCM_RIGHTS = 1, MSG_TRUNC = 0x4000000, SO_DOMAIN = 0x7001, SO_PROTOCOL };

struct if_nameindex {
    unsigned if_index;
    char *if_name;
};
#define if_nameindex() ((struct if_nameindex *)posix_lacks_pointer("if_nameindex"))
#define if_freenameindex(all) ((void)(all))
typedef unsigned short sa_family_t;

/* ---- filters of system calls ---- */

struct sock_filter {
    uint32_t code;
};
struct sock_fprog {
    unsigned short len;
    struct sock_filter *filter;
};
struct seccomp_data {
    int nr;
    uint64_t args[6];
};
#define BPF_STMT(code, value)                                                                      \
    { (uint32_t)(value) }
#define BPF_JUMP(code, value, yes, no)                                                             \
    { (uint32_t)(value) }
enum { BPF_LD, BPF_W, BPF_ABS, BPF_JMP, BPF_JEQ, BPF_K, BPF_RET };
enum { SECCOMP_RET_ERRNO, SECCOMP_RET_DATA, SECCOMP_RET_ALLOW };
enum { SYS_io_uring_enter, SYS_epoll_pwait, SYS_sched_setaffinity };

/* ---- what a thread may ---- */

struct __user_cap_header_struct {
    int version;
};
struct __user_cap_data_struct {
    uint32_t effective;
};
enum { _LINUX_CAPABILITY_VERSION_3, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH };

/* ---- processors ---- */

typedef struct {
    int cpus;
} cpu_set_t;
#define CPU_SETSIZE 64u
#define CPU_ZERO(set) ((void)(set))
#define CPU_SET(cpu, set) ((void)(set))
#define CPU_ISSET(cpu, set) ((void)(set), false)
#define CPU_COUNT(set) ((void)(set), 0)
#define CPU_EQUAL(a, b) ((void)(a), (void)(b), false)
#define sched_getaffinity(pid, len, set) posix_lacks_int("sched_getaffinity")
#define sched_setaffinity(pid, len, set) posix_lacks_int("sched_setaffinity")

/* ---- memory and the machine ---- */
#define MFD_CLOEXEC 0u
int posix_memfd_create(const char *name, unsigned flags);
#define memfd_create posix_memfd_create

enum { _SC_PAGESIZE, _SC_PHYS_PAGES, _SC_NPROCESSORS_ONLN };
#define sysconf(which) (long)posix_lacks_int("sysconf")
#define alarm(seconds) ((void)(seconds)) /* the runner has a time limit */

#endif
