// Matrix products for the linear layers. Blocks of sums stay in registers, and each sum adds its terms in order.
#pragma once
#include "network.h"

namespace lenet {

/// c[m][n] = start + sum over k of a[m][k] * b[k][n], where k goes over `outer` times `inner` terms.
struct Product {
  const float* a;
  const float* b;
  float* c;
  const float* bias;           // initial value of each sum; if null, it is 0, and sums are added to c if `add` is true
  int rows, outer, inner;
  long a_outer, a_inner;       // strides of a between terms; for rows, see `multiply`
  long b_outer, b_inner, c_row;
  bool add;
};

template <int rows, int vectors, long a_row>
[[gnu::flatten]] inline void block(const Product& p, int row, int column) {
  Floats sums[rows][vectors];
  unrolled<vectors>([&](auto n) {
    const Floats start = p.bias ? load(p.bias + column + n * lanes) : broadcast(0.0f);
    unrolled<rows>([&](auto m) { sums[m][n] = start; });
  });
  for (int i = 0; i < p.outer; ++i) {
    const float* a = p.a + row * a_row + i * p.a_outer;
    const float* b = p.b + i * p.b_outer + column;
    for (int j = 0; j < p.inner; ++j, a += p.a_inner, b += p.b_inner) {
      Floats row_of_b[vectors];
      unrolled<vectors>([&](auto n) { row_of_b[n] = load(b + n * lanes); });
      unrolled<rows>([&](auto m) {
        const Floats factor = broadcast(a[m * a_row]);
        unrolled<vectors>([&](auto n) { sums[m][n] = fma(factor, row_of_b[n], sums[m][n]); });
      });
    }
  }
  unrolled<rows>([&](auto m) {
    unrolled<vectors>([&](auto n) {
      float* at = p.c + (row + m) * p.c_row + column + n * lanes;
      store(at, p.add ? load(at) + sums[m][n] : sums[m][n]);
    });
  });
}

/// Computes `vectors` vectors of each row, starting at `column`.
template <int vectors, long a_row> void columns(const Product& p, int column) {
  constexpr int most = part::registers / parts >= 32 ? 8 : 4;
  int row = 0;
  for (; row + most <= p.rows; row += most) block<most, vectors, a_row>(p, row, column);
  for (; row < p.rows; ++row) block<1, vectors, a_row>(p, row, column);
}

/// Computes an entire product. Rows of b and c have `vectors` vectors; the rows of a have a distance of `a_row`.
template <int vectors, long a_row> void multiply(const Product& p) {
  constexpr int wide = part::registers / parts >= 32 ? 3 : 1, rest = vectors % wide;
  for (int i = 0; i < vectors / wide; ++i) columns<wide, a_row>(p, i * wide * lanes);
  if constexpr (rest > 0) columns<rest, a_row>(p, (vectors - rest) * lanes);
}

/// Transposes: to[j][i] = from[i][j], in blocks that fit in the cache; rows of `from` are padded to whole vectors.
inline void transpose(const float* from, int rows, int columns, long from_row, float* to, long to_row) {
  for (int left = 0; left < columns; left += lanes)
    for (int i = 0; i < rows; ++i) {
      float lane[lanes];  // clang would turn a loop over `from` itself into a scatter
      store(lane, load(from + i * from_row + left));
      for (int j = 0; j < lanes; ++j)
        if (left + j < columns) to[(left + j) * to_row + i] = lane[j];
    }
}

}  // namespace lenet
