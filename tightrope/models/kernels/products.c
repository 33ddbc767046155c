/* What goes before a product: a matrix on its side. */
#include "common.h"

typedef bf16 sixteen __attribute__((vector_size(32)));

#ifdef __clang__
#define SHUFFLED(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else /* gcc has that name since 12 only */
#define SHUFFLED(a, b, ...) __builtin_shuffle(a, b, (sixteen){__VA_ARGS__})
#endif
#define HIGH 64 /* rows whose columns are written together, so that a line of the cache is written once */

/* 16 rows become 16 columns: four times, row i and row i + 8 are shuffled into each other like halves of a deck. */
static inline void on_its_side(const bf16 *restrict x, long from, bf16 *restrict to, long over) {
  sixteen now[16], next[16];
  for (int i = 0; i < 16; i++) memcpy(&now[i], x + i * from, sizeof *now);
  for (int round = 0; round < 4; round++) {
    for (int i = 0; i < 8; i++) {
      sixteen a = now[i], b = now[i + 8];
      next[2 * i] = SHUFFLED(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      next[2 * i + 1] = SHUFFLED(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
    memcpy(now, next, sizeof now);
  }
  for (int i = 0; i < 16; i++) memcpy(to + i * over, &now[i], sizeof *now);
}

/* Columns first to last of x [rows, n], as rows of [n, rows]. */
void transpose(const bf16 *restrict x, bf16 *restrict to, long rows, long n, long first, long last) {
  long whole_rows = rows / 16 * 16, whole = first + (last - first) / 16 * 16;
  for (long top = 0; top < whole_rows; top += HIGH)
    for (long c = first; c < whole; c += 16)
      for (long r = top; r < whole_rows && r < top + HIGH; r += 16) on_its_side(x + r * n + c, n, to + c * rows + r, rows);
  for (long r = 0; r < rows; r++)
    for (long c = r < whole_rows ? whole : first; c < last; c++) to[c * rows + r] = x[r * n + c];
}
