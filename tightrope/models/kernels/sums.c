/* Sums in float32 of what comes in bfloat16. */
#include "common.h"

/* Adds values to sums. */
void add(float *restrict sums, const bf16 *restrict values, long count) {
  for (long i = 0; i < count; i++) sums[i] += wide(values[i]);
}
