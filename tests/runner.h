/* What test_main.c, which has main(), asks of the runner that is linked with it: test_check.c or
 * test_plain.c. */
#ifndef TESTS_RUNNER_H
#define TESTS_RUNNER_H

#include <stdbool.h>

#include "tests/test.h"

/* Exit status of `--case` when a check failed. */
enum { TEST_CHECK_FAILED = 97 };

/* Runs the cases in order and prints, as the last but for the lines "FAILED name":
 *
 *     NN%: Checks: N, Failures: N, Errors: N
 *
 * here: no process is made for a case. Returns the exit status of the program. */
int test_run_all(const char *program, struct test_case **cases, int count, bool here);

/* The time limit of a case, in seconds. */
int test_timeout_s(const struct test_case *tc);

#endif
