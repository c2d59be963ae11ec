/* Terminals: a test that makes one is left out. */
#ifndef TESTS_WASI_TERMIOS_H
#define TESTS_WASI_TERMIOS_H

#pragma GCC system_header

struct termios {
    int unused;
};

enum { TCSANOW = 0 };

int posix_openpt(int flags);
int grantpt(int fd);
int unlockpt(int fd);
char *ptsname(int fd);
int ptsname_r(int fd, char *name, unsigned long len);
int tcgetattr(int fd, struct termios *t);
int tcsetattr(int fd, int when, const struct termios *t);
void cfmakeraw(struct termios *t);

#endif
