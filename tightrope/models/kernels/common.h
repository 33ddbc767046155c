/* What all passes share: bfloat16 as the upper half of a float, and an exponential that loops can be vectorised around.
 *
 * No loop says how it is vectorised. It is plain C99 over rows; the compiler does it for the processor at hand, with the
 * flags of build.py: sums may be taken in another order, infinities and NaN keep their meaning.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

static inline uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

static inline float wide(bf16 x) { return float_of((uint32_t)x << 16); }

/* Rounded to nearest, ties to even, as torch does, of what was computed of bfloat16 numbers: the lower half of a NaN is 0
 * there, so that it stays one.
 */
static inline bf16 rounded(float x) {
  uint32_t bits = bits_of(x);
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

/* The same of any number. */
static inline bf16 narrow(float x) { return x != x ? 0x7fc0 : rounded(x); }

/* x * y + z, rounded once where the processor can. */
static inline float fused(float x, float y, float z) {
#if defined(FP_FAST_FMAF) || defined(__FMA__) || defined(__ARM_FEATURE_FMA) /* clang has no FP_FAST_FMAF */
  return fmaf(x, y, z);
#else
  float product = x * y;
  return product + z;
#endif
}

/* e^x of -88 <= x <= 88.7, to 2e-7 of itself from -87.6 to 88.3; what is below is 0 and above infinity, for so says the
 * exponent that comes of it, 0 or 255. Of NaN NaN.
 *
 * The polynomial and the two parts of log 2 are those of Cephes' expf (Moshier 1989).
 */
static inline float exponential_within(float x) {
  float n = rintf(x * 1.44269504f);
  float f = fused(n, 2.12194440e-4f, fused(n, -0.693359375f, x)); /* which no flag may put together */
  float p = 1.9875691500e-4f;
  p = p * f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  p = p * f * f + f + 1.0f;
  return p * float_of((uint32_t)((int32_t)n + 127) << 23);
}

/* e^x of any x, which is 0 or infinity where that says so. */
static inline float exponential(float at) {
  float x = at > 88.7f ? 88.7f : at;
  return exponential_within(x < -88.0f ? -88.0f : x);
}
