/* Runs the cases of test.h by the library Check, each in a forked process, so that a crash, a leak
 * or a timeout fails that one case. */
#include "tests/test.h"

#include <check.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_TIMEOUT_S = 30, SANITIZER_SLOWDOWN = 6 };

static struct test_case *first;
static struct test_case **by_index; /* Check hands a case its index only */

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

void test_fail(const char *file, int line, const char *fmt, ...) {
    char msg[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(msg, sizeof msg, fmt, args);
    va_end(args);
    _ck_assert_failed(file, line, "Failure", "%s", msg);
    abort();
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

static void run_case(int index) { by_index[index]->run(); }

static bool selected(const struct test_case *tc, const char *filter) {
    return filter == NULL || strstr(tc->name, filter) != NULL;
}

static void *allocate(size_t n, size_t size) {
    void *p = calloc(n != 0 ? n : 1, size);
    if (p == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(EXIT_FAILURE);
    }
    return p;
}

static void print_failed_names(SRunner *runner) {
    TestResult **failures = srunner_failures(runner);
    for (int i = 0; i < srunner_ntests_failed(runner); i++) {
        printf("FAILED %s\n", tr_tcname(failures[i]));
    }
    free(failures);
}

static int run_all(const char *program, const char *filter, int count) {
    const char *slash = strrchr(program, '/');
    Suite *suite = suite_create(slash != NULL ? slash + 1 : program);
    TTest *tests = allocate((size_t)count, sizeof *tests);
    by_index = allocate((size_t)count, sizeof(struct test_case *));
    int i = 0;
    for (struct test_case *tc = first; tc != NULL; tc = tc->next) {
        if (!selected(tc, filter)) {
            continue;
        }
        by_index[i] = tc;
        tests[i] = (TTest){.name = "run", .fn = run_case, .file = tc->file, .line = tc->line};
        /* A Check case each: timeouts belong to it, and failures can be asked for its name. */
        TCase *tcase = tcase_create(tc->name);
        int timeout_s = tc->timeout_s > 0 ? tc->timeout_s : DEFAULT_TIMEOUT_S;
        tcase_set_timeout(tcase, timeout_s * test_slowdown());
        _tcase_add_test(tcase, &tests[i], 0, 0, i, i + 1);
        suite_add_tcase(suite, tcase);
        i++;
    }
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    int ran = srunner_ntests_run(runner);
    print_failed_names(runner);
    srunner_free(runner);
    free(tests);
    free(by_index);
    return failed == 0 && ran == count ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv) {
    const char *filter = getenv("XEV_TEST_FILTER");
    if (filter == NULL) {
        filter = getenv("TESTBRIDGE_TEST_ONLY"); /* bazel test --test_filter=SUBSTR */
    }
    bool list = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
            filter = argv[++i];
        } else if (strcmp(argv[i], "--list") == 0) {
            list = true;
        } else {
            fprintf(stderr, "usage: %s [--filter SUBSTR] [--list]\n", argv[0]);
            return 2;
        }
    }
    int count = 0;
    for (struct test_case *tc = first; tc != NULL; tc = tc->next) {
        if (selected(tc, filter)) {
            count++;
            if (list) {
                puts(tc->name);
            }
        }
    }
    if (count == 0) {
        fprintf(stderr, "%s: no test case to run%s%s\n", argv[0], filter != NULL ? ", filter " : "",
                filter != NULL ? filter : "");
        return EXIT_FAILURE;
    }
    /* Forked cases must not print the parent's buffered output again. */
    setvbuf(stdout, NULL, _IOLBF, 0);
    return list ? EXIT_SUCCESS : run_all(argv[0], filter, count);
}
