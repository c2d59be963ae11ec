/* Misuse of histograms ends the program. */
#include <math.h>

#include "tests/death.h"
#include "xev/histogram.h"

/* Of calls that must not return. */
#pragma GCC diagnostic ignored "-Wunused-result"

#define DIES(function, argument, ...) DIES_AFTER((void)0, function, argument, __VA_ARGS__)
#define TAKES(function, argument, ...) function(__VA_ARGS__)

static xev_histogram h, other;

TEST(misuse_of_histograms_is_caught) {
    DIES(xev_histogram_record, h, NULL, 1);
    DIES(xev_histogram_merge, into, NULL, &h);
    DIES(xev_histogram_merge, from, &h, NULL);
    DIES(xev_histogram_merge, from, &h, &h);
    DIES(xev_histogram_count, h, NULL);
    DIES(xev_histogram_sum, h, NULL);
    DIES(xev_histogram_max, h, NULL);
    DIES(xev_histogram_percentile, h, NULL, 1);
    DIES(xev_histogram_count_below, h, NULL, 1);
}

TEST(any_number_is_one) {
    TAKES(xev_histogram_record, value, &h, UINT64_MAX);
    CHECK(TAKES(xev_histogram_percentile, percent, &h, (double)NAN) == UINT64_MAX);
    CHECK(TAKES(xev_histogram_percentile, percent, &h, (double)INFINITY) == UINT64_MAX);
    CHECK(TAKES(xev_histogram_percentile, percent, &h, -(double)INFINITY) == UINT64_MAX);
    CHECK_EQ(TAKES(xev_histogram_count_below, value, &h, UINT64_MAX), 0);
    CHECK_EQ(xev_histogram_count(&other), 0);
}
