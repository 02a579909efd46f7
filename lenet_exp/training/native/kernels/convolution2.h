// conv2 (16 maps, 5 x 5 of 6 maps) with the 2 x 2 maximum of s4, forward and backward; the 16 maps are the lanes.
//
// The maximum hands a gradient to one of four places, so the backward sums have a quarter of the dense ones' terms.
#pragma once
#include "work.h"
#include "pooling.h"

namespace lenet {

/// A sum begins at 0 and goes over the kernel's rows, columns and the maps of s2; the bias comes last.
/// With `pool` the largest of four goes to `out` and its number to `chosen` ([place][map]), else all go to `out`
/// ([phase][place][map]).
template <bool pool>
[[gnu::flatten]] void conv2_forward(const float* s2, const float* parameters, float* out, int8_t* chosen) {
  constexpr int columns = part::registers / parts >= 32 ? 2 * side4 : 2;  // two rows of sums stay in registers
  constexpr int row = side2 * maps1;
  const Floats bias = load(parameters + conv2_bias);
  for (int y = 0; y < side4; ++y)
    for (int left = 0; left < 2 * side4; left += columns) {
      Floats upper[columns], lower[columns];
      unrolled<columns>([&](auto x) { upper[x] = lower[x] = broadcast(0.0f); });
      for (int ky = 0; ky < kernel; ++ky)
        for (int kx = 0; kx < kernel; ++kx) {
          const float* weights = parameters + conv2_weight + (ky * kernel + kx) * maps1 * maps2;
          const float* seen = s2 + (2 * y + ky) * row + (left + kx) * maps1;
          unrolled<maps1>([&](auto c) {
            const Floats w = load(weights + c * maps2);
            unrolled<columns>([&](auto x) {
              upper[x] = fma(broadcast(seen[x * maps1 + c]), w, upper[x]);
              lower[x] = fma(broadcast(seen[row + x * maps1 + c]), w, lower[x]);
            });
          });
        }
      unrolled<columns / 2>([&](auto x) {
        const int at = (y * side4 + left / 2 + x) * maps2;
        if constexpr (pool) {
          const Pooled largest = largest_of(upper[2 * x], upper[2 * x + 1], lower[2 * x], lower[2 * x + 1]);
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

/// Where in s2 ([y][x][map]) the window begins that a place's chosen phase sees.
inline int window(int place, int phase) {
  const int y = 2 * (place / side4) + (phase >> 1), x = 2 * (place % side4) + (phase & 1);
  return (y * side2 + x) * maps1;
}

/// Vectors of a kernel's row of 30 that are worked on at once; all ten of a kernel where registers allow.
constexpr int row_vectors = part::registers / parts >= 32 ? 2 : 1;

/// Adds an image's part to the gradient of the weights, place by place.
[[gnu::flatten, gnu::noinline]]
inline void conv2_weight_gradient(const float* s2, const float* gradient, const int8_t* chosen,
                                  Sums& sums_of_piece) {
  for (int map = 0; map < maps2; ++map)
    for (int right = 0; right < 2; right += row_vectors) {
      float* into = sums_of_piece.conv2_weight[map][0] + right * lanes;
      Floats sums[kernel][row_vectors];
      unrolled<kernel>([&](auto ky) {
        unrolled<row_vectors>([&](auto i) { sums[ky][i] = load(into + (2 * ky + i) * lanes); });
      });
      for (int place = 0; place < places4; ++place) {
        const float* seen = s2 + window(place, chosen[place * maps2 + map]) + right * lanes;
        const Floats g = broadcast(gradient[place * maps2 + map]);
        unrolled<kernel>([&](auto ky) {
          unrolled<row_vectors>([&](auto i) {
            sums[ky][i] = fma(g, load(seen + ky * side2 * maps1 + i * lanes), sums[ky][i]);
          });
        });
      }
      unrolled<kernel>([&](auto ky) {
        unrolled<row_vectors>([&](auto i) { store(into + (2 * ky + i) * lanes, sums[ky][i]); });
      });
    }
}

/// The gradient of s2: for each place and phase, the kernels of the maps that chose it are summed and added once.
///
/// Windows of neighbours overlap, and a core waits for what it has just written: so neighbours do not follow at once.
[[gnu::flatten, gnu::noinline]]
inline void conv2_input_gradient(const Weights& weights, const float* gradient, const int8_t* chosen, float* s2) {
  for (int i = 0; i < padded2; ++i) s2[i] = 0;
  for (int y = 0; y < side4; ++y)
    for (int turn = 0; turn < 4 * side4; ++turn) {
      const int place = y * side4 + 3 * turn % side4, phase = turn / side4;
      const unsigned maps = equal_bytes(chosen + place * maps2, phase);
      if (maps == 0) continue;
      for (int right = 0; right < 2; right += row_vectors) {
        Floats sums[kernel][row_vectors];
        unrolled<kernel>([&](auto ky) { unrolled<row_vectors>([&](auto i) { sums[ky][i] = broadcast(0.0f); }); });
        for (unsigned left = maps; left != 0; left &= left - 1) {
          const int map = __builtin_ctz(left);
          const Floats g = broadcast(gradient[place * maps2 + map]);
          const float* w = weights.conv2_by_map[map][0] + right * lanes;
          unrolled<kernel>([&](auto ky) {
            unrolled<row_vectors>([&](auto i) { sums[ky][i] = fma(g, load(w + (2 * ky + i) * lanes), sums[ky][i]); });
          });
        }
        float* into = s2 + window(place, phase) + right * lanes;
        unrolled<kernel>([&](auto ky) {
          unrolled<row_vectors>([&](auto i) {
            float* at = into + ky * side2 * maps1 + i * lanes;
            store(at, load(at) + sums[ky][i]);
          });
        });
      }
    }
}

}  // namespace lenet
