// 2 x 2 maximum pooling. NaN counts as the largest value. (For average pooling, see activations.h.)
//
// The first of several equal values is chosen, but the last of several NaNs, as in torch.
#pragma once
#include "vector.h"

namespace lenet {

/// Returns the distance of a phase from the upper left phase, if a row has `width` values.
///
/// phase: number from 0 to 3, for upper left, upper right, lower left, and lower right.
constexpr int place_of(int phase, int width) { return phase / 2 * width + phase % 2; }

struct Pooled {
  Floats value;
  Ints chosen;  // `place_of` the chosen phase
};

inline Mask larger(Floats candidate, Floats than) { return (candidate > than) | not_a_number(candidate); }

template <int width> inline Pooled largest_of(Floats a, Floats b, Floats c, Floats d) {
  Pooled found{a, broadcast(0)};
  const Floats others[3] = {b, c, d};
  unrolled<3>([&](auto i) {
    const Mask better = larger(others[i], found.value);
    found.value = select(better, others[i], found.value);
    found.chosen = select(better, broadcast(place_of(i + 1, width)), found.chosen);
  });
  return found;
}

}  // namespace lenet
