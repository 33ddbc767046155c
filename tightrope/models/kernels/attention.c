/* Causal attention of the last queries of a row, and its gradient, head by head (branches.py says of which rows).
 *
 * Packed tensors are [tokens, heads, d] with strides in numbers, d contiguous. The keys of a row are those of
 * two pieces of the packed axis, the second of which may be empty; `told` queries are the last of the row. 32 of them
 * at a time meet 32 keys, as far as one of them sees one. With S the scaled scores, L their log-normalisers,
 * P = exp(S - L), O = P V (Dao et al. 2022, 2205.14135, appendix B.2):
 *
 *     dV = P^T dO,   dS = P * (dO V^T - delta),   delta = rowsum(dO * O),   dQ = dS K,   dK = dS^T Q
 *
 * Products are sums in float32 of factors in bfloat16. Forward, all scores of a query are kept until their maximum is
 * known, so L and P are exact ones and not put together from parts; backward, they are made again block by block.
 */
#include "tiles.h"

#define CHUNK 128 /* queries whose P and dS are kept for dV and dK: these are read and written so much more rarely */
#define LOG2E 1.44269504f

/* 2^x to 3e-6 of itself, which is less than bfloat16 rounds by a thousand times; of what is below -87 2^-87, of what is
 * above 126 2^126, of NaN NaN. It is never too small to be a normal number, which would be slow.
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
  bf16 *matrix, *keys, *values, *queries, *chances;
  float *scores, *results;
};

static float *lay_out_forward(struct forward *at, float *room, long keys, long width) {
  at->matrix = taken_half(&room, keys * width);
  at->keys = taken_half(&room, keys * width);
  at->values = taken_half(&room, keys * width);
  at->queries = taken_half(&room, BLOCK * width);
  at->chances = taken_half(&room, BLOCK * keys);
  at->scores = taken(&room, BLOCK * keys);
  at->results = taken(&room, BLOCK * width);
  return room;
}

struct backward {
  bf16 *matrix, *keys, *keys_turned, *values;                    /* of all keys */
  bf16 *asked, *pulls;                                           /* of a chunk of queries, as matrices */
  bf16 *asked_turned, *pulls_turned, *asked_right, *pulls_right; /* and as tiles */
  bf16 *chances, *slopes, *slopes_right;                         /* of keys and a chunk; the last one of a block */
  float *normalisers, *deltas, *scores, *slants, *of_keys, *of_values;
  float *of_queries, *result; /* of a block, [width, queries], and of one query */
};

static float *lay_out_backward(struct backward *at, float *room, long keys, long width) {
  at->matrix = taken_half(&room, keys * width);
  at->keys = taken_half(&room, keys * width);
  at->keys_turned = taken_half(&room, keys * width);
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
  at->normalisers = taken(&room, CHUNK);
  at->deltas = taken(&room, CHUNK);
  at->scores = taken(&room, BLOCK * BLOCK);
  at->slants = taken(&room, BLOCK * BLOCK);
  at->of_queries = taken(&room, width * BLOCK);
  at->result = taken(&room, width);
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

/* P of one query in tiles, not divided by its sum, which is returned; it sees the first `seen` of `keys` scores. */
static float chances_of(bf16 *restrict to, const float *restrict scores, long seen, long keys, float scaling,
                     float *restrict largest) {
  float lanes[BLOCK], most = scores[0] * scaling, sum = 0; /* compilers split sums by themselves, no maxima */
  for (int n = 0; n < BLOCK; n++) lanes[n] = most;
  for (int s = 0; s < seen; s += BLOCK)
    for (int n = 0; n < BLOCK; n++) {
      float score = s + n < seen ? scores[s + n] * scaling : most;
      lanes[n] = score > lanes[n] ? score : lanes[n];
    }
  for (int n = 0; n < BLOCK; n++) most = lanes[n] > most ? lanes[n] : most;
  for (int s = 0; s < keys; s += BLOCK) {
    bf16 *restrict tile = to + s / BLOCK * TILE;
    for (int n = 0; n < BLOCK; n++) {
      float p = power_of_two(scores[s + n] * scaling - most);
      p = s + n < seen ? p : 0.0f;
      sum += p;
      tile[n] = nearest(p);
    }
  }
  *largest = most;
  return sum;
}

/* Results of `told` queries, and their log-normalisers, of heads first_head to last_head. */
void attention_forward(const bf16 *query, long query_token, long query_head, const bf16 *key, long key_token,
                       long key_head, const bf16 *value, long value_token, long value_head, bf16 *out, long out_token,
                       long out_head, float *normaliser, long normaliser_token, long normaliser_head, float *room,
                       long first, long count, long second, long more, long told, long first_head, long last_head,
                       long per_group, long d, float scaling) {
  long held = count + more, keys = blocked(held), width = blocked(d), steps = width / BLOCK;
  struct forward at;
  lay_out_forward(&at, aligned(room), keys, width);
  begin_products();
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
      long seen = blocked(before + here);
      gather(at.matrix, query + start * query_token + head * query_head, query_token, here, width, d);
      fill(at.matrix, here, BLOCK, width);
      tile_left(at.queries, at.matrix, BLOCK, width);
      for (long j = 0; j < seen; j += BLOCK)
        multiply(at.scores + j, keys, at.queries, steps * TILE, at.keys + j / 16 * steps * TILE, steps * TILE, steps,
                 0);
      float sums[BLOCK], largest[BLOCK];
      for (long i = 0; i < BLOCK; i++) {
        long sees = before + i + 1 < held ? before + i + 1 : held; /* those that fill up see all */
        bf16 *to = at.chances + i / 16 * (keys / 32) * TILE + i % 16 * 32;
        sums[i] = chances_of(to, at.scores + i * keys, sees < seen ? sees : seen, seen, scaling * LOG2E, largest + i);
      }
      for (long c = 0; c < width; c += BLOCK)
        multiply(at.results + c, width, at.chances, keys / 32 * TILE, at.values + c / 16 * (keys / 32) * TILE,
                 keys / 32 * TILE, seen / 32, 0);
      for (long i = 0; i < here; i++) {
        narrowed(out + (start + i) * out_token + head * out_head, at.results + i * width, 1 / sums[i], d);
        normaliser[(start + i) * normaliser_token + head * normaliser_head] = largest[i] / LOG2E + logf(sums[i]);
      }
    }
  }
  end_products();
}

/* P and dS of 32 keys (rows) and 32 queries, of products with keys and values: both as left factors, dS as a right one
 * (along keys), too. The first key is that of query `ahead`, which may be negative: earlier ones do not see it.
 */
static void slopes_of(const float *restrict scores, const float *restrict slants, const float *restrict normalisers,
                   const float *restrict deltas, long ahead, float scaling, bf16 *restrict p_left,
                   bf16 *restrict s_left, bf16 *restrict s_right, long next, long next_right) {
  for (int j = 0; j < BLOCK; j += 2) {
    uint32_t woven[BLOCK];
    for (int odd = 0; odd < 2; odd++) {
      int k = j + odd;
      bf16 *restrict p_to = p_left + k / 16 * next + k % 16 * 32;
      bf16 *restrict s_to = s_left + k / 16 * next + k % 16 * 32;
      int from = ahead + k; /* the first query that sees it */
      for (int q = 0; q < BLOCK; q++) {
        float p = power_of_two(scores[k * BLOCK + q] * (scaling * LOG2E) - normalisers[q]);
        p = q >= from ? p : 0.0f;
        float slope = p * (slants[k * BLOCK + q] - deltas[q]) * scaling;
        slope = q >= from ? slope : 0.0f;
        bf16 rounded = nearest(slope);
        p_to[q] = nearest(p);
        s_to[q] = rounded;
        woven[q] = odd ? woven[q] | (uint32_t)rounded << 16 : rounded;
      }
    }
    memcpy(s_right + j / 2 * 32, woven, 64);
    memcpy(s_right + next_right + j / 2 * 32, woven + 16, 64);
  }
}

/* The gradient of `told` queries is written, those of the row's keys and values are added in float32. */
void attention_backward(const bf16 *query, long query_token, long query_head, const bf16 *key, long key_token,
                        long key_head, const bf16 *value, long value_token, long value_head, const bf16 *out,
                        long out_token, long out_head, const float *normaliser, long normaliser_token,
                        long normaliser_head, const bf16 *pulled, long pulled_token, long pulled_head, bf16 *of_query,
                        long of_query_token, long of_query_head, float *of_key, long of_key_token, long of_key_head,
                        float *of_value, long of_value_token, long of_value_head, float *room, long first, long count,
                        long second, long more, long told, long first_group, long last_group, long per_group, long d,
                        float scaling) {
  long held = count + more, keys = blocked(held), width = blocked(d), steps = width / BLOCK;
  long along_keys = keys / 32 * TILE, along_width = steps * TILE, along_chunk = CHUNK / 32 * TILE;
  struct backward at;
  lay_out_backward(&at, aligned(room), keys, width);
  begin_products();
  for (long g = first_group; g < last_group; g++) {
    gather_row(at.matrix, value + g * value_head, value_token, first, count, second, more, keys, width, d);
    tile_left(at.values, at.matrix, keys, width);
    gather_row(at.matrix, key + g * key_head, key_token, first, count, second, more, keys, width, d);
    tile_left(at.keys, at.matrix, keys, width);
    tile_left_turned(at.keys_turned, at.matrix, keys, width);
    memset(at.of_keys, 0, keys * width * sizeof(float));
    memset(at.of_values, 0, keys * width * sizeof(float));
    for (long head = g * per_group; head < (g + 1) * per_group; head++)
      for (long from = 0; from < told; from += CHUNK) {
        long here = told - from < CHUNK ? told - from : CHUNK, filled = blocked(here), before = held - told + from;
        const bf16 *asked = query + from * query_token + head * query_head;
        const bf16 *pulls = pulled + from * pulled_token + head * pulled_head;
        gather(at.asked, asked, query_token, here, width, d);
        gather(at.pulls, pulls, pulled_token, here, width, d);
        fill(at.asked, here, filled, width);
        fill(at.pulls, here, filled, width);
        tile_right_turned(at.asked_turned, at.asked, filled, width);
        tile_right_turned(at.pulls_turned, at.pulls, filled, width);
        tile_right(at.asked_right, at.asked, filled, width);
        tile_right(at.pulls_right, at.pulls, filled, width);
        for (long i = 0; i < filled; i++) at.normalisers[i] = at.deltas[i] = 0;
        for (long i = 0; i < here; i++) {
          const bf16 *restrict result = out + (from + i) * out_token + head * out_head;
          const bf16 *restrict by = at.pulls + i * width;
          float delta = 0;
          for (long c = 0; c < d; c++) delta += wide(by[c]) * wide(result[c]);
          at.deltas[i] = delta;
          at.normalisers[i] = normaliser[(from + i) * normaliser_token + head * normaliser_head] * LOG2E;
        }
        for (long start = 0; start < filled; start += BLOCK) {
          long seen = blocked(before + start + BLOCK < held ? before + start + BLOCK : held);
          for (long j = 0; j < seen; j += BLOCK) {
            long rows = j / 16 * along_width, columns = start / 16 * along_width;
            long tile = j / 16 * along_chunk + start / 32 * TILE;
            multiply(at.scores, BLOCK, at.keys + rows, along_width, at.asked_turned + columns, along_width, steps, 0);
            multiply(at.slants, BLOCK, at.values + rows, along_width, at.pulls_turned + columns, along_width, steps, 0);
            slopes_of(at.scores, at.slants, at.normalisers + start, at.deltas + start, j - before - start, scaling,
                   at.chances + tile, at.slopes + tile, at.slopes_right + j / 32 * TILE, along_chunk, along_keys);
          }
          for (long c = 0; c < width; c += BLOCK)
            multiply(at.of_queries + c * BLOCK, BLOCK, at.keys_turned + c / 16 * along_keys, along_keys,
                     at.slopes_right, along_keys, seen / 32, 0);
          for (long i = 0; i < BLOCK && start + i < here; i++) {
            for (long c = 0; c < width; c++) at.result[c] = at.of_queries[c * BLOCK + i];
            narrowed(of_query + (from + start + i) * of_query_token + head * of_query_head, at.result, 1, d);
          }
        }
        for (long j = 0; j < keys && j < before + here; j += BLOCK) {
          long start = j < before ? 0 : (j - before) / BLOCK * BLOCK; /* the first block with a query that sees one */
          long tile = j / 16 * along_chunk + start / 32 * TILE, next = filled / 32 * TILE;
          for (long c = 0; c < width; c += BLOCK) {
            long column = c / 16 * next + start / 32 * TILE;
            multiply(at.of_keys + j * width + c, width, at.slopes + tile, along_chunk, at.asked_right + column, next,
                     (filled - start) / 32, 1);
            multiply(at.of_values + j * width + c, width, at.chances + tile, along_chunk, at.pulls_right + column, next,
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
  end_products();
}
