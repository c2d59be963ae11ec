/* Test cases, independent of the program that runs them.
 *
 * The library Check runs the cases where it exists (test_check.c), and a runner of our own where it
 * does not (test_plain.c). Neither is named here.
 *
 *     TEST(accept_cancelled_reports_ecanceled) { CHECK_EQ(result, XEV_ECANCELED); }
 *
 * Cases register themselves and run in source order, each in a process of its own where the system
 * has processes. A failing check ends its case; checks may be made from any thread of the case. The
 * arguments of a check are evaluated once. main() is in the library: `--filter SUBSTR` (or
 * XEV_TEST_FILTER) runs the cases whose name contains SUBSTR, `--list` names them, `--case NAME`
 * runs one without a process of its own and exits with 97 if a check fails.
 */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct test_case {
    const char *name;
    const char *file;
    int line;
    int timeout_s; /* 0: the default */
    void (*run)(void);
    struct test_case *next;
};

enum test_op { TEST_EQ, TEST_NE, TEST_LT, TEST_LE, TEST_GT, TEST_GE };

void test_register(struct test_case *tc);

/* How much slower this build is, because of a sanitizer. A test multiplies its waits by it. */
int test_slowdown(void);

__attribute__((noreturn, format(printf, 3, 4))) void test_fail(const char *file, int line,
                                                               const char *fmt, ...);
void test_compare(const char *file, int line, enum test_op op, const char *a_expr,
                  const char *b_expr, int64_t a, int64_t b);
void test_str_eq(const char *file, int line, const char *a_expr, const char *b_expr, const char *a,
                 const char *b);
void test_mem_eq(const char *file, int line, const char *a_expr, const char *b_expr, const void *a,
                 const void *b, size_t len_bytes);

#ifdef __cplusplus
}
#endif

#define TEST(name) TEST_TIMEOUT(name, 0)

/* The timeout is multiplied by test_slowdown(). */
#define TEST_TIMEOUT(name, seconds)                                                                \
    static void test_run_##name(void);                                                             \
    static struct test_case test_case_##name = {#name,     __FILE__,        __LINE__,              \
                                                (seconds), test_run_##name, NULL};                 \
    __attribute__((constructor)) static void test_register_##name(void) {                          \
        test_register(&test_case_##name);                                                          \
    }                                                                                              \
    static void test_run_##name(void)

#define CHECK(cond) ((cond) ? (void)0 : test_fail(__FILE__, __LINE__, "%s", "not true: " #cond))

/* Signed 64-bit. */
#define CHECK_EQ(a, b) TEST_COMPARE(TEST_EQ, a, b)
#define CHECK_NE(a, b) TEST_COMPARE(TEST_NE, a, b)
#define CHECK_LT(a, b) TEST_COMPARE(TEST_LT, a, b)
#define CHECK_LE(a, b) TEST_COMPARE(TEST_LE, a, b)
#define CHECK_GT(a, b) TEST_COMPARE(TEST_GT, a, b)
#define CHECK_GE(a, b) TEST_COMPARE(TEST_GE, a, b)

#define CHECK_STR_EQ(a, b) test_str_eq(__FILE__, __LINE__, #a, #b, (a), (b))
#define CHECK_MEM_EQ(a, b, n) test_mem_eq(__FILE__, __LINE__, #a, #b, (a), (b), (n))

/* CHECK_FAIL(fmt, ...) */
#define CHECK_FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)

#define TEST_COMPARE(op, a, b)                                                                     \
    test_compare(__FILE__, __LINE__, (op), #a, #b, (int64_t)(a), (int64_t)(b))

#endif
