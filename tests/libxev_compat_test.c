/* The programs of libxev_compat.h as C, and by a second file as C++. */
#include "tests/libxev_compat.h"

#include "tests/test.h"

int libxev_compat_as_cpp(void);

TEST(c_programs_for_libxev_run) {
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        int rc = programs[i].run();
        if (rc != 0) {
            CHECK_FAIL("%s: %d", programs[i].name, rc);
        }
    }
}

TEST(cpp_programs_for_libxev_run) { CHECK_EQ(libxev_compat_as_cpp(), 0); }
