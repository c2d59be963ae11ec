/* Cases that fail on purpose. harness_test.c runs them and reads the report. */
#include "tests/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

TEST(first_passes) {
    CHECK(1 + 1 == 2);
    puts("ran first");
}

TEST(second_passes) { puts("ran second"); }

TEST(bad_check) {
    int zero = 0;
    CHECK(zero);
}

TEST(bad_eq) { CHECK_EQ(-7, INT64_C(1) << 40); }

TEST(bad_ne) { CHECK_NE(3, 3); }

TEST(bad_lt) { CHECK_LT(3, 3); }

TEST(bad_le) { CHECK_LE(4, 3); }

TEST(bad_gt) { CHECK_GT(3, 3); }

TEST(bad_ge) { CHECK_GE(-1, 0); }

TEST(bad_str) { CHECK_STR_EQ("left", "right"); }

TEST(bad_str_null) { CHECK_STR_EQ("left", NULL); }

TEST(bad_mem) { CHECK_MEM_EQ("abc", "abd", 3); }

TEST(bad_fail) { CHECK_FAIL("wanted %d, %s", 1, "got none"); }

TEST(bad_crash) { raise(SIGKILL); }

TEST(bad_exit) { _exit(3); }

TEST_TIMEOUT(bad_hang, 1) {
    for (;;) {
        pause();
    }
}
