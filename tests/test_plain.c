/* Runs the cases of test.h without a library, for systems that lack Check, or fork. It reports as
 * test_check.c does. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/plain.h"

static struct {
    struct test_case **cases;
    enum plain_outcome *outcomes;
    int count;
    int at;       /* the case that is running */
    bool summary; /* to be printed at the end */
} run;

static const char *current_name(void) {
    return run.at < run.count ? run.cases[run.at]->name : "none";
}

void plain_describe(const struct test_case *tc, char text[PLAIN_TEXT_BYTES], const char *fmt, ...) {
    int len = snprintf(text, PLAIN_TEXT_BYTES, "%s:%d:E:%s:run:0: (after this point) ", tc->file,
                       tc->line, tc->name);
    if (len >= 0 && len < PLAIN_TEXT_BYTES) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(text + len, PLAIN_TEXT_BYTES - (size_t)len, fmt, args);
        va_end(args);
    }
}

/* Prints what became of the cases. Returns the exit status. */
static int report(void) {
    int failures = 0;
    int errors = 0;
    int left_out = 0;
    for (int i = 0; i < run.count; i++) {
        failures += run.outcomes[i] == PLAIN_FAILED;
        errors += run.outcomes[i] == PLAIN_ERROR;
        left_out += run.outcomes[i] == PLAIN_LEFT_OUT;
    }
    if (run.summary) {
        int checks = run.count - left_out;
        printf("%d%%: Checks: %d, Failures: %d, Errors: %d\n",
               checks > 0 ? (checks - failures - errors) * 100 / checks : 100, checks, failures,
               errors);
        if (left_out > 0) {
            printf("left out: %d\n", left_out);
        }
        for (int i = 0; i < run.count; i++) {
            if (run.outcomes[i] == PLAIN_FAILED || run.outcomes[i] == PLAIN_ERROR) {
                printf("FAILED %s\n", run.cases[i]->name);
            }
        }
    }
    fflush(stdout);
    if (failures + errors == 0) {
        return EXIT_SUCCESS;
    }
    return run.summary ? EXIT_FAILURE : TEST_CHECK_FAILED;
}

void test_fail(const char *file, int line, const char *fmt, ...) {
    char text[PLAIN_TEXT_BYTES];
    int len = snprintf(text, sizeof text, "%s:%d:F:%s:run:0: ", file, line, current_name());
    if (len >= 0 && len < (int)sizeof text) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(text + len, sizeof text - (size_t)len, fmt, args);
        va_end(args);
    }
    plain_fail_apart(text);
    /* The case runs in this process, which ends with it. */
    puts(text);
    run.outcomes[run.at] = PLAIN_FAILED;
    for (int i = run.at + 1; i < run.count; i++) {
        run.outcomes[i] = PLAIN_ERROR;
        plain_describe(run.cases[i], text, "not run: a case before it has ended the process");
        puts(text);
    }
    _Exit(report());
}

/* Whether the file that XEV_TEST_LEFT_OUT names has a line "TEST CASE REASON" of this case, as one
 * that does not run here. Prints the reason. */
static bool is_left_out(const struct test_case *tc) {
    const char *path = getenv("XEV_TEST_LEFT_OUT"), *slash = strrchr(tc->file, '/');
    FILE *f = path != NULL ? fopen(path, "r") : NULL;
    char line[512], wanted[256];
    bool found = false;
    snprintf(wanted, sizeof wanted, "%s", slash != NULL ? slash + 1 : tc->file);
    wanted[strcspn(wanted, ".")] = '\0';
    size_t len = strlen(wanted);
    snprintf(wanted + len, sizeof wanted - len, " %s ", tc->name);
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        found = strncmp(line, wanted, strlen(wanted)) == 0;
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    if (found) {
        printf("left out: %s", line);
    }
    return found;
}

int test_run_all(const char *program, struct test_case **cases, int count, bool here) {
    run.cases = cases;
    run.count = count;
    run.summary = !here;
    run.outcomes = calloc((size_t)count, sizeof *run.outcomes);
    if (run.outcomes == NULL) {
        fprintf(stderr, "%s: out of memory\n", program);
        return EXIT_FAILURE;
    }
    /* A crash must not take along what was printed before. */
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    for (run.at = 0; run.at < count; run.at++) {
        struct test_case *tc = cases[run.at];
        char text[PLAIN_TEXT_BYTES] = "";
        if (here) {
            tc->run();
            continue;
        }
        run.outcomes[run.at] =
            is_left_out(tc) ? PLAIN_LEFT_OUT : plain_run_apart(program, tc, text);
        if (text[0] != '\0') {
            puts(text);
        }
    }
    int status = report();
    free(run.outcomes);
    return status;
}
