// conv1 (6 maps, 5 x 5) with the 2 x 2 maximum of s2, forward and backward.
#pragma once
#include "work.h"
#include "pooling.h"

namespace lenet {

/// Parts an image into its even and odd columns: then the maps' even columns lie side by side, and so do the odd ones.
[[gnu::noinline]]
inline void part_columns(const float* image, Piece& work) {
  for (int y = 0; y < side; ++y) {
    Floats even, odd;
    load_alternate(image + y * side, even, odd);
    store(work.even[y], even);
    store(work.odd[y], odd);
  }
}

/// What is read beyond an image's columns: once a piece.
inline void clear_margins(Piece& work) {
  for (int y = 0; y < side; ++y)
    for (int x = lanes; x < 2 * lanes; ++x) work.even[y][x] = work.odd[y][x] = 0;
}

/// Convolves: each row of s2 sees two rows of the maps, even and odd columns of which are its four phases.
///
/// A sum begins at 0 and goes down the kernel's rows, along each from left to right; the bias comes last.
/// With `pool` the largest phase goes to `out` and its number to `chosen` (planar2 each), else all go to `out`
/// (4 * planar2). The two lanes beyond a row are of no use.
template <bool pool>
[[gnu::flatten]] void conv1_forward(const Piece& work, const float* parameters, float* out, int8_t* chosen) {
  constexpr int at_once = part::registers / parts >= 32 ? maps1 : 1;  // 4 sums each stay in registers
  for (int y = 0; y < side2; ++y)
    for (int first = 0; first < maps1; first += at_once) {
      const float* weights = parameters + conv1_weight + first * taps;
      Floats sums[4][at_once];
      unrolled<4>([&](auto q) { unrolled<at_once>([&](auto c) { sums[q][c] = broadcast(0.0f); }); });
      // clang would call what is nested so deep, and spill the sums each time; gcc spills if more is inlined so early.
      unrolled<kernel + 1>([&](auto row) __attribute__((always_inline)) {
        Floats x[kernel + 1];
        unrolled<kernel + 1>([&](auto s) {
          x[s] = load((s % 2 ? work.odd : work.even)[2 * y + row] + s / 2);
        });
        unrolled<2>([&](auto down) __attribute__((always_inline)) {
          if constexpr (row >= down && row - down < kernel)
            unrolled<kernel>([&](auto kx) {
              unrolled<at_once>([&](auto c) {
                const Floats w = broadcast(weights[c * taps + (row - down) * kernel + kx]);
                sums[2 * down][c] = fma(w, x[kx], sums[2 * down][c]);
                sums[2 * down + 1][c] = fma(w, x[kx + 1], sums[2 * down + 1][c]);
              });
            });
        });
      });
      unrolled<at_once>([&](auto c) {
        const int at = ((first + c) * side2 + y) * lanes;
        const Floats bias = broadcast(parameters[conv1_bias + first + c]);
        if constexpr (pool) {
          const Pooled largest = largest_of(sums[0][c], sums[1][c], sums[2][c], sums[3][c]);
          store(out + at, largest.value + bias);
          store_bytes(chosen + at, largest.chosen);
        } else {
          unrolled<4>([&](auto q) { store(out + q * planar2 + at, sums[q][c] + bias); });
        }
      });
    }
}

/// Adds an image's part to the gradient of the weights: of each window, the phase that was chosen.
[[gnu::flatten, gnu::noinline]]
inline void conv1_weight_gradient(const float* image, const float* gradient, const int8_t* chosen, Piece& work,
                                  Sums& into) {
  constexpr int at_once = 2;
  for (int i = 0; i < pixels; i += lanes) store(work.image + i, load(image + i));
  for (int first = 0; first < maps1; first += at_once) {
    Octet sums[at_once][kernel];
    unrolled<at_once>([&](auto c) {
      unrolled<kernel>([&](auto ky) { sums[c][ky] = load_octet(into.conv1_weight[first + c][ky]); });
    });
    for (int y = 0; y < side2; ++y)
      for (int x = 0; x < side2; ++x)
        unrolled<at_once>([&](auto c) {
          const int at = ((first + c) * side2 + y) * lanes + x, phase = chosen[at];
          const float* seen = work.image + (2 * y + (phase >> 1)) * side + 2 * x + (phase & 1);
          const Octet g = broadcast_octet(gradient[at]);
          unrolled<kernel>([&](auto ky) { sums[c][ky] = fma(g, load_octet(seen + ky * side), sums[c][ky]); });
        });
    unrolled<at_once>([&](auto c) {
      unrolled<kernel>([&](auto ky) { store(into.conv1_weight[first + c][ky], sums[c][ky]); });
    });
  }
}

/// [map][y][x] -> [y][x][map].
[[gnu::noinline]]
inline void interleave(const float* planar, float* s2) {
  for (int y = 0; y < side2; ++y)
    for (int x = 0; x < side2; ++x)
      for (int c = 0; c < maps1; ++c) s2[(y * side2 + x) * maps1 + c] = planar[(c * side2 + y) * lanes + x];
}

/// [y][x][map] -> [map][y][x], with zeros beyond each row.
[[gnu::noinline]]
inline void deinterleave(const float* s2, float* planar) {
  for (int y = 0; y < side2; ++y)
    for (int c = 0; c < maps1; ++c) {
      float* row = planar + (c * side2 + y) * lanes;
      for (int x = 0; x < side2; ++x) row[x] = s2[(y * side2 + x) * maps1 + c];
      for (int x = side2; x < lanes; ++x) row[x] = 0;
    }
}

}  // namespace lenet
