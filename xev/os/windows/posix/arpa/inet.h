/* As sys/socket.h here. */
#include <sys/socket.h>
