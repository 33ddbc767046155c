/* Sums in float32 of what comes in bfloat16, and of squares in double. */
#include "common.h"

/* Adds values to sums. */
void add(float *restrict sums, const bf16 *restrict values, long count) {
  for (long i = 0; i < count; i++) sums[i] += wide(values[i]);
}

/* The sum of squares: of 4096 values at a time in float, of those sums in double. */
void squares(const float *restrict values, double *restrict sum, long count) {
  *sum = 0;
  for (long start = 0; start < count; start += 4096) {
    const float *restrict some = values + start;
    long length = count - start < 4096 ? count - start : 4096;
    float of_some = 0;
    for (long i = 0; i < length; i++) of_some += some[i] * some[i];
    *sum += of_some;
  }
}
