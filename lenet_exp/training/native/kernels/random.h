// Counter-based random numbers, which can be computed in any order, in any thread, and on any CPU.
//
// The generator is Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, and Shaw 2011, Parallel random numbers: as easy
// as 1, 2, 3).
#pragma once
#include "vector.h"

namespace lenet {

struct Key {
  int32_t first, second;
};

struct Pair {
  Ints first, second;
};

constexpr int turns[8] = {13, 15, 26, 6, 17, 29, 16, 24};

/// Returns 32 random bits in each lane of both words, for 16 counters of 64 bits.
inline Pair threefry(Key key, Ints first, Ints second) {
  const Ints keys[3] = {broadcast(key.first), broadcast(key.second),
                        broadcast(key.first ^ key.second ^ 0x1BD11BDA)};
  first = first + keys[0];
  second = second + keys[1];
  unrolled<20>([&](auto round) {
    first = first + second;
    second = rotate<turns[round % 8]>(second) ^ first;
    if constexpr (round % 4 == 3) {
      constexpr int n = round / 4 + 1;
      first = first + keys[n % 3];
      second = second + keys[(n + 1) % 3] + broadcast(n);
    }
  });
  return {first, second};
}

/// Returns multiples of 2^-24 in [0, 1).
inline Floats uniform(Ints bits) { return to_floats(shift_right<8>(bits)) * broadcast(0x1p-24f); }

/// The uniform random numbers of one image in one step, in blocks of 32.
struct Noise {
  Key key;
  int32_t image;

  void draw(int block, Floats& first, Floats& second) const {
    const Pair bits = threefry(key, broadcast(image), broadcast(block * lanes) + lane_numbers());
    first = uniform(bits.first);
    second = uniform(bits.second);
  }
};

}  // namespace lenet
