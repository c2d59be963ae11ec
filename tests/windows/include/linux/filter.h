/* See posix.h. */
#include "tests/windows/posix.h"
