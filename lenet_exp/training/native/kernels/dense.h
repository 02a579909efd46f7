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
  long a_row, a_outer, a_inner;  // strides of a: between rows, and between terms
  long b_outer, b_inner, c_row;
  bool add;
};

template <int rows, int vectors>
[[gnu::flatten]] inline void block(const Product& p, int row, int column) {
  Floats sums[rows][vectors];
  unrolled<vectors>([&](auto n) {
    const Floats start = p.bias ? load(p.bias + column + n * lanes) : broadcast(0.0f);
    unrolled<rows>([&](auto m) { sums[m][n] = start; });
  });
  for (int i = 0; i < p.outer; ++i) {
    const float* a = p.a + row * p.a_row + i * p.a_outer;
    const float* b = p.b + i * p.b_outer + column;
    for (int j = 0; j < p.inner; ++j, a += p.a_inner, b += p.b_inner) {
      Floats factors[rows];
      unrolled<rows>([&](auto m) { factors[m] = broadcast(a[m * p.a_row]); });
      unrolled<vectors>([&](auto n) {
        const Floats row_of_b = load(b + n * lanes);
        unrolled<rows>([&](auto m) { sums[m][n] = fma(factors[m], row_of_b, sums[m][n]); });
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
template <int vectors> void columns(const Product& p, int column) {
  constexpr int most = part::registers / parts >= 32 && vectors == 1 ? 8 : 4;
  int row = 0;
  for (; row + most <= p.rows; row += most) block<most, vectors>(p, row, column);
  for (; row < p.rows; ++row) block<1, vectors>(p, row, column);
}

/// Computes an entire product whose rows have `vectors` vectors.
template <int vectors> void multiply(const Product& p) {
  constexpr int wide = part::registers / parts >= 32 ? 4 : 1, wides = vectors / wide;
  for (int i = 0; i < wides; ++i) columns<wide>(p, i * wide * lanes);
  unrolled<vectors - wides * wide>([&](auto i) { columns<1>(p, (wides * wide + i) * lanes); });
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
