/* What the tests call of POSIX, over Winsock, for those that Windows has at all. Sockets are
 * blocking, as POSIX makes them, and numbers. What Windows lacks ends the case as left out, with
 * the call's name; the runner compares that with left_out.txt. */
#ifndef TESTS_WINDOWS_POSIX_H
#define TESTS_WINDOWS_POSIX_H

/* clang-format off: winsock2.h stands before windows.h */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <afunix.h>
#include <windows.h>
/* clang-format on */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

int posix_socket(int domain, int type, int protocol);
int posix_socketpair(int domain, int type, int protocol, int fd[2]);
int posix_bind(int fd, const struct sockaddr *addr, socklen_t len);
int posix_listen(int fd, int backlog);
int posix_accept(int fd, struct sockaddr *addr, socklen_t *len);
int posix_connect(int fd, const struct sockaddr *addr, socklen_t len);
int posix_getsockname(int fd, struct sockaddr *addr, socklen_t *len);
int posix_getpeername(int fd, struct sockaddr *addr, socklen_t *len);
int posix_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int posix_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
ssize_t posix_send(int fd, const void *data, size_t len, int flags);
ssize_t posix_recv(int fd, void *data, size_t len, int flags);
ssize_t posix_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to,
                     socklen_t to_len);
ssize_t posix_recvfrom(int fd, void *data, size_t len, int flags, struct sockaddr *from,
                       socklen_t *from_len);
int posix_dup(int fd);
int posix_shutdown(int fd, int how);
int posix_close(int fd);
ssize_t posix_read(int fd, void *data, size_t len);
ssize_t posix_write(int fd, const void *data, size_t len);
int posix_fcntl(int fd, int command, ...);
struct posix_pollfd {
    int fd;
    short events, revents;
};
int posix_poll(struct posix_pollfd *fds, size_t count, int timeout_ms);
int posix_pipe(int fd[2], int flags);

#define socket posix_socket
#define socketpair posix_socketpair
#define bind posix_bind
#define listen posix_listen
#define accept posix_accept
#define accept4(fd, addr, len, flags) posix_accept(fd, addr, len)
#define connect posix_connect
#define getsockname posix_getsockname
#define getpeername posix_getpeername
#define getsockopt posix_getsockopt
#define setsockopt posix_setsockopt
#define send posix_send
#define recv posix_recv
#define sendto posix_sendto
#define recvfrom posix_recvfrom
#define shutdown posix_shutdown
#define dup posix_dup
#define close posix_close
#define read posix_read
#define write posix_write
#define fcntl posix_fcntl
#define poll posix_poll
#define pollfd posix_pollfd
#define pipe(fd) posix_pipe(fd, 0)
#define pipe2 posix_pipe

#define SHUT_RD SD_RECEIVE
#define SHUT_WR SD_SEND
#define SHUT_RDWR SD_BOTH
#define SOCK_CLOEXEC 0
#define SOCK_NONBLOCK 0x1000
#define MSG_NOSIGNAL 0
#define MSG_DONTWAIT 0x1000000
#undef MSG_WAITALL
#define MSG_WAITALL 0x2000000
#define O_CLOEXEC 0
#define O_NONBLOCK 0x4000
#define F_GETFD 1
#define F_GETFL 3
#define F_SETFL 4

/* Of a listener: how many connections wait. */
#define TCP_INFO 11
struct tcp_info {
    uint32_t tcpi_unacked, tcpi_sacked;
    uint8_t tcpi_state;
};

/* Words that windows.h takes. */
#undef near
#undef far
#undef FAR
#undef small
#undef interface
#undef min
#undef max

#define FD_CLOEXEC 1
#define F_DUPFD_CLOEXEC 1030

#define setenv(name, value, overwrite) _putenv_s(name, value)
#define unsetenv(name) _putenv_s(name, "")

/* ---- files and memory ---- */

char *posix_mkdtemp(char *path);
int posix_mkdir(const char *path, unsigned mode);
void *posix_aligned_alloc(size_t alignment, size_t bytes);
void posix_free(void *memory);
#define free(memory) posix_free(memory)
int posix_memalign(void **out, size_t alignment, size_t bytes);
ssize_t posix_getrandom(void *to, size_t len, unsigned flags);
/* That of the C library has no st_mtim. */
struct posix_stat {
    long long st_size, st_ino, st_dev, st_mtime;
    unsigned st_mode, st_nlink, st_uid, st_gid;
    struct timespec st_mtim;
};
#undef stat
#define stat posix_stat
int posix_stat(const char *path, struct posix_stat *st);
struct FTW {
    int level;
};
int posix_nftw(const char *path, int (*visit)(const char *, const struct stat *, int, struct FTW *),
               int fds, int flags);
enum { FTW_DEPTH = 1, FTW_PHYS = 2 };

int posix_open(const char *path, int flags, ...);
int posix_fstat(int fd, struct stat *st);
#undef off_t
#define off_t long long
off_t posix_lseek(int fd, off_t offset, int whence);
int posix_ftruncate(int fd, off_t len);
int posix_truncate(const char *path, off_t len);
ssize_t posix_pread(int fd, void *to, size_t len, off_t at);
ssize_t posix_pwrite(int fd, const void *from, size_t len, off_t at);

#undef open
#undef fstat
#undef lseek
#undef ftruncate
#define open posix_open
#define fstat posix_fstat
#define lseek posix_lseek
#define ftruncate posix_ftruncate
#undef truncate
#define truncate posix_truncate
#define pread posix_pread
#define pwrite posix_pwrite
#define mkdtemp posix_mkdtemp
#define mkstemp(path) posix_mkostemp(path, 0)
#define mkdir(path, mode) posix_mkdir(path, mode)
#define aligned_alloc posix_aligned_alloc
#define getrandom posix_getrandom
#define nftw posix_nftw

#define EHOSTDOWN 1100
#define ENONET 1101
#define EBADR 1102

#include "tests/windows/lacks.h"

#ifdef __cplusplus
}
#endif

#endif
