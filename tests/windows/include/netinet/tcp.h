/* netinet/tcp.h: see posix.h. */
#include "tests/windows/posix.h"
