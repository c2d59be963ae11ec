/* The harness itself. A true check passes. A false one fails its own case only, and the report says
 * what was compared (harness_probe.c). */
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static char output[16384];

/* Runs the probe with `args`; its output is in `output`, its exit status is returned. */
static int probe(const char *args) {
    const char *program = getenv("HARNESS_PROBE");
    CHECK(program != NULL);
    char command[1024];
    snprintf(command, sizeof command, "%s %s 2>&1", program, args);
    FILE *pipe = popen(command, "r");
    CHECK(pipe != NULL);
    output[fread(output, 1, sizeof output - 1, pipe)] = '\0';
    int status = pclose(pipe);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_output(const char *text) {
    if (strstr(output, text) == NULL) {
        CHECK_FAIL("\"%s\" is not in the output:\n%s", text, output);
    }
}

TEST(true_checks_pass) {
    CHECK(1);
    CHECK_EQ(INT64_MIN, INT64_MIN);
    CHECK_NE(-1, 1);
    CHECK_LT(-1, 0);
    CHECK_LE(0, 0);
    CHECK_GT(INT64_C(1) << 40, 1);
    CHECK_GE(-5, -5);
    CHECK_STR_EQ("same", "same");
    CHECK_MEM_EQ("ab\0c", "ab\0c", 5);
}

TEST(arguments_are_evaluated_once) {
    int n = 0;
    CHECK_EQ(++n, 1);
    CHECK(++n == 2);
    CHECK_EQ(n, 2);
}

TEST(false_checks_fail_with_both_values) {
    static const struct {
        const char *name;
        const char *report;
    } cases[] = {
        {"bad_check", "not true: zero"},
        {"bad_eq", "-7 against 1099511627776"},
        {"bad_ne", "3 != 3"},
        {"bad_lt", "3 < 3"},
        {"bad_le", "4 <= 3"},
        {"bad_gt", "3 > 3"},
        {"bad_ge", "-1 >= 0"},
        {"bad_str_null", "\"left\" against \"(null)\""},
        {"bad_str", "\"left\" against \"right\""},
        {"bad_mem", "byte 2 of 3 is 0x63 against 0x64"},
        {"bad_fail", "wanted 1, got none"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "--filter %s", cases[i].name);
        CHECK_EQ(probe(text), EXIT_FAILURE);
        expect_output(cases[i].report);
        expect_output("harness_probe.c:");
        snprintf(text, sizeof text, "FAILED %s\n", cases[i].name);
        expect_output(text);
    }
}

TEST(failures_leave_other_cases_alone) {
    CHECK_EQ(probe("--filter s"), EXIT_FAILURE);
    expect_output("40%: Checks: 5, Failures: 2, Errors: 1\n");
    expect_output("FAILED bad_str\nFAILED bad_str_null\nFAILED bad_crash\n");
}

TEST(crash_and_early_exit_are_errors_of_one_case) {
    CHECK_EQ(probe("--filter bad_crash"), EXIT_FAILURE);
    expect_output("0%: Checks: 1, Failures: 0, Errors: 1");
    expect_output("signal 9");
    CHECK_EQ(probe("--filter bad_exit"), EXIT_FAILURE);
    expect_output("0%: Checks: 1, Failures: 0, Errors: 1");
}

TEST(hanging_case_is_stopped) {
    CHECK_EQ(probe("--filter bad_hang"), EXIT_FAILURE);
    expect_output("Test timeout expired");
    expect_output("FAILED bad_hang");
}

TEST(cases_run_in_source_order) {
    CHECK_EQ(probe("--filter passes"), EXIT_SUCCESS);
    expect_output("100%: Checks: 2, Failures: 0, Errors: 0");
    const char *second = strstr(output, "ran second");
    CHECK(second != NULL && strstr(output, "ran first") < second);
    CHECK(strstr(second + 1, "ran ") == NULL);
}

TEST(filter_comes_from_the_environment_too) {
    CHECK_EQ(setenv("XEV_TEST_FILTER", "second_passes", 1), 0);
    CHECK_EQ(probe(""), EXIT_SUCCESS);
    expect_output("100%: Checks: 1, Failures: 0, Errors: 0");
}

TEST(running_no_case_is_a_failure) {
    CHECK_EQ(probe("--filter no_such_case"), EXIT_FAILURE);
    expect_output("no test case to run");
}

TEST(one_case_runs_in_the_process_itself) {
    CHECK_EQ(probe("--case second_passes"), EXIT_SUCCESS);
    expect_output("ran second");
    CHECK_EQ(probe("--case bad_str"), 97);
    expect_output("\"left\" against \"right\"");
    CHECK(strstr(output, "bad_str_null") == NULL);
    CHECK_EQ(probe("--case bad_exit"), 3);
    CHECK_EQ(probe("--case bad"), EXIT_FAILURE);
    expect_output("no test case to run");
}

TEST(unknown_argument_is_refused) { CHECK_EQ(probe("--no-such-option"), 2); }
