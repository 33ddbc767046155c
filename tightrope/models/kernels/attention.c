/* The passes around the products of attention's gradient (causal_gradient.py says which).
 *
 * Packed tensors are [tokens, heads, d] with strides in numbers, d contiguous. In the products queries of heads that
 * share keys are rows of one matrix, query by query: [groups, queries * per_group, d]. They come in blocks of `each`
 * queries, one such array behind the other, the last one smaller.
 */
#include "common.h"

/* 2^x to 3e-6 of itself, which is less than bfloat16 rounds by a thousand times; of what is below -87 2^-87, of what is
 * above 126 2^126, of NaN NaN. Nothing that it is multiplied with becomes too small to be normal, which would be slow.
 *
 * The polynomial is the one of least squares of the relative error over [-1/2, 1/2].
 */
static inline float power_of_two(float x) {
  x = x > 126.0f ? 126.0f : x;
  x = x < -87.0f ? -87.0f : x;
  float n = rintf(x);
  float f = x - n;
  float p = 9.56051e-3f;
  p = p * f + 5.591704e-2f;
  p = p * f + 2.4024981e-1f;
  p = p * f + 6.9312197e-1f;
  p = p * f + 9.9999919e-1f;
  return p * float_of((uint32_t)((int32_t)n + 127) << 23);
}

/* Rounded to nearest, ties away from zero: ties are rare here, and it takes two instructions instead of seven. What is
 * not a number stays so unless its low bits are all ones, which no processor makes.
 */
static inline bf16 nearest(float x) { return (bits_of(x) + 0x8000) >> 16; }

/* d numbers: without a call for the widths that heads mostly have. */
static inline void copy(bf16 *restrict to, const bf16 *restrict from, long d) {
  if (d == 64)
    memcpy(to, from, 64 * sizeof(bf16));
  else if (d == 128)
    memcpy(to, from, 128 * sizeof(bf16));
  else
    memcpy(to, from, d * sizeof(bf16));
}

/* Queries first to last of `queries`, of which those from `told` on are empty: all zeros.
 *
 * rows are in each block [2, groups, each * per_group, d], queries and then what their results are pulled by.
 * taken [2, queries * heads] is the same without d: normalisers, and then sums of pulled * out.
 */
void attention_queries(const bf16 *restrict query, long query_token, long query_head, const bf16 *restrict pulled,
                       long pulled_token, long pulled_head, const bf16 *restrict out, long out_token, long out_head,
                       const float *restrict normaliser, long normaliser_token, long normaliser_head,
                       bf16 *restrict rows, float *restrict taken, long first, long last, long told, long queries,
                       long each, long groups, long per_group, long d) {
  long heads = groups * per_group;
  for (long i = first; i < last; i++) {
    long start = i / each * each, size = queries - start < each ? queries - start : each;
    for (long g = 0; g < groups; g++)
      for (long h = 0; h < per_group; h++) {
        long head = g * per_group + h, row = (g * size + i - start) * per_group + h;
        bf16 *restrict to = rows + (2 * start * heads + row) * d, *restrict pull = to + size * heads * d;
        float *restrict of = taken + start * heads + row;
        if (i < told) {
          const bf16 *restrict by = pulled + i * pulled_token + head * pulled_head;
          const bf16 *restrict result = out + i * out_token + head * out_head;
          copy(to, query + i * query_token + head * query_head, d);
          copy(pull, by, d);
          float delta = 0;
          for (long c = 0; c < d; c++) delta += wide(by[c]) * wide(result[c]);
          of[0] = normaliser[i * normaliser_token + head * normaliser_head];
          of[queries * heads] = delta;
        } else {
          memset(to, 0, d * sizeof(bf16));
          memset(pull, 0, d * sizeof(bf16));
          of[0] = of[queries * heads] = 0;
        }
      }
  }
}

/* `count` keys and values from token `from` on, written to columns [2, groups, keys, d] from key `at` on. */
void attention_keys(const bf16 *restrict key, long key_token, long key_head, const bf16 *restrict value,
                    long value_token, long value_head, bf16 *restrict columns, long from, long at, long count,
                    long keys, long groups, long d) {
  for (long j = 0; j < count; j++)
    for (long g = 0; g < groups; g++) {
      bf16 *restrict to = columns + (g * keys + at + j) * d;
      copy(to, key + (from + j) * key_token + g * key_head, d);
      copy(to + groups * keys * d, value + (from + j) * value_token + g * value_head, d);
    }
}

/* scaling * P * (dP - delta) and P = exp(scaling * S - normaliser), in place of the products S and dP.
 *
 * products [2, all, keys], and rest what rounding took from them. Row r of `rows` in a group sees
 * before + r / per_group + 1 keys: of the others there are zeros. Rows first to last of all. Deltas are `deltas`
 * numbers behind the normalisers.
 */
void attention_scores(bf16 *restrict products, const bf16 *restrict rest, const float *restrict taken, long deltas,
                      long first, long last, long all, long rows, long keys, long before, long per_group,
                      float scaling) {
  const float log2e = 1.44269504f;
  for (long r = first; r < last; r++) {
    bf16 *restrict score = products + r * keys, *restrict pull = score + all * keys;
    const bf16 *restrict low_score = rest + r * keys, *restrict low_pull = low_score + all * keys;
    float normaliser = taken[r] * log2e, delta = taken[deltas + r];
    long seen = before + r % rows / per_group + 1;
    seen = seen < keys ? seen : keys;
    long whole = (seen + 15) / 16 * 16; /* so that loops end with a whole vector */
    whole = whole < keys ? whole : keys;
    for (long j = 0; j < whole; j++) {
      float p = power_of_two((wide(score[j]) + wide(low_score[j])) * (scaling * log2e) - normaliser);
      score[j] = nearest(p * (wide(pull[j]) + wide(low_pull[j]) - delta) * scaling);
      pull[j] = nearest(p);
    }
    memset(score + seen, 0, (keys - seen) * sizeof(bf16));
    memset(pull + seen, 0, (keys - seen) * sizeof(bf16));
  }
}

/* Gradients of a block's queries [groups, size * per_group, d]: the first `count` are written from token `from` on. */
void attention_of_queries(const bf16 *restrict of_rows, bf16 *restrict of_query, long of_token, long of_head, long from,
                          long count, long size, long groups, long per_group, long d) {
  for (long i = 0; i < count; i++)
    for (long g = 0; g < groups; g++)
      for (long h = 0; h < per_group; h++)
        copy(of_query + (from + i) * of_token + (g * per_group + h) * of_head,
             of_rows + ((g * size + i) * per_group + h) * d, d);
}

/* Gradients of keys and values [2, groups, keys, d]: `count` from key `at` on are added from token `from` on. */
void attention_of_keys(const bf16 *restrict of_columns, float *restrict of_key, long key_token, long key_head,
                       float *restrict of_value, long value_token, long value_head, long from, long at, long count,
                       long keys, long groups, long d) {
  for (long j = 0; j < count; j++)
    for (long g = 0; g < groups; g++) {
      const bf16 *restrict key = of_columns + (g * keys + at + j) * d, *restrict value = key + groups * keys * d;
      float *restrict to_key = of_key + (from + j) * key_token + g * key_head;
      float *restrict to_value = of_value + (from + j) * value_token + g * value_head;
      for (long c = 0; c < d; c++) to_key[c] += wide(key[c]);
      for (long c = 0; c < d; c++) to_value[c] += wide(value[c]);
    }
}
