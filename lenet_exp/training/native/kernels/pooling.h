// 2 x 2 maximum pooling. NaN counts as the largest value.
//
// Of equal values, the first is chosen; of several NaNs, the last, as in torch.
#pragma once
#include "vector.h"

namespace lenet {

/// Returns the distance of a phase from the upper left one, if a row has `width` places.
///
/// phase: 0 to 3: upper left, upper right, lower left, lower right.
constexpr int place_of(int phase, int width) { return phase / 2 * width + phase % 2; }

struct Pooled {
  Floats value;
  Ints chosen;  // the `place_of` the phase
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
