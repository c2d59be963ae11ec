/* sys/mman.h: see posix.h. */
#include "tests/windows/posix.h"
