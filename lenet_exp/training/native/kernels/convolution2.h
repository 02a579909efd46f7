// conv2 with the 2 x 2 pooling of s4, forward and backward. 16 maps at a time are the lanes.
//
// The maximum passes each gradient to only one of four values, so the backward sums have a quarter of the terms. With
// average pooling, gradients have four phases: [phase][place][map].
#pragma once
#include "work.h"
#include "pooling.h"

namespace lenet {

/// Convolves s2. A sum starts at 0 and follows the kernel's rows, columns, and the maps of s2. The bias is added last.
/// With `pool`, the largest of four values is written to `out`, and its position in the maps to `chosen`
/// ([place][map]). Without it, all four values are written to `out` ([phase][place][map]).
template <bool pool>
[[gnu::flatten]] void conv2_forward(const float* s2, const float* parameters, float* out, int8_t* chosen) {
  constexpr int columns = part::registers / parts >= 32 ? 2 * side4 : 2;  // two rows of sums stay in registers
  constexpr int row = side2 * maps1;
  static_assert(columns % 2 == 0 && 2 * side4 % columns == 0, "windows are processed whole, without a rest");
  for (int block = 0; block < maps2; block += lanes) {
    const Floats bias = load(parameters + conv2_bias + block);
    for (int y = 0; y < side4; ++y)
      for (int left = 0; left < 2 * side4; left += columns) {
        Floats upper[columns], lower[columns];
        unrolled<columns>([&](auto x) { upper[x] = lower[x] = broadcast(0.0f); });
        for (int ky = 0; ky < kernel; ++ky)
          for (int tap = 0; tap < kernel * maps1; tap += maps_at_once) {  // columns and maps of s2
            const float* weights = parameters + conv2_weight + (ky * kernel * maps1 + tap) * maps2 + block;
            const float* seen = s2 + (2 * y + ky) * row + left * maps1 + tap;
            asm("" : "+r"(seen));  // g++ would keep values for the next iteration, more than there are registers
            unrolled<maps_at_once>([&](auto c) {
              const Floats w = load(weights + c * maps2);
              unrolled<columns>([&](auto x) {
                upper[x] = fma(broadcast(seen[x * maps1 + c]), w, upper[x]);
                lower[x] = fma(broadcast(seen[row + x * maps1 + c]), w, lower[x]);
              });
            });
          }
        unrolled<columns / 2>([&](auto x) {
          const int at = (y * side4 + left / 2 + x) * maps2 + block;
          if constexpr (pool) {
            const Pooled largest = largest_of<width2>(upper[2 * x], upper[2 * x + 1], lower[2 * x], lower[2 * x + 1]);
            store(out + at, largest.value + bias);
            store_bytes(chosen + at, largest.chosen);
          } else {
            store(out + at, upper[2 * x] + bias);
            store(out + flat + at, upper[2 * x + 1] + bias);
            store(out + 2 * flat + at, lower[2 * x] + bias);
            store(out + 3 * flat + at, lower[2 * x + 1] + bias);
          }
        });
      }
  }
}

/// Copies the rows of s2's windows to separate cache lines, because conv2's gradient reads each row many times.
[[gnu::noinline]]
inline void spread_rows(const float* s2, Piece& work) {
  for (int p = 0; p < panels; ++p)
    for (int y = 0; y < side2; ++y)
      for (int x = 0; x < width2; ++x)
        for (int i = 0; i < panel; i += lanes)
          store(work.rows + ((p * side2 + y) * width2 + x) * panel + i, load(s2 + (y * side2 + x) * maps1 + p * panel + i));
}

/// Adds the contribution of an image to the gradient of the weights, place by place. work: see `spread_rows`.
[[gnu::flatten, gnu::noinline]]
inline void conv2_weight_gradient(const Piece& work, const float* gradient, const int8_t* chosen,
                                  Sums& sums_of_piece) {
  for (int p = 0; p < panels; ++p)
    for (int map = 0; map < maps2; ++map) {
      float* into = sums_of_piece.conv2_weight[map][0] + p * panel;
      Floats sums[kernel][panel_vectors];
      unrolled<kernel>([&](auto ky) {
        unrolled<panel_vectors>([&](auto i) { sums[ky][i] = load(into + ky * kernel_row + i * lanes); });
      });
      for (int y = 0; y < side4; ++y)
        for (int x = 0; x < side4; ++x) {
          const int at = (y * side4 + x) * maps2 + map;
          unrolled<phases>([&](auto q) {
            const int place = average ? place_of(q, width2) : chosen[at];
            const float* seen = work.rows + ((p * side2 + 2 * y) * width2 + 2 * x + place) * panel;
            const Floats g = broadcast(gradient[q * flat + at]);
            unrolled<kernel>([&](auto ky) {
              unrolled<panel_vectors>([&](auto i) {
                sums[ky][i] = fma(g, load(seen + ky * width2 * panel + i * lanes), sums[ky][i]);
              });
            });
          });
        }
      unrolled<kernel>([&](auto ky) {
        unrolled<panel_vectors>([&](auto i) { store(into + ky * kernel_row + i * lanes, sums[ky][i]); });
      });
    }
}

/// Computes the gradient of s2, window by window down each column, from the kernels of the maps that chose the window.
///
/// As many rows of sums as a kernel has move down with the window. The top row is then complete and is added to s2's
/// gradient.
[[gnu::flatten, gnu::noinline]]
inline void conv2_input_gradient(const Weights& weights, const float* gradient, const int8_t* chosen, float* s2) {
  unsigned maps_of[width2][width2][blocks2];  // [x][y]; computed first, so that the loops below do not wait for it
  for (int y = 0; y < width2; ++y)
    for (int x = 0; x < width2; ++x)
      for (int b = 0; b < blocks2; ++b)
        maps_of[x][y][b] = average ? (1u << lanes) - 1
                                   : equal_bytes(chosen + (y / 2 * side4 + x / 2) * maps2 + b * lanes,
                                                 place_of(y % 2 * 2 + x % 2, width2));
  for (int i = 0; i < padded2; ++i) s2[i] = 0;
  // Each value of s2 adds its columns from left to right, whatever the size of panels.
  for (int x = 0; x < width2; ++x)
    for (int p = 0; p < panels; ++p) {
      Floats sums[kernel][panel_vectors];
      unrolled<kernel>([&](auto ky) { unrolled<panel_vectors>([&](auto i) { sums[ky][i] = broadcast(0.0f); }); });
      float* into = s2 + x * maps1 + p * panel;
      const auto finish_row = [&] {
        unrolled<panel_vectors>([&](auto i) {
          store(into + i * lanes, load(into + i * lanes) + sums[0][i]);
          unrolled<kernel - 1>([&](auto ky) { sums[ky][i] = sums[ky + 1][i]; });
          sums[kernel - 1][i] = broadcast(0.0f);
        });
        into += side2 * maps1;
      };
      for (int y = 0; y < width2; ++y) {
        const int phase = average ? y % 2 * 2 + x % 2 : 0;
        const float* g = gradient + phase * flat + (y / 2 * side4 + x / 2) * maps2;
        for (int b = 0; b < blocks2; ++b)
          for (unsigned left = maps_of[x][y][b]; left != 0; left &= left - 1) {
            const int map = b * lanes + __builtin_ctz(left);
            const Floats factor = broadcast(g[map]);
            const float* w = weights.conv2_by_map[p][map][0];
            unrolled<kernel>([&](auto ky) {
              unrolled<panel_vectors>([&](auto i) {
                sums[ky][i] = fma(factor, load(w + ky * panel + i * lanes), sums[ky][i]);
              });
            });
          }
        finish_row();
      }
      for (int ky = 1; ky < kernel; ++ky) finish_row();
    }
}

}  // namespace lenet
