/* What a fuzz harness consists of, and what runs it.
 *
 * A harness is one file that defines the functions below. It is linked into two programs: a test
 * (replay.c) that gives it its seeds and as many inputs made of them by fixed random numbers, under
 * any compiler; and a program of clang's libFuzzer (corpus.c):
 *
 *     ./bazelw run --config=fuzz //tests/fuzz:http1_fuzz -- -max_total_time=180
 *
 * What libFuzzer finds becomes a seed, or a case of the tables that the seeds are of.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Check everything that holds for any input; abort where it does not. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The i-th seed, in data, which has room for FUZZ_SEED_MAX bytes. Returns its length; SIZE_MAX:
 * there are fewer. */
#define FUZZ_SEED_MAX 20000u
size_t fuzz_seed(size_t i, char *data);

/* What inputs are mutated with, besides bytes of other seeds; ended by a NULL. */
extern const char *const fuzz_words[];

#define FUZZ_CHECK(cond)                                                                           \
    ((cond)                                                                                        \
         ? (void)0                                                                                 \
         : ((void)fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond), abort()))

/* Bytes in memory that ends where they end, so that a sanitizer sees who reads beyond. */
static inline char *fuzz_copy(const void *data, size_t len) {
    char *copy = malloc(len > 0 ? len : 1);
    FUZZ_CHECK(copy != NULL);
    if (len > 0) {
        memcpy(copy, data, len);
    }
    return copy;
}

#endif
