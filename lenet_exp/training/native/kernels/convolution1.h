// conv1 with the 2 x 2 pooling of s2, forward and backward.
#pragma once
#include <string.h>

#include "work.h"
#include "pooling.h"

namespace lenet {

/// Splits an image into its even and odd columns, so that the even and the odd columns of the maps are contiguous.
[[gnu::noinline]]
inline void part_columns(const float* image, Piece& work) {
  for (int y = 0; y < side; ++y) {
    Floats even, odd;
    if constexpr (side == 2 * lanes) {
      load_alternate(image + y * side, even, odd);
    } else {
      float row[2 * lanes] = {};
      memcpy(row, image + y * side, side * sizeof(float));
      load_alternate(row, even, odd);
    }
    store(work.even[y], even);
    store(work.odd[y], odd);
  }
}

/// Clears the margins beyond an image's columns, which are also read. This is needed only once per piece.
inline void clear_margins(Piece& work) {
  for (int y = 0; y < side; ++y)
    for (int x = lanes; x < 2 * lanes; ++x) work.even[y][x] = work.odd[y][x] = 0;
}

/// Prefetches the part of an image for one row of s2. A core would stall if it requested the entire image at once.
inline void fetch(const float* image, int part) {
  constexpr int size = (pixels / lanes + side2 - 1) / side2 * lanes;
  for (int i = part * size; i < (part + 1) * size && i < pixels; i += lanes) __builtin_prefetch(image + i);
}

/// Convolves the current image. Each row of s2 pools two rows of the maps, whose even and odd columns are its phases.
///
/// A sum starts at 0 and follows the kernel's rows, each from left to right. The bias is added last.
/// With `pool`, the largest phase is written to `out`, and its position in the maps to `chosen` (planar2 each). Without
/// it, all phases are written to `out` (4 * planar2). The lanes beyond a row are unused. next: image to prefetch.
template <bool pool>
[[gnu::flatten]] void conv1_forward(const Piece& work, const float* parameters, const float* next, float* out,
                                    int8_t* chosen) {
  constexpr int at_once = part::registers / parts >= 32 ? 3 : 1;  // maps whose sums (four each) are in registers
  constexpr int row = 2 * lanes;
  static_assert(maps_at_once % at_once == 0, "the padded maps are processed without a rest");
  for (int y = 0; y < side2; ++y) {
    fetch(next, y);
    for (int first = 0; first < maps1; first += at_once) {
      Floats sums[4][at_once];
      unrolled<4>([&](auto q) { unrolled<at_once>([&](auto c) { sums[q][c] = broadcast(0.0f); }); });
      for (int ky = 0; ky < kernel; ++ky) {
        const float *even = work.even[2 * y + ky], *odd = work.odd[2 * y + ky];
        const float* weights = parameters + conv1_weight + first * taps + ky * kernel;
        unrolled<kernel>([&](auto kx) {
          const float *left = (kx % 2 ? odd : even) + kx / 2, *right = (kx % 2 ? even : odd) + (kx + 1) / 2;
          const Floats seen[4] = {load(left), load(right), load(left + row), load(right + row)};
          unrolled<at_once>([&](auto c) {
            const Floats w = broadcast(weights[c * taps + kx]);
            unrolled<4>([&](auto q) { sums[q][c] = fma(w, seen[q], sums[q][c]); });
          });
        });
      }
      unrolled<at_once>([&](auto c) {
        const int at = ((first + c) * side2 + y) * lanes;
        const Floats bias = broadcast(parameters[conv1_bias + first + c]);
        if constexpr (pool) {
          const Pooled largest = largest_of<side>(sums[0][c], sums[1][c], sums[2][c], sums[3][c]);
          store(out + at, largest.value + bias);
          store_bytes(chosen + at, largest.chosen);
        } else {
          unrolled<4>([&](auto q) { store(out + q * planar2 + at, sums[q][c] + bias); });
        }
      });
    }
  }
}

/// Adds the contribution of an image to the gradient of the weights, from the chosen phase of each window or, with
/// average pooling, from all four.
///
/// gradient: [phase][y][x][map]. chosen: [map][y][x].
[[gnu::flatten, gnu::noinline]]
inline void conv1_weight_gradient(const float* image, const float* gradient, const int8_t* chosen, Piece& work,
                                  Sums& into) {
  constexpr int at_once = maps1 % 2 == 0 ? 2 : part::registers / parts >= 32 ? 3 : 1;
  for (int i = 0; i < pixels; i += lanes) store(work.image + i, load(image + i));
  for (int first = 0; first < maps1; first += at_once) {
    Octet sums[at_once][kernel];
    unrolled<at_once>([&](auto c) {
      unrolled<kernel>([&](auto ky) { sums[c][ky] = load_octet(into.conv1_weight[first + c][ky]); });
    });
    for (int y = 0; y < side2; ++y)
      for (int x = 0; x < side2; ++x)
        unrolled<at_once>([&](auto c) {
          const float* window = work.image + 2 * y * side + 2 * x;
          unrolled<phases>([&](auto q) {
            const int place = average ? place_of(q, side) : chosen[((first + c) * side2 + y) * lanes + x];
            const Octet g = broadcast_octet(gradient[q * padded2 + (y * side2 + x) * maps1 + first + c]);
            unrolled<kernel>([&](auto ky) {
              sums[c][ky] = fma(g, load_octet(window + place + ky * side), sums[c][ky]);
            });
          });
        });
    unrolled<at_once>([&](auto c) {
      unrolled<kernel>([&](auto ky) { store(into.conv1_weight[first + c][ky], sums[c][ky]); });
    });
  }
}

using Bias1 = Floats[period2 / lanes];

/// Adds the contribution of an image to the gradient of the biases, in the lanes of one period.
inline void conv1_bias_gradient(const float* gradient, Bias1& sums) {
  for (int q = 0; q < phases; ++q)
    for (int at = q * padded2; at < q * padded2 + size2; at += period2)
      unrolled<period2 / lanes>([&](auto i) { sums[i] = sums[i] + load(gradient + at + i * lanes); });
}

/// Adds the lanes of one period to the biases of their maps; see `conv1_bias_gradient`.
inline void add_by_map(const Bias1& sums, float* biases) {
  float lane[period2];
  for (int i = 0; i < period2 / lanes; ++i) store(lane + i * lanes, sums[i]);
  for (int i = 0; i < period2; ++i) biases[i % maps1] += lane[i];
}

/// Reorders [map][y][x] to [y][x][map], with zeros at the end.
///
/// Two maps are moved as one 64-bit number, which a core stores faster than single floats.
[[gnu::noinline]]
inline void interleave(const float* planar, float* s2) {
  for (int y = 0; y < side2; ++y)
    for (int x = 0; x < side2; ++x)
      unrolled<maps1 / 2>([&](auto pair) {
        const float* from = planar + (2 * pair * side2 + y) * lanes + x;
        uint32_t first, second;
        memcpy(&first, from, sizeof first);
        memcpy(&second, from + side2 * lanes, sizeof second);
        const uint64_t both = first | static_cast<uint64_t>(second) << 32;
        memcpy(s2 + (y * side2 + x) * maps1 + 2 * pair, &both, sizeof both);
        if constexpr (maps1 % 2 == 1 && pair == maps1 / 2 - 1)
          s2[(y * side2 + x) * maps1 + maps1 - 1] = planar[((maps1 - 1) * side2 + y) * lanes + x];
      });
  for (int i = size2; i < padded2; ++i) s2[i] = 0;
}

}  // namespace lenet
