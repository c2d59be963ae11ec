/* What the random tests share: numbers and patterns from a seed, checks that name the seed, and the
 * loop over seeds.
 *
 * Each seed makes one program. XEV_TEST_SEED=N runs the program of seed N, XEV_TEST_SEEDS=M runs M
 * programs from there on, and XEV_TEST_TRACE=1 prints what they do. A world is a struct with the
 * fields seed, rng and trace.
 */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/system.h"
#include "tests/test.h"

#define TRACE(w, ...) ((w)->trace ? (void)fprintf(stderr, __VA_ARGS__) : (void)0)

#define HOLDS(w, cond)                                                                             \
    ((cond) ? (void)0 : CHECK_FAIL("seed %" PRIu64 ": not true: %s", (w)->seed, #cond))

/* Make a call during which no callback may run. */
#define CALL(w, ...) ((w)->in_call++, __VA_ARGS__, (w)->in_call--)

/* ---- numbers ---- */

static inline uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static inline uint32_t rng_below(uint64_t *rng, uint32_t n) {
    *rng = mix(*rng);
    return (uint32_t)((*rng >> 32) * n >> 32);
}

#define below(w, n) rng_below(&(w)->rng, (n))
#define one_in(w, n) (below((w), (n)) == 0)

static inline uint64_t time_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Change, remove or insert up to three bytes of a text of *len (> 0) bytes that has room; what
 * comes in is of the alphabet. */
static inline void rng_mutate(uint64_t *rng, char *text, size_t *len, size_t room,
                              const char *alphabet, size_t alphabet_len) {
    for (uint32_t n = rng_below(rng, 4); n > 0; n--) {
        size_t at = rng_below(rng, (uint32_t)*len);
        uint32_t how = rng_below(rng, 3);
        if (how == 1 && *len > 1) {
            memmove(text + at, text + at + 1, *len - at - 1);
            --*len;
            continue;
        }
        if (how == 2 && *len < room) {
            memmove(text + at + 1, text + at, *len - at);
            ++*len;
        }
        text[at] = alphabet[rng_below(rng, (uint32_t)alphabet_len)];
    }
}

/* ---- patterns: the bytes of one write, or of one peer ---- */

static inline uint8_t pattern_at(uint32_t id, uint64_t at) {
    return (uint8_t)((id * 2654435761u + (uint32_t)at * 0x9E3779B1u) >> 24);
}

static inline void pattern_fill(uint8_t *p, size_t len, uint32_t id, uint64_t at) {
    for (size_t i = 0; i < len; i++) {
        p[i] = pattern_at(id, at + i);
    }
}

static inline bool pattern_is(const void *data, size_t len, uint32_t id, uint64_t at) {
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++) {
        if (p[i] != pattern_at(id, at + i)) {
            return false;
        }
    }
    return true;
}

/* ---- seeds ---- */

static uint64_t running_seed;

static void program_hangs(int sig) {
    char text[64];
    int len = snprintf(text, sizeof text, "seed %" PRIu64 " hangs\n", running_seed);
    ssize_t n = write(STDERR_FILENO, text, (size_t)len);
    (void)n;
    (void)sig;
    abort();
}

/* Descriptors are counted after every so many programs, as counting takes longer than a short one.
 */
#define SEEDS_PER_COUNT 64

/* Call program for each seed, or for the seed that the environment names. */
static inline void for_seeds(uint32_t count, void (*program)(uint64_t seed)) {
    const char *wanted = getenv("XEV_TEST_SEED"), *many = getenv("XEV_TEST_SEEDS");
    uint64_t first = wanted != NULL ? strtoull(wanted, NULL, 0) : 1;
    count = many != NULL ? (uint32_t)atoi(many) : wanted != NULL ? 1 : count;
    (void)signal(SIGALRM, program_hangs);
    int before = test_open_descriptors();
    for (uint64_t seed = first; seed < first + count; seed++) {
        running_seed = seed;
        (void)alarm(50u * (unsigned)test_slowdown());
        program(seed);
        bool looks = count <= 1000 || seed % SEEDS_PER_COUNT == 0 || seed + 1 == first + count;
        if (looks && test_open_descriptors() != before) {
            CHECK_FAIL("seed %" PRIu64 " or one shortly before: %d descriptors left", seed,
                       test_open_descriptors() - before);
        }
    }
    (void)alarm(0);
}

#endif
