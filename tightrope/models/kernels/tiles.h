/* Products of 32 x 32 numbers of bfloat16, in a processor's matrix registers (AMX) where it has some.
 *
 * A left factor [rows, k] is a matrix as it lies. A right factor [k, columns] is tiles of 32 x 16 numbers, those along
 * k one behind the other, and two numbers that follow each other along k side by side.
 */
#include "turned.h"

#if defined(__AMX_BF16__) && defined(__linux__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#define MATRIX_REGISTERS 1
#endif

#define BLOCK 32 /* rows and columns of a product, and numbers along k of a tile */
#define TILE 512 /* numbers */
#define APART 32 /* long rows are an odd number of it apart: with powers of two they would share few sets of a cache */

/* How many numbers there are with those that fill the last block. */
static inline long blocked(long size) { return (size + BLOCK - 1) / BLOCK * BLOCK; }

static int in_registers; /* whether products are: one unit includes this file, and sets it */

/* Whether there are such registers and Linux, which a process has to ask, grants their use. */
static inline int ask_for_registers(void) {
#ifdef MATRIX_REGISTERS
  const long request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
  return syscall(SYS_arch_prctl, request, tile_data) == 0;
#else
  return 0;
#endif
}

/* Before the first product of a function. The shapes are a constant: gcc 12 thinks that 8 bytes of them are read, and
 * leaves out what is written to the rest of a variable.
 */
static inline void begin_products(void) {
#ifdef MATRIX_REGISTERS
  static const struct {
    uint8_t palette, start, nothing[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } shapes = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
  if (in_registers) _tile_loadconfig(&shapes);
#endif
}

/* Behind the last. */
static inline void end_products(void) {
#ifdef MATRIX_REGISTERS
  if (in_registers) _tile_release();
#endif
}

/* c [16, 16] += 16 x 32 numbers of the left factor times a tile of the right one, for `steps` of them. Slow, and for
 * tests only: without these registers torch's kernel computes attention.
 */
static void multiply_plain(float *restrict c, long row, const bf16 *restrict a, long apart, const bf16 *restrict b,
                           long steps) {
  for (long i = 0; i < 16; i += 4) {
    float sums[4][16];
    for (int r = 0; r < 4; r++)
      for (int n = 0; n < 16; n++) sums[r][n] = c[(i + r) * row + n];
    for (long s = 0; s < steps; s++)
      for (int p = 0; p < 16; p++)
        for (int r = 0; r < 4; r++) {
          const bf16 *left = a + s * BLOCK + (i + r) * apart + 2 * p, *right = b + s * TILE + p * 32;
          float even = wide(left[0]), odd = wide(left[1]);
          for (int n = 0; n < 16; n++) {
            uint32_t both;
            memcpy(&both, right + 2 * n, 4);
            sums[r][n] += even * float_of(both << 16) + odd * float_of(both & 0xffff0000u);
          }
        }
    for (int r = 0; r < 4; r++)
      for (int n = 0; n < 16; n++) c[(i + r) * row + n] = sums[r][n];
  }
}

/* c [32, 32], of rows of `row` numbers, is or (add) gets more by left times right over `steps` tiles along k. The left
 * factor's rows are `left_row` numbers apart; the second 16 columns of the right one are `right_next` behind the first.
 */
static void multiply(float *c, long row, const bf16 *left, long left_row, const bf16 *right, long right_next, long steps,
                     int add) {
#ifdef MATRIX_REGISTERS
  if (in_registers) {
    long bytes = row * sizeof(float);
    float *lower = c + 16 * row;
    __asm__ volatile("" ::: "memory"); /* gcc 12 does not know that loads of tiles read memory */
    if (add) {
      _tile_loadd(0, c, bytes);
      _tile_loadd(1, c + 16, bytes);
      _tile_loadd(2, lower, bytes);
      _tile_loadd(3, lower + 16, bytes);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
    long left_bytes = left_row * sizeof(bf16);
    for (long s = 0; s < steps; s++, left += BLOCK, right += TILE) {
      _tile_loadd(4, left, left_bytes);
      _tile_loadd(6, right, 64);
      _tile_loadd(7, right + right_next, 64);
      _tile_loadd(5, left + 16 * left_row, left_bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, bytes);
    _tile_stored(1, c + 16, bytes);
    _tile_stored(2, lower, bytes);
    _tile_stored(3, lower + 16, bytes);
    return;
  }
#endif
  for (long i = 0; i < 2; i++)
    for (long j = 0; j < 2; j++) {
      float *part = c + 16 * i * row + 16 * j;
      if (!add)
        for (long r = 0; r < 16; r++) memset(part + r * row, 0, 16 * sizeof(float));
      multiply_plain(part, row, left + 16 * i * left_row, left_row, right + j * right_next, steps);
    }
}

/* A matrix x [rows, width], both in whole blocks, on its side: its rows are now `over` numbers apart. */
static void turn(bf16 *restrict to, long over, const bf16 *restrict x, long rows, long width) {
  for (long r = 0; r < rows; r += 16)
    for (long c = 0; c < width; c += 16) on_its_side(x + r * width + c, width, to + c * over + r, over);
}

/* The matrix as a right factor: k along its rows. */
static void tile_right(bf16 *restrict to, const bf16 *restrict x, long rows, long width) {
  for (long r = 0; r < rows; r += 2)
    for (long c = 0; c < width; c += 16) {
      bf16 *restrict pairs = to + (c / 16 * (rows / 32) + r / 32) * TILE + r % 32 / 2 * 32;
      const bf16 *restrict even = x + r * width + c, *restrict odd = even + width;
      for (int n = 0; n < 16; n++) {
        uint32_t both = (uint32_t)odd[n] << 16 | even[n];
        memcpy(pairs + 2 * n, &both, 4);
      }
    }
}

/* Its transpose as a right factor: k along its width. */
static void tile_right_turned(bf16 *restrict to, const bf16 *restrict x, long rows, long width) {
  for (long r = 0; r < rows; r += 16)
    for (long s = 0; s < width / 32; s++)
      pairs_on_their_side((const uint32_t *)(x + r * width + s * 32), width / 2,
                          (uint32_t *)(to + (r / 16 * (width / 32) + s) * TILE), 16);
}
