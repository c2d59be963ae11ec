#ifndef TESTS_WASI_STDLIB_H
#define TESTS_WASI_STDLIB_H

#pragma GCC system_header

#include_next <stdlib.h>

char *mkdtemp(char *path);
int mkstemp(char *path);
int mkostemp(char *path, int flags);

#endif
