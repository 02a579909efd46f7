// Made-up numbers, the same on every machine, and memory of exactly the size asked for.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

inline uint32_t seed = 1;

inline float made_up() {  // in [-1, 1)
  seed = seed * 1664525u + 1013904223u;
  return static_cast<float>(seed >> 8) * 0x1p-23f - 1;
}

// Of exactly the size asked for, so that an access beyond it is seen.
template <class Item> Item* room(int64_t count) {
  void* found = nullptr;
  if (posix_memalign(&found, 64, static_cast<size_t>(count) * sizeof(Item)) != 0) abort();
  memset(found, 0, static_cast<size_t>(count) * sizeof(Item));
  return static_cast<Item*>(found);
}
