/* AdamW's step of bfloat16 weights in one pass: masters are put together, moved and taken apart, see
 * training/masters.py, and moments with them. Gives torch's bits (FusedAdamKernel.cpp) wherever it is
 * built for AVX2 or AVX512, but for what is left of a piece behind its vectors, where it fuses otherwise. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=off") /* fused is what says so; clang fuses within one expression, so none has both */
#endif
#include "common.h"

/* What the weights of a step have in common. */
typedef struct {
  float scale;       /* that gradients are divided by */
  float kept;        /* of a master: 1 - rate * weight decay */
  float pull;        /* of a gradient on its average: 1 - beta1 */
  float beta2;       /* what is kept of the squared average */
  float square_pull; /* 1 - beta2 */
  float correction;  /* sqrt(1 - beta2^t) */
  float epsilon;
  float rate; /* over 1 - beta1^t */
} Step;

/* Moves the moments of one weight, and returns its moved master. */
static inline float moved(float master, float gradient, float *average, float *square, Step by) {
  float g = gradient / by.scale;
  float away = g - *average;
  *average = by.pull < 0.5f ? fused(by.pull, away, *average) : fused(by.pull - 1, away, g);
  float of_before = *square * by.beta2;
  *square = fused(by.square_pull * g, g, of_before);
  float down = sqrtf(*square) / by.correction;
  float step = by.rate * *average / (down + by.epsilon);
  float decayed = master * by.kept;
  return decayed - step;
}

static inline float undithered(bf16 weight, uint16_t cut_off, int32_t dither) {
  return float_of(((uint32_t)weight << 16) + cut_off - (uint32_t)dither);
}

static inline uint32_t dithered(float value, int32_t dither) { return bits_of(value) + (uint32_t)dither; }

/* Rounds masters anew: before are the dithers that are in weight and cut_off, after those to round with. */
void round_anew(bf16 *restrict weight, uint16_t *restrict cut_off, const int32_t *restrict before,
                const int32_t *restrict after, long count) {
  for (long i = 0; i < count; i++) {
    uint32_t sum = dithered(undithered(weight[i], cut_off[i], before[i]), after[i]);
    weight[i] = sum >> 16;
    cut_off[i] = sum;
  }
}

/* A step of count weights with moments in float32; dithers as above. */
void adamw(bf16 *restrict weight, uint16_t *restrict cut_off, const float *restrict gradient, float *restrict average,
           float *restrict square, const int32_t *restrict before, const int32_t *restrict after, long count,
           float scale, float kept, float pull, float beta2, float square_pull, float correction, float epsilon,
           float rate) {
  Step by = {scale, kept, pull, beta2, square_pull, correction, epsilon, rate};
  for (long i = 0; i < count; i++) {
    float a = average[i], s = square[i];
    uint32_t sum = dithered(moved(undithered(weight[i], cut_off[i], before[i]), gradient[i], &a, &s, by), after[i]);
    average[i] = a;
    square[i] = s;
    weight[i] = sum >> 16;
    cut_off[i] = sum;
  }
}

/* The same with moments in bfloat16, which have dithers of their own. */
void adamw_rounded(bf16 *restrict weight, uint16_t *restrict cut_off, const float *restrict gradient,
                   bf16 *restrict average, bf16 *restrict square, const int32_t *restrict before,
                   const int32_t *restrict after, const int32_t *restrict of_average,
                   const int32_t *restrict of_square, long count, float scale, float kept, float pull, float beta2,
                   float square_pull, float correction, float epsilon, float rate) {
  Step by = {scale, kept, pull, beta2, square_pull, correction, epsilon, rate};
  for (long i = 0; i < count; i++) {
    float a = wide(average[i]), s = wide(square[i]);
    uint32_t sum = dithered(moved(undithered(weight[i], cut_off[i], before[i]), gradient[i], &a, &s, by), after[i]);
    average[i] = dithered(a, of_average[i]) >> 16;
    square[i] = dithered(s, of_square[i]) >> 16;
    weight[i] = sum >> 16;
    cut_off[i] = sum;
  }
}
