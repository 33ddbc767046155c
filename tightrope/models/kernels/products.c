/* What goes before a product: a matrix on its side. */
#include "turned.h"

#define WIDE 32 /* columns that are read together: a line of the cache */

/* Columns first to last of x [rows, n], as rows of [n, rows]. Where these are a power of two apart it takes a tenth longer
 * than band by band of x, elsewhere a sixth less.
 */
void transpose(const bf16 *restrict x, bf16 *restrict to, long rows, long n, long first, long last) {
  long whole_rows = rows / 16 * 16, whole = first + (last - first) / 16 * 16;
  for (long left = first; left < whole; left += WIDE)
    for (long r = 0; r < whole_rows; r += 16)
      for (long c = left; c < whole && c < left + WIDE; c += 16) on_its_side(x + r * n + c, n, to + c * rows + r, rows);
  for (long r = 0; r < rows; r++)
    for (long c = r < whole_rows ? whole : first; c < last; c++) to[c * rows + r] = x[r * n + c];
}
