/* WASI: a line on stderr. Whether a write there waits is the host's affair: there is no way to ask.
 */
#include <unistd.h>

#include "xev/os/complain.h"

void xev__put_line(const char *text, size_t len_bytes) {
    ssize_t n = write(STDERR_FILENO, text, len_bytes);
    (void)n; /* there is no other place to report a failure to */
}
