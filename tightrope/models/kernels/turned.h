/* A matrix on its side, 16 rows by 16 columns at a time. */
#include "common.h"

#ifdef __clang__
#define SHUFFLED(vector, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else /* gcc has that name since 12 only */
#define SHUFFLED(vector, a, b, ...) __builtin_shuffle(a, b, (vector){__VA_ARGS__})
#endif

/* 16 rows, `from` numbers apart, become 16 columns: four times, row i and row i + 8 are shuffled into each other like
 * halves of a deck.
 */
#define ON_ITS_SIDE(name, number, vector)                                                                             \
  typedef number vector __attribute__((vector_size(16 * sizeof(number))));                                            \
  static inline void name(const void *restrict x, long from, void *restrict to, long over) {                          \
    vector now[16], next[16];                                                                                         \
    for (int i = 0; i < 16; i++) memcpy(&now[i], (const number *)x + i * from, sizeof *now);                          \
    for (int round = 0; round < 4; round++) {                                                                         \
      for (int i = 0; i < 8; i++) {                                                                                   \
        vector a = now[i], b = now[i + 8];                                                                            \
        next[2 * i] = SHUFFLED(vector, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);                 \
        next[2 * i + 1] = SHUFFLED(vector, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);       \
      }                                                                                                               \
      memcpy(now, next, sizeof now);                                                                                  \
    }                                                                                                                 \
    for (int i = 0; i < 16; i++) memcpy((number *)to + i * over, &now[i], sizeof *now);                               \
  }

ON_ITS_SIDE(on_its_side, uint16_t, sixteen)
