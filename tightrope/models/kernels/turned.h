/* A matrix on its side, 16 rows by 16 columns at a time. */
#include "common.h"

#ifdef __clang__
#define SHUFFLED(vector, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else /* gcc has that name since 12 only */
#define SHUFFLED(vector, a, b, ...) __builtin_shuffle(a, b, (vector){__VA_ARGS__})
#endif

typedef uint16_t sixteen __attribute__((vector_size(32)));
typedef uint32_t sixteen_pairs __attribute__((vector_size(64)));

/* 16 rows, `from` numbers apart, become 16 columns: the halves of rows i and i + 8 go together, then the numbers within
 * halves are shuffled into each other three times, like halves of a deck. Shuffles within halves are the cheap ones.
 */
static inline void on_its_side(const bf16 *restrict x, long from, bf16 *restrict to, long over) {
  sixteen now[16], next[16];
  for (int i = 0; i < 16; i++) memcpy(&next[i], x + i * from, sizeof *next);
  for (int i = 0; i < 8; i++) {
    sixteen a = next[i], b = next[i + 8];
    now[i] = SHUFFLED(sixteen, a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    now[i + 8] = SHUFFLED(sixteen, a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
  for (int round = 0; round < 3; round++) {
    for (int top = 0; top < 16; top += 8)
      for (int i = 0; i < 4; i++) {
        sixteen a = now[top + i], b = now[top + i + 4];
        next[top + 2 * i] = SHUFFLED(sixteen, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 8, 24, 9, 25, 10, 26, 11, 27);
        next[top + 2 * i + 1] = SHUFFLED(sixteen, a, b, 4, 20, 5, 21, 6, 22, 7, 23, 12, 28, 13, 29, 14, 30, 15, 31);
      }
    memcpy(now, next, sizeof now);
  }
  for (int i = 0; i < 16; i++) memcpy(to + i * over, &now[i], sizeof *now);
}

/* The same of pairs of numbers. */
static inline void pairs_on_their_side(const uint32_t *restrict x, long from, uint32_t *restrict to, long over) {
  sixteen_pairs now[16], next[16];
  for (int i = 0; i < 16; i++) memcpy(&now[i], x + i * from, sizeof *now);
  for (int round = 0; round < 4; round++) {
    for (int i = 0; i < 8; i++) {
      sixteen_pairs a = now[i], b = now[i + 8];
      next[2 * i] = SHUFFLED(sixteen_pairs, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      next[2 * i + 1] = SHUFFLED(sixteen_pairs, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
    memcpy(now, next, sizeof now);
  }
  for (int i = 0; i < 16; i++) memcpy(to + i * over, &now[i], sizeof *now);
}
