/* So that xev/os/posix/addr_posix.c compiles: what Winsock has of this header. */
#ifndef XEV_OS_WINDOWS_POSIX_SYS_SOCKET_H
#define XEV_OS_WINDOWS_POSIX_SYS_SOCKET_H
#include <winsock2.h>
#include <ws2tcpip.h>
typedef ADDRESS_FAMILY sa_family_t;
#endif
