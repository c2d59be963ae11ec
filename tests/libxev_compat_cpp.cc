// The programs of libxev_compat.h as C++. 0, or 10 * program + its result.
#include "tests/libxev_compat.h"

extern "C" int libxev_compat_as_cpp(void);

extern "C" int libxev_compat_as_cpp(void) {
    int i = 0;
    for (const auto &program : programs) {
        i++;
        int rc = program.run();
        if (rc != 0) {
            return 10 * i + rc;
        }
    }
    return 0;
}
