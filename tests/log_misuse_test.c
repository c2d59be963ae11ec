/* Misuse of the log ends the program, with a line that goes where lines go. */
#include "tests/death.h"
#include "xev/log.h"

#define DIES(function, argument, ...) DIES_AFTER((void)0, function, argument, __VA_ARGS__)
#define TAKES(function, argument, ...) function(__VA_ARGS__)

static xev_log_kind kind = {.name = "a"}, nameless;
static const char *volatile nothing; /* a format that the compiler cannot see */

static void ignore(const xev_log_line *line, void *userdata) {
    (void)line;
    (void)userdata;
}

TEST(misuse_of_the_log_is_caught) {
    DIES(xev_log_set_level, level, XEV_LOG_LEVELS);
    DIES(xev_log_level_of, name, NULL);
    DIES(xev_log_write, kind, NULL, "a");
    DIES(xev_log_write, kind, &nameless, "a");
    DIES(xev_log_write, format, &kind, nothing, 0);
    CHECK_STR_EQ(TAKES(xev_log_level_name, level, XEV_LOG_LEVELS), "");
    TAKES(xev_log_set, callback, NULL, ignore);
}

static void set_again(const xev_log_line *line, void *userdata) {
    (void)line;
    (void)userdata;
    xev_log_set(NULL, NULL);
}

static void set_in_a_callback(void) {
    xev_log_set(NULL, set_again);
    xev_log_write(&kind, "a");
}

TEST(a_function_that_is_told_a_line_cannot_be_replaced_by_itself) {
    check_dies(set_in_a_callback, "xev_log_set");
}
