/* Privileges: a test that gives one up is left out. */
#ifndef TESTS_WASI_LINUX_CAPABILITY_H
#define TESTS_WASI_LINUX_CAPABILITY_H

#pragma GCC system_header

#include <stdint.h>

enum {
    _LINUX_CAPABILITY_VERSION_3 = 0x20080522,
    _LINUX_CAPABILITY_U32S_3 = 2,
    CAP_DAC_OVERRIDE = 1,
    CAP_DAC_READ_SEARCH = 2,
    CAP_LINUX_IMMUTABLE = 9
};
#define CAP_TO_MASK(cap) (1u << ((cap)&31))

struct __user_cap_header_struct {
    uint32_t version;
    int pid;
};
struct __user_cap_data_struct {
    uint32_t effective, permitted, inheritable;
};

#endif
