// The 2 x 2 maximum. Of equals the first counts; NaN is larger than any number, and the last one counts (as in torch).
#pragma once
#include "vector.h"

namespace lenet {

struct Pooled {
  Floats value;
  Ints chosen;  // 0 to 3: upper left, upper right, lower left, lower right
};

inline Mask larger(Floats candidate, Floats than) { return (candidate > than) | not_a_number(candidate); }

inline Pooled largest_of(Floats a, Floats b, Floats c, Floats d) {
  Pooled found{a, broadcast(0)};
  const Floats others[3] = {b, c, d};
  unrolled<3>([&](auto i) {
    const Mask better = larger(others[i], found.value);
    found.value = select(better, others[i], found.value);
    found.chosen = select(better, broadcast(i + 1), found.chosen);
  });
  return found;
}

}  // namespace lenet
