/* The output head's softmax, from a tile of products after the other. Logits are k times the products, k > 0.
 *
 * `column` is where a row's target lies in the tile, which may be outside of it.
 */
#include "common.h"

/* The order of numbers as an order of integers, and back: loops over those are vectorised, NaN or not. */
static inline int16_t ordered(bf16 x) { return (int16_t)(x ^ (((int16_t)x >> 15) & 0x7fff)); }

/* z - from of a logit z, or `least`. */
static inline float logit(bf16 x, float k, float from, float least) {
  float z = wide(x) * k - from;
  return z < least ? least : z;
}

/* Adds a tile of products [rows, n] to what is known of the rows [rows]: the target's logit, the largest logit, and
 * over all logits the sums of e, of e (z - largest) and of e e, where e = exp(z - largest). No e is taken to be less
 * than exp(-43): a vocabulary of those is 1e-14 of the largest, and the square is still a normal number.
 */
void softmax_add(const bf16 *restrict products, const int64_t *restrict column, float *restrict picked,
                 float *restrict largest, float *restrict total, float *restrict shifted, float *restrict squares,
                 long rows, long n, float k) {
  for (long r = 0; r < rows; r++) {
    const bf16 *restrict x = products + r * n;
    int16_t highest = ordered(x[0]);
    for (long i = 1; i < n; i++) {
      int16_t here = ordered(x[i]);
      highest = here > highest ? here : highest;
    }
    float before = largest[r], top = wide((bf16)ordered((bf16)highest)) * k;
    top = top < before ? before : top;
    float e_sum = 0, shifted_sum = 0, square_sum = 0;
    for (long i = 0; i < n; i++) {
      float z = logit(x[i], k, top, -43.0f), e = exponential_within(z);
      e_sum += e;
      shifted_sum += e * z;
      square_sum += e * e;
    }
    float moved = before - top, kept = exponential(moved);
    shifted[r] = (shifted[r] + moved * total[r]) * kept + shifted_sum;
    total[r] = total[r] * kept + e_sum;
    squares[r] = squares[r] * kept * kept + square_sum;
    largest[r] = top;
    if (column[r] >= 0 && column[r] < n) picked[r] = wide(x[column[r]]) * k;
  }
}

/* Turns products [rows, n] into the derivative with respect to them of what pulls a row's log-probability by
 * of_logprob and its entropy by of_entropy: k (1{target} of_logprob - p (of_logprob + of_entropy (log p + entropy))).
 */
void softmax_backward(bf16 *restrict products, const int64_t *restrict column, const float *restrict log_normaliser,
                      const float *restrict entropy, const float *restrict of_logprob, const float *restrict of_entropy,
                      long rows, long n, float k) {
  for (long r = 0; r < rows; r++) {
    bf16 *restrict x = products + r * n;
    int here = column[r] >= 0 && column[r] < n;
    bf16 target = here ? x[column[r]] : 0;
    float slope = -k * of_entropy[r], constant = -k * of_logprob[r] + slope * entropy[r], from = log_normaliser[r];
    for (long i = 0; i < n; i++) {
      float z = logit(x[i], k, from, -88.0f);
      x[i] = narrow(exponential_within(z) * (constant + slope * z));
    }
    if (here) {
      float z = logit(target, k, from, -88.0f);
      x[column[r]] = narrow(k * of_logprob[r] + exponential_within(z) * (constant + slope * z));
    }
  }
}
