/* Bytes that nobody can guess, for seeds of hashes and boundaries of messages. */
#ifndef EXAMPLES_RANDOM_H
#define EXAMPLES_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Not each system has getrandom, all have the file. False: none could be had. */
static inline bool random_fill(void *to, size_t len) {
    FILE *file = fopen("/dev/urandom", "re");
    bool ok = file != NULL && fread(to, 1, len, file) == len;
    if (file != NULL) {
        (void)fclose(file);
    }
    return ok;
}

#endif
