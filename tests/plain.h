/* What the runner test_plain.c asks of a system: a process for each case, where it has processes.
 *
 *     plain_fork.c      POSIX: the case runs in a child of fork
 *     plain_windows.c   the case runs in this program, started again with `--case NAME`
 *     plain_direct.c    there are no processes: it runs here
 */
#ifndef TESTS_PLAIN_H
#define TESTS_PLAIN_H

#include "tests/runner.h"

enum { PLAIN_TEXT_BYTES = 3072 };

enum plain_outcome {
    PLAIN_PASSED,
    PLAIN_FAILED,   /* a check did */
    PLAIN_ERROR,    /* it ended otherwise, or not in time */
    PLAIN_LEFT_OUT, /* it is listed as one that does not run on this system */
};

/* Runs the case. text: for the line that reports why it did not pass; it is empty where the case
 * has printed it. */
enum plain_outcome plain_run_apart(const char *program, const struct test_case *tc,
                                   char text[PLAIN_TEXT_BYTES]);

/* A check has failed, on any thread. Ends the process of the case with
 * text reported, or returns if there is no such process. */
void plain_fail_apart(const char *text);

/* For plain_run_apart, of a case that has not ended as it should. */
__attribute__((format(printf, 3, 4))) void
plain_describe(const struct test_case *tc, char text[PLAIN_TEXT_BYTES], const char *fmt, ...);

#endif
