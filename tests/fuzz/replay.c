/* A harness without libFuzzer: its seeds, and inputs that are made of them by fixed random numbers.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/random.h"

static void tell_seed(int sig) {
    char text[48];
    int len = snprintf(text, sizeof text, "seed %" PRIu64 "\n", running_seed);
    ssize_t n = write(STDERR_FILENO, text, (size_t)len);
    (void)n;
    (void)signal(sig, SIG_DFL);
}

static char seed_data[FUZZ_SEED_MAX], other[FUZZ_SEED_MAX], input[2 * FUZZ_SEED_MAX];

static size_t count_seeds(void) {
    size_t n = 0;
    while (fuzz_seed(n, seed_data) != SIZE_MAX) {
        n++;
    }
    return n;
}

static void run(const char *data, size_t len) {
    char *copy = fuzz_copy(data, len);
    CHECK_EQ(LLVMFuzzerTestOneInput((const uint8_t *)copy, len), 0);
    free(copy);
}

TEST_TIMEOUT(seeds_hold, 120) {
    size_t count = count_seeds();
    CHECK_GT(count, 0);
    for (size_t i = 0; i < count; i++) {
        size_t len = fuzz_seed(i, seed_data);
        CHECK_LE(len, FUZZ_SEED_MAX);
        run(seed_data, len);
    }
}

static size_t insert(size_t len, size_t at, const char *what, size_t what_len) {
    if (what_len > sizeof input - len) {
        return len;
    }
    memmove(input + at + what_len, input + at, len - at);
    memcpy(input + at, what, what_len);
    return len + what_len;
}

/* One of what libFuzzer does, too. */
static size_t mutate(uint64_t *rng, size_t len, size_t seeds, size_t words) {
    size_t at = rng_below(rng, (uint32_t)len + 1), rest = len - at, n;
    switch (rng_below(rng, 6)) {
    case 0: /* a byte becomes another */
        if (rest > 0) {
            input[at] = (char)rng_below(rng, 256);
        }
        return len;
    case 1: { /* one comes in */
        char c = (char)rng_below(rng, 256);
        return insert(len, at, &c, 1);
    }
    case 2: /* some go */
        n = rest > 0 ? 1 + rng_below(rng, rest < 16 ? (uint32_t)rest : 16) : 0;
        memmove(input + at, input + at + n, rest - n);
        return len - n;
    case 3: { /* a word comes in */
        const char *word = fuzz_words[rng_below(rng, (uint32_t)words)];
        return insert(len, at, word, strlen(word));
    }
    case 4: /* some are repeated */
        n = rest > 0 ? 1 + rng_below(rng, rest < 64 ? (uint32_t)rest : 64) : 0;
        memcpy(other, input + at, n);
        return insert(len, at, other, n);
    default: { /* a part of another seed */
        size_t other_len = fuzz_seed(rng_below(rng, (uint32_t)seeds), other);
        size_t from = rng_below(rng, (uint32_t)other_len + 1);
        return insert(len, at, other + from, other_len - from);
    }
    }
}

static void mutated(uint64_t seed) {
    static size_t seeds, words;
    if (seeds == 0) {
        seeds = count_seeds();
        while (fuzz_words[words] != NULL) {
            words++;
        }
    }
    uint64_t rng = mix(seed);
    size_t len = fuzz_seed(rng_below(&rng, (uint32_t)seeds), input);
    for (uint32_t n = 1 + rng_below(&rng, 6); n > 0; n--) {
        len = mutate(&rng, len, seeds, words);
    }
    run(input, len < FUZZ_SEED_MAX ? len : FUZZ_SEED_MAX);
}

TEST_TIMEOUT(what_is_made_of_seeds_holds, 120) {
    (void)signal(SIGABRT, tell_seed);
    for_seeds(FUZZ_MUTATED, mutated);
}
