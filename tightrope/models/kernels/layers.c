/* The passes of a Llama-like layer between its products. */
#include "common.h"

/* weight * x / rms(x) of rows [rows, n]; scale [rows] is 1 / rms(x). */
void rms_norm(const bf16 *restrict x, const bf16 *restrict weight, bf16 *restrict out, float *restrict scale, long rows,
              long n, float epsilon) {
  for (long r = 0; r < rows; r++) {
    const bf16 *restrict in = x + r * n;
    bf16 *restrict to = out + r * n;
    float squares = 0;
    for (long i = 0; i < n; i++) squares += wide(in[i]) * wide(in[i]);
    float k = 1 / sqrtf(squares / n + epsilon);
    scale[r] = k;
    for (long i = 0; i < n; i++) to[i] = rounded(wide(weight[i]) * wide(rounded(wide(in[i]) * k)));
  }
}

/* Its derivative: of x [rows, n], and added to of_weight [n]. */
void rms_norm_backward(const bf16 *restrict pulled, const bf16 *restrict x, const bf16 *restrict weight,
                       const float *restrict scale, bf16 *restrict of_x, float *restrict of_weight, long rows, long n) {
  for (long r = 0; r < rows; r++) {
    const bf16 *restrict in = x + r * n, *restrict d = pulled + r * n;
    bf16 *restrict to = of_x + r * n;
    float k = scale[r], along = 0;
    for (long i = 0; i < n; i++) {
      float product = wide(d[i]) * wide(in[i]) * k;
      of_weight[i] += product;
      along += product * wide(weight[i]);
    }
    along *= k / n;
    for (long i = 0; i < n; i++) to[i] = rounded((wide(d[i]) * wide(weight[i]) - wide(in[i]) * along) * k);
  }
}

/* silu(gate) * up. */
void gated(const bf16 *restrict gate, const bf16 *restrict up, bf16 *restrict out, long count) {
  for (long i = 0; i < count; i++) {
    float g = wide(gate[i]);
    out[i] = rounded(wide(rounded(g / (1 + exponential(-g)))) * wide(up[i]));
  }
}

/* Its derivative, and the product itself again. */
void gated_backward(const bf16 *restrict pulled, const bf16 *restrict gate, const bf16 *restrict up,
                    bf16 *restrict of_gate, bf16 *restrict of_up, bf16 *restrict out, long count) {
  for (long i = 0; i < count; i++) {
    float g = wide(gate[i]), u = wide(up[i]), d = wide(pulled[i]);
    float s = 1 / (1 + exponential(-g));
    float active = g * s;
    out[i] = rounded(wide(rounded(active)) * u);
    of_up[i] = rounded(d * active);
    of_gate[i] = rounded(d * u * (s + active * (1 - s)));
  }
}

/* Rotary positions of one head per row: x * cos + (-x2, x1) * sin, rounded as torch does, product by product.
 *
 * x has tokens * heads rows of d, its strides in numbers; out is [tokens, heads, d]. `back` is -1 for the derivative,
 * for which pulled * cos + (pulled2 sin2, -pulled1 sin1) is taken.
 */
void rotate(const bf16 *restrict x, long of_token, long of_head, const bf16 *restrict cosine,
            const bf16 *restrict sine, bf16 *restrict out, long tokens, long heads, long d, long back) {
  long half = d / 2;
  for (long t = 0; t < tokens; t++) {
    const bf16 *restrict c = cosine + t * d, *restrict s = sine + t * d;
    for (long h = 0; h < heads; h++) {
      const bf16 *restrict first = x + t * of_token + h * of_head, *restrict second = first + half;
      bf16 *restrict to = out + (t * heads + h) * d;
      if (back) {
        for (long i = 0; i < half; i++) {
          float one = wide(first[i]), two = wide(second[i]);
          to[i] = rounded(wide(rounded(one * wide(c[i]))) + wide(rounded(two * wide(s[half + i]))));
          to[half + i] = rounded(wide(rounded(two * wide(c[half + i]))) - wide(rounded(one * wide(s[i]))));
        }
      } else {
        for (long i = 0; i < half; i++) {
          float one = wide(first[i]), two = wide(second[i]);
          to[i] = rounded(wide(rounded(one * wide(c[i]))) - wide(rounded(two * wide(s[i]))));
          to[half + i] = rounded(wide(rounded(two * wide(c[half + i]))) + wide(rounded(one * wide(s[half + i]))));
        }
      }
    }
  }
}
