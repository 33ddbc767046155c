/* Causal attention of the last queries of rows, and its gradient, head by head (branches.py says of which rows).
 *
 * Packed tensors are [tokens, heads, d] with strides in numbers, d contiguous. A row is six numbers: its keys are two
 * pieces of the packed axis, `first` with `count` and `second` with `more` tokens, which may be none; its last `told`
 * queries lie in one piece from `told_at` on. 32 queries at a time meet 32 keys, as far as one of them sees one. With S
 * the scaled scores, L their log-normalisers, P = exp(S - L), O = P V (Dao et al. 2022, 2205.14135, appendix B.2):
 *
 *     dV = P^T dO,   dS = P * (dO V^T - delta),   delta = rowsum(dO * O),   dQ = dS K,   dK = dS^T Q
 *
 * Products are sums in float32 of factors in bfloat16. Forward, all scores of a query are kept until their maximum is
 * known, so L and P are exact ones and not put together from parts; backward, they are made again block by block.
 */
#include "tiles.h"

#define CHUNK 128 /* queries whose P and dS are kept for dV and dK: these are read and written so much more rarely */
#define LOG2E 1.44269504f

/* 2^x of x <= 0, to 3e-6 of itself, which is less than bfloat16 rounds by a thousand times; of what is below -87 2^-87,
 * of NaN NaN. It is never too small to be a normal number, which would be slow.
 *
 * The polynomial is the one of least squares of the relative error over [-1/2, 1/2].
 */
static inline float power_of_two(float x) {
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

/* Rounded to nearest, ties away from zero: ties are rare here, and it takes two instructions instead of seven. NaN as
 * processors make it, quiet and without a payload, stays NaN.
 */
static inline bf16 nearest(float x) { return (bits_of(x) + 0x8000) >> 16; }

/* A piece of memory that others follow: `floats` numbers from where `room` points, which then points behind them. */
static inline float *taken(float **room, long floats) {
  float *here = *room;
  *room = here + (floats + 15) / 16 * 16;
  return here;
}

static inline bf16 *taken_half(float **room, long numbers) { return (bf16 *)taken(room, (numbers + 1) / 2); }

static inline float *aligned(float *room) { return (float *)(((uintptr_t)room + 63) / 64 * 64); }

/* What one head needs beside its tensors, of keys and widths in whole blocks. */
struct forward {
  bf16 *matrix, *keys, *values, *chances;
  float *scores, *results;
};

static float *lay_out_forward(struct forward *at, float *room, long keys, long width) {
  at->matrix = taken_half(&room, keys * width);
  at->keys = taken_half(&room, keys * width);
  at->values = taken_half(&room, keys * width);
  at->chances = taken_half(&room, BLOCK * (keys + APART));
  at->scores = taken(&room, BLOCK * (keys + APART));
  at->results = taken(&room, BLOCK * width);
  return room;
}

struct backward {
  bf16 *keys, *keys_turned, *values;                             /* of all keys, as matrices */
  bf16 *asked, *pulls;                                           /* of a chunk of queries, as matrices */
  bf16 *asked_turned, *pulls_turned, *asked_right, *pulls_right; /* and as tiles */
  bf16 *chances, *slopes;                                        /* [keys, chunk] */
  bf16 *slopes_right, *turned, *results;                         /* of a block: tiles, dQ^T and dQ */
  float *normalisers, *deltas, *scores, *slants, *of_keys, *of_values, *of_queries;
};

static float *lay_out_backward(struct backward *at, float *room, long keys, long width) {
  at->keys = taken_half(&room, keys * width);
  at->keys_turned = taken_half(&room, width * (keys + APART));
  at->values = taken_half(&room, keys * width);
  at->asked = taken_half(&room, CHUNK * width);
  at->pulls = taken_half(&room, CHUNK * width);
  at->asked_turned = taken_half(&room, CHUNK * width);
  at->pulls_turned = taken_half(&room, CHUNK * width);
  at->asked_right = taken_half(&room, CHUNK * width);
  at->pulls_right = taken_half(&room, CHUNK * width);
  at->chances = taken_half(&room, keys * CHUNK);
  at->slopes = taken_half(&room, keys * CHUNK);
  at->slopes_right = taken_half(&room, keys * BLOCK);
  at->turned = taken_half(&room, width * BLOCK);
  at->results = taken_half(&room, BLOCK * width);
  at->normalisers = taken(&room, CHUNK);
  at->deltas = taken(&room, CHUNK);
  at->scores = taken(&room, BLOCK * BLOCK);
  at->slants = taken(&room, BLOCK * BLOCK);
  at->of_queries = taken(&room, width * BLOCK);
  at->of_keys = taken(&room, keys * width);
  at->of_values = taken(&room, keys * width);
  return room;
}

/* How many floats of room a head needs forward and backward, alignment included. */
void attention_room(int64_t *floats, long held, long d) {
  struct forward forward;
  struct backward backward;
  float *nowhere = (float *)64;
  floats[0] = lay_out_forward(&forward, nowhere, blocked(held), blocked(d)) - nowhere + 16;
  floats[1] = lay_out_backward(&backward, nowhere, blocked(held), blocked(d)) - nowhere + 16;
}

/* Has products made in registers, if that is wanted and they are there: `so` is whether they are. */
void attention_registers(int64_t *so, long wanted) { *so = in_registers = wanted && ask_for_registers(); }

/* Tokens as rows [rows, width] of a matrix that zeros fill up, from row `at` on; d numbers each. */
static void gather(bf16 *restrict to, const bf16 *restrict from, long stride, long count, long width, long d) {
  for (long i = 0; i < count; i++) {
    memcpy(to + i * width, from + i * stride, d * sizeof(bf16));
    if (d < width) memset(to + i * width + d, 0, (width - d) * sizeof(bf16));
  }
}

static void fill(bf16 *to, long from, long rows, long width) {
  memset(to + from * width, 0, (rows - from) * width * sizeof(bf16));
}

/* The keys or values of a row. */
static void gather_row(bf16 *to, const bf16 *from, long stride, long first, long count, long second, long more,
                       long rows, long width, long d) {
  gather(to, from + first * stride, stride, count, width, d);
  gather(to + count * width, from + second * stride, stride, more, width, d);
  fill(to, count + more, rows, width);
}

static void narrowed(bf16 *restrict to, const float *restrict from, float factor, long count) {
  for (long c = 0; c < count; c++) to[c] = narrow(from[c] * factor);
}

/* A float as an integer, in the same order. */
static inline int32_t ordered(uint32_t bits) { return (int32_t)(bits ^ ((uint32_t)((int32_t)bits >> 31) >> 1)); }

/* P of one query, not divided by its sum, which is returned; it sees the first `sees` scores of `keys`, whole blocks. */
static float chances_of(bf16 *restrict to, float *restrict scores, long sees, long keys, float scaling,
                        float *restrict largest) {
  keys &= -BLOCK; /* for the compiler, which then leaves out what is for other sizes */
  for (long s = sees; s < keys; s++) scores[s] = -INFINITY;
  int32_t most = INT32_MIN; /* compilers split maxima of integers by themselves, none of floats */
  for (long s = 0; s < keys; s++) {
    int32_t score = ordered(bits_of(scores[s]));
    most = score > most ? score : most;
  }
  float top = float_of(ordered(most)), sum = 0;
  for (long s = 0; s < keys; s++) {
    float p = power_of_two((scores[s] - top) * scaling); /* so that it is at most 2^0, whatever is rounded */
    sum += p;
    to[s] = nearest(p);
  }
  memset(to + sees, 0, (keys - sees) * sizeof(bf16)); /* 2^-87 before, which a sum of 1 and more does not notice */
  *largest = top * scaling;
  return sum;
}

/* Results of rows' queries, and their log-normalisers, of heads first_head to last_head. */
void attention_forward(const bf16 *query, long query_token, long query_head, const bf16 *key, long key_token,
                       long key_head, const bf16 *value, long value_token, long value_head, bf16 *out, long out_token,
                       long out_head, float *normaliser, long normaliser_token, long normaliser_head, float *room,
                       const int64_t *rows, long of_rows, long first_head, long last_head, long per_group, long d,
                       float scaling) {
  begin_products();
  for (const int64_t *row = rows; row < rows + 6 * of_rows; row += 6) {
    long first = row[0], count = row[1], second = row[2], more = row[3], told_at = row[4], told = row[5];
    long held = count + more, keys = blocked(held), width = blocked(d), steps = width / BLOCK, apart = keys | APART;
    struct forward at;
    lay_out_forward(&at, aligned(room), keys, width);
    for (long head = first_head; head < last_head; head++) {
      if (head == first_head || head % per_group == 0) {
        long g = head / per_group;
        gather_row(at.matrix, key + g * key_head, key_token, first, count, second, more, keys, width, d);
        tile_right_turned(at.keys, at.matrix, keys, width);
        gather_row(at.matrix, value + g * value_head, value_token, first, count, second, more, keys, width, d);
        tile_right(at.values, at.matrix, keys, width);
      }
      for (long start = 0; start < told; start += BLOCK) {
        long here = told - start < BLOCK ? told - start : BLOCK, before = held - told + start;
        long seen = blocked(before + here), token = told_at + start;
        gather(at.matrix, query + token * query_token + head * query_head, query_token, here, width, d);
        fill(at.matrix, here, BLOCK, width); /* whatever numbers: they are not told, but they might be slow ones */
        for (long j = 0; j < seen; j += BLOCK)
          multiply(at.scores + j, apart, at.matrix, width, at.keys + j / 16 * steps * TILE, steps * TILE, steps, 0);
        float sums[BLOCK], largest[BLOCK];
        for (long i = 0; i < BLOCK; i++) {
          long sees = before + i + 1 < held ? before + i + 1 : held; /* those that fill up see all */
          sums[i] = chances_of(at.chances + i * apart, at.scores + i * apart, sees < seen ? sees : seen, seen,
                               scaling * LOG2E, largest + i);
        }
        for (long c = 0; c < width; c += BLOCK)
          multiply(at.results + c, width, at.chances, apart, at.values + c / 16 * (keys / 32) * TILE, keys / 32 * TILE,
                   seen / 32, 0);
        for (long i = 0; i < here; i++) {
          narrowed(out + (token + i) * out_token + head * out_head, at.results + i * width, 1 / sums[i], d);
          normaliser[(token + i) * normaliser_token + head * normaliser_head] = largest[i] / LOG2E + logf(sums[i]);
        }
      }
    }
  }
  end_products();
}

/* dS of one key and query, of products with key and value; *p is P. */
static inline float slope_of(float score, float slant, float normaliser, float delta, float scaling, int sees,
                             float *p) {
  float x = score * (scaling * LOG2E) - normaliser;
  float chance = power_of_two(x > 0.0f ? 0.0f : x); /* above 0 by what is rounded off, of huge scores by a lot */
  float slope = chance * (slant - delta) * scaling;
  *p = sees ? chance : 0.0f;
  return sees ? slope : 0.0f;
}

/* P and dS of 32 keys (rows) and 32 queries: as matrices, and dS as a right factor (along keys). The first key is that of
 * query `ahead`, which may be negative: earlier ones do not see it. `all`: every query sees every key.
 */
static inline void slopes_of(const float *restrict scores, const float *restrict slants,
                             const float *restrict normalisers, const float *restrict deltas, long ahead, int all,
                             float scaling, bf16 *restrict chances, bf16 *restrict slopes, bf16 *restrict right,
                             long right_next) {
  for (int k = 0; k < BLOCK; k += 2)
    for (int half = 0; half < BLOCK; half += 16) {
      const float *restrict score = scores + k * BLOCK + half, *restrict slant = slants + k * BLOCK + half;
      const float *restrict normaliser = normalisers + half, *restrict delta = deltas + half;
      bf16 *restrict p_to = chances + k * CHUNK + half, *restrict s_to = slopes + k * CHUNK + half;
      bf16 *restrict pairs = right + half / 16 * right_next + k / 2 * 32;
      int from = (int)ahead + k - half; /* the first query that sees the first of two keys */
      for (int q = 0; q < 16; q++) {
        float p, p_next;
        float s = slope_of(score[q], slant[q], normaliser[q], delta[q], scaling, all || q >= from, &p);
        float s_next = slope_of(score[BLOCK + q], slant[BLOCK + q], normaliser[q], delta[q], scaling, all || q > from,
                                &p_next);
        p_to[q] = nearest(p);
        p_to[CHUNK + q] = nearest(p_next);
        s_to[q] = nearest(s);
        s_to[CHUNK + q] = nearest(s_next);
        uint32_t both = (uint32_t)nearest(s_next) << 16 | nearest(s);
        memcpy(pairs + 2 * q, &both, 4);
      }
    }
}

/* The gradient of rows' queries is written, those of their keys and values are added in float32. */
void attention_backward(const bf16 *query, long query_token, long query_head, const bf16 *key, long key_token,
                        long key_head, const bf16 *value, long value_token, long value_head, const bf16 *out,
                        long out_token, long out_head, const float *normaliser, long normaliser_token,
                        long normaliser_head, const bf16 *pulled, long pulled_token, long pulled_head, bf16 *of_query,
                        long of_query_token, long of_query_head, float *of_key, long of_key_token, long of_key_head,
                        float *of_value, long of_value_token, long of_value_head, float *room, const int64_t *rows,
                        long of_rows, long first_group, long last_group, long per_group, long d, float scaling) {
  begin_products();
  for (const int64_t *row = rows; row < rows + 6 * of_rows; row += 6) {
    long first = row[0], count = row[1], second = row[2], more = row[3], told_at = row[4], told = row[5];
    long held = count + more, keys = blocked(held), width = blocked(d), steps = width / BLOCK, apart = keys | APART;
    long along_keys = keys / 32 * TILE, along_width = steps * TILE;
    struct backward at;
    lay_out_backward(&at, aligned(room), keys, width);
    for (long g = first_group; g < last_group; g++) {
      gather_row(at.values, value + g * value_head, value_token, first, count, second, more, keys, width, d);
      gather_row(at.keys, key + g * key_head, key_token, first, count, second, more, keys, width, d);
      turn(at.keys_turned, apart, at.keys, keys, width);
      memset(at.of_keys, 0, keys * width * sizeof(float));
      memset(at.of_values, 0, keys * width * sizeof(float));
      for (long head = g * per_group; head < (g + 1) * per_group; head++)
        for (long from = 0; from < told; from += CHUNK) {
          long here = told - from < CHUNK ? told - from : CHUNK, filled = blocked(here), before = held - told + from;
          long along_chunk = filled / 32 * TILE, token = told_at + from;
          gather(at.asked, query + token * query_token + head * query_head, query_token, here, width, d);
          gather(at.pulls, pulled + token * pulled_token + head * pulled_head, pulled_token, here, width, d);
          fill(at.asked, here, filled, width);
          fill(at.pulls, here, filled, width);
          tile_right_turned(at.asked_turned, at.asked, filled, width);
          tile_right_turned(at.pulls_turned, at.pulls, filled, width);
          tile_right(at.asked_right, at.asked, filled, width);
          tile_right(at.pulls_right, at.pulls, filled, width);
          for (long i = 0; i < filled; i++) at.normalisers[i] = at.deltas[i] = 0;
          for (long i = 0; i < here; i++) {
            const bf16 *restrict result = out + (token + i) * out_token + head * out_head;
            const bf16 *restrict by = at.pulls + i * width;
            float delta = 0;
            for (long c = 0; c < d; c++) delta += wide(by[c]) * wide(result[c]);
            at.deltas[i] = delta;
            at.normalisers[i] = normaliser[(token + i) * normaliser_token + head * normaliser_head] * LOG2E;
          }
          for (long start = 0; start < filled; start += BLOCK) {
            long seen = blocked(before + start + BLOCK < held ? before + start + BLOCK : held);
            const float *normalisers = at.normalisers + start, *deltas = at.deltas + start;
            const bf16 *asked = at.asked_turned + start / 16 * along_width;
            const bf16 *pulls = at.pulls_turned + start / 16 * along_width;
            for (long j = 0; j < seen; j += BLOCK) {
              multiply(at.scores, BLOCK, at.keys + j * width, width, asked, along_width, steps, 0);
              multiply(at.slants, BLOCK, at.values + j * width, width, pulls, along_width, steps, 0);
              long ahead = j - before - start;
              bf16 *chances = at.chances + j * CHUNK + start, *slopes = at.slopes + j * CHUNK + start;
              bf16 *right = at.slopes_right + j / 32 * TILE;
              if (ahead + BLOCK > 1)
                slopes_of(at.scores, at.slants, normalisers, deltas, ahead, 0, scaling, chances, slopes, right,
                          along_keys);
              else /* a call of its own, so that compilers leave out the comparisons of who sees whom */
                slopes_of(at.scores, at.slants, normalisers, deltas, ahead, 1, scaling, chances, slopes, right,
                          along_keys);
            }
            for (long c = 0; c < width; c += BLOCK)
              multiply(at.of_queries + c * BLOCK, BLOCK, at.keys_turned + c * apart, apart, at.slopes_right, along_keys,
                       seen / 32, 0);
            narrowed(at.turned, at.of_queries, 1, width * BLOCK);
            turn(at.results, width, at.turned, width, BLOCK);
            for (long i = 0; i < BLOCK && start + i < here; i++)
              memcpy(of_query + (token + start + i) * of_query_token + head * of_query_head, at.results + i * width,
                     d * sizeof(bf16));
          }
          for (long j = 0; j < keys && j < before + here; j += BLOCK) {
            long start = j < before ? 0 : (j - before) / BLOCK * BLOCK; /* the first block with a query that sees one */
            const bf16 *chances = at.chances + j * CHUNK + start, *slopes = at.slopes + j * CHUNK + start;
            for (long c = 0; c < width; c += BLOCK) {
              long column = c / 16 * along_chunk + start / 32 * TILE;
              multiply(at.of_keys + j * width + c, width, slopes, CHUNK, at.asked_right + column, along_chunk,
                       (filled - start) / 32, 1);
              multiply(at.of_values + j * width + c, width, chances, CHUNK, at.pulls_right + column, along_chunk,
                       (filled - start) / 32, 1);
            }
          }
        }
      for (long j = 0; j < held; j++) {
        long token = j < count ? first + j : second + j - count;
        float *restrict to_key = of_key + token * of_key_token + g * of_key_head;
        float *restrict to_value = of_value + token * of_value_token + g * of_value_head;
        for (long c = 0; c < d; c++) to_key[c] += at.of_keys[j * width + c];
        for (long c = 0; c < d; c++) to_value[c] += at.of_values[j * width + c];
      }
    }
  }
  end_products();
}
