/* Runs the cases of test.h by the library Check, each in a forked process, so that a crash, a leak
 * or a timeout fails that one case. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/runner.h"

static struct test_case **by_index; /* Check hands a case its index only */

void test_fail(const char *file, int line, const char *fmt, ...) {
    char msg[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(msg, sizeof msg, fmt, args);
    va_end(args);
    _ck_assert_failed(file, line, "Failure", "%s", msg);
    abort();
}

static void run_case(int index) { by_index[index]->run(); }

static void print_failed_names(SRunner *runner) {
    TestResult **failures = srunner_failures(runner);
    for (int i = 0; i < srunner_ntests_failed(runner); i++) {
        printf("FAILED %s\n", tr_tcname(failures[i]));
    }
    free(failures);
}

int test_run_all(const char *program, struct test_case **cases, int count, bool here) {
    const char *slash = strrchr(program, '/');
    Suite *suite = suite_create(slash != NULL ? slash + 1 : program);
    TTest *tests = calloc((size_t)count, sizeof *tests);
    if (tests == NULL) {
        fprintf(stderr, "%s: out of memory\n", program);
        return EXIT_FAILURE;
    }
    /* Forked cases must not print the parent's buffered output again. */
    setvbuf(stdout, NULL, _IOLBF, 0);
    by_index = cases;
    for (int i = 0; i < count; i++) {
        struct test_case *tc = cases[i];
        tests[i] = (TTest){.name = "run", .fn = run_case, .file = tc->file, .line = tc->line};
        /* A Check case each: timeouts belong to it, and failures can be asked for its name. */
        TCase *tcase = tcase_create(tc->name);
        tcase_set_timeout(tcase, test_timeout_s(tc));
        _tcase_add_test(tcase, &tests[i], 0, 0, i, i + 1);
        suite_add_tcase(suite, tcase);
    }
    SRunner *runner = srunner_create(suite);
    if (here) {
        srunner_set_fork_status(runner, CK_NOFORK);
    }
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    int ran = srunner_ntests_run(runner);
    print_failed_names(runner);
    srunner_free(runner);
    free(tests);
    if (here && failed != 0) {
        return TEST_CHECK_FAILED;
    }
    return failed == 0 && ran == count ? EXIT_SUCCESS : EXIT_FAILURE;
}
