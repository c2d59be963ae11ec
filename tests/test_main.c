/* The part of the harness that both runners share: the list of cases, the checks, main(). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/runner.h"

enum { DEFAULT_TIMEOUT_S = 60, SANITIZER_SLOWDOWN = 6 };

static struct test_case *first;

/* Compilers do not promise the order of constructors within a file: sort by place. */
static bool comes_before(const struct test_case *a, const struct test_case *b) {
    int order = strcmp(a->file, b->file);
    return order != 0 ? order < 0 : a->line < b->line;
}

void test_register(struct test_case *tc) {
    struct test_case **at = &first;
    while (*at != NULL && comes_before(*at, tc)) {
        at = &(*at)->next;
    }
    tc->next = *at;
    *at = tc;
}

int test_slowdown(void) {
    const char *sanitizer = getenv("XEV_TEST_SANITIZER");
    return sanitizer != NULL && strcmp(sanitizer, "1") == 0 ? SANITIZER_SLOWDOWN : 1;
}

int test_timeout_s(const struct test_case *tc) {
    return (tc->timeout_s > 0 ? tc->timeout_s : DEFAULT_TIMEOUT_S) * test_slowdown();
}

void test_compare(const char *file, int line, enum test_op op, const char *a_expr,
                  const char *b_expr, int64_t a, int64_t b) {
    static const char *const names[] = {"==", "!=", "<", "<=", ">", ">="};
    const bool holds[] = {a == b, a != b, a<b, a <= b, a> b, a >= b};
    if (!holds[op]) {
        test_fail(file, line, "%s %s %s: %" PRId64 " against %" PRId64, a_expr, names[op], b_expr,
                  a, b);
    }
}

void test_str_eq(const char *file, int line, const char *a_expr, const char *b_expr, const char *a,
                 const char *b) {
    if (a == NULL || b == NULL ? a != b : strcmp(a, b) != 0) {
        test_fail(file, line, "%s == %s: \"%s\" against \"%s\"", a_expr, b_expr,
                  a != NULL ? a : "(null)", b != NULL ? b : "(null)");
    }
}

void test_mem_eq(const char *file, int line, const char *a_expr, const char *b_expr, const void *a,
                 const void *b, size_t len_bytes) {
    const unsigned char *p = a;
    const unsigned char *q = b;
    for (size_t i = 0; i < len_bytes; i++) {
        if (p[i] != q[i]) {
            test_fail(file, line, "%s == %s: byte %zu of %zu is 0x%02x against 0x%02x", a_expr,
                      b_expr, i, len_bytes, (unsigned)p[i], (unsigned)q[i]);
        }
    }
}

/* What the arguments ask for. */
struct choice {
    const char *filter; /* NULL: every case */
    const char *only;   /* not NULL: this one, in this process */
    bool list;
};

static bool selected(const struct test_case *tc, const struct choice *choice) {
    if (choice->only != NULL) {
        return strcmp(tc->name, choice->only) == 0;
    }
    return choice->filter == NULL || strstr(tc->name, choice->filter) != NULL;
}

/* Writes those selected to cases, if that is not NULL. Returns how many they are. */
static int select_cases(const struct choice *choice, struct test_case **cases) {
    int count = 0;
    for (struct test_case *tc = first; tc != NULL; tc = tc->next) {
        if (selected(tc, choice)) {
            if (cases != NULL) {
                cases[count] = tc;
            }
            count++;
        }
    }
    return count;
}

static struct choice parse(int argc, char **argv) {
    struct choice choice = {.filter = getenv("XEV_TEST_FILTER")};
    if (choice.filter == NULL) {
        choice.filter = getenv("TESTBRIDGE_TEST_ONLY"); /* bazel test --test_filter=SUBSTR */
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
            choice.filter = argv[++i];
        } else if (strcmp(argv[i], "--case") == 0 && i + 1 < argc) {
            choice.only = argv[++i];
        } else if (strcmp(argv[i], "--list") == 0) {
            choice.list = true;
        } else {
            fprintf(stderr, "usage: %s [--filter SUBSTR] [--list] [--case NAME]\n", argv[0]);
            exit(2);
        }
    }
    return choice;
}

int main(int argc, char **argv) {
    struct choice choice = parse(argc, argv);
    int count = select_cases(&choice, NULL);
    if (count == 0) {
        const char *name = choice.only != NULL ? choice.only : choice.filter;
        fprintf(stderr, "%s: no test case to run%s%s\n", argv[0], name != NULL ? ", filter " : "",
                name != NULL ? name : "");
        return EXIT_FAILURE;
    }
    struct test_case **cases = malloc((size_t)count * sizeof(struct test_case *));
    if (cases == NULL) {
        fprintf(stderr, "%s: out of memory\n", argv[0]);
        return EXIT_FAILURE;
    }
    select_cases(&choice, cases);
    int status = EXIT_SUCCESS;
    if (choice.list) {
        for (int i = 0; i < count; i++) {
            puts(cases[i]->name);
        }
    } else {
        status = test_run_all(argv[0], cases, count, choice.only != NULL);
    }
    free(cases);
    return status;
}
