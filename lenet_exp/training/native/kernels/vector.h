// Vectors of 16 floats. Their size does not depend on the CPU's registers, and neither do exact results.
//
// All rounding is standard: sums, products, quotients, roots, and fused multiply-adds follow IEEE 754. The compiler
// must not contract operations (-ffp-contract=off).
#pragma once
#include <stdint.h>

#if defined(__AVX512F__)
#include "vector_avx512.h"
#include "vector_x86.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "vector_avx2.h"
#include "vector_x86.h"
#elif defined(__aarch64__)
#include "vector_neon.h"
#else
#error "the kernels are written for AVX-512, AVX2 with FMA, and NEON"
#endif

namespace lenet {

constexpr int lanes = 16;
constexpr int parts = lanes / part::lanes;  // registers per vector

struct Floats {
  part::Floats part[parts];
};
struct Ints {
  part::Ints part[parts];
};
struct Mask {
  part::Mask part[parts];
};

template <int value> struct Number {
  constexpr operator int() const { return value; }
};

/// Calls `body` with Number<0> to Number<count - 1>. Unlike in a loop, arrays can stay in registers.
template <int count, int from = 0, class Body> [[gnu::always_inline]] inline void unrolled(Body&& body) {
  if constexpr (from < count) {
    body(Number<from>{});
    unrolled<count, from + 1>(body);
  }
}

/// Returns a vector whose part i is `body(Number<i>)`.
template <class Vector, class Body> [[gnu::always_inline]] inline Vector each_part(Body&& body) {
  Vector made;
  unrolled<parts>([&](auto i) { made.part[i] = body(i); });
  return made;
}

inline Floats load(const float* at) {
  return each_part<Floats>([&](auto i) { return part::load(at + i * part::lanes); });
}
inline void store(float* at, Floats a) {
  unrolled<parts>([&](auto i) { part::store(at + i * part::lanes, a.part[i]); });
}
inline Floats broadcast(float a) {
  return each_part<Floats>([&](auto) { return part::broadcast(a); });
}
inline Floats operator+(Floats a, Floats b) {
  return each_part<Floats>([&](auto i) { return part::add(a.part[i], b.part[i]); });
}
inline Floats operator-(Floats a, Floats b) {
  return each_part<Floats>([&](auto i) { return part::subtract(a.part[i], b.part[i]); });
}
inline Floats operator*(Floats a, Floats b) {
  return each_part<Floats>([&](auto i) { return part::multiply(a.part[i], b.part[i]); });
}
inline Floats operator/(Floats a, Floats b) {
  return each_part<Floats>([&](auto i) { return part::divide(a.part[i], b.part[i]); });
}
/// a * b + c, rounded once.
inline Floats fma(Floats a, Floats b, Floats c) {
  return each_part<Floats>([&](auto i) { return part::fma(a.part[i], b.part[i], c.part[i]); });
}
inline Floats root(Floats a) {
  return each_part<Floats>([&](auto i) { return part::root(a.part[i]); });
}
/// The larger value; NaN if b is NaN.
inline Floats larger_or_nan(Floats a, Floats b) {
  return each_part<Floats>([&](auto i) { return part::larger(a.part[i], b.part[i]); });
}
/// The smaller value; NaN if b is NaN.
inline Floats smaller_or_nan(Floats a, Floats b) {
  return each_part<Floats>([&](auto i) { return part::smaller(a.part[i], b.part[i]); });
}
/// The nearest integer; ties go to the even integer.
inline Floats nearest(Floats a) {
  return each_part<Floats>([&](auto i) { return part::nearest(a.part[i]); });
}
/// a > b; false if either is NaN.
inline Mask operator>(Floats a, Floats b) {
  return each_part<Mask>([&](auto i) { return part::greater(a.part[i], b.part[i]); });
}
/// a <= b; false if either is NaN.
inline Mask operator<=(Floats a, Floats b) {
  return each_part<Mask>([&](auto i) { return part::at_most(a.part[i], b.part[i]); });
}
inline Mask not_a_number(Floats a) {
  return each_part<Mask>([&](auto i) { return part::not_a_number(a.part[i]); });
}
inline Mask operator|(Mask a, Mask b) {
  return each_part<Mask>([&](auto i) { return part::either(a.part[i], b.part[i]); });
}
/// `a` in lanes where the mask is set; `b` in the other lanes.
inline Floats select(Mask where, Floats a, Floats b) {
  return each_part<Floats>([&](auto i) { return part::select(where.part[i], a.part[i], b.part[i]); });
}

inline Ints load(const int32_t* at) {
  return each_part<Ints>([&](auto i) { return part::load(at + i * part::lanes); });
}
inline void store(int32_t* at, Ints a) {
  unrolled<parts>([&](auto i) { part::store(at + i * part::lanes, a.part[i]); });
}
inline Ints broadcast(int32_t a) {
  return each_part<Ints>([&](auto) { return part::broadcast(a); });
}
inline Ints select(Mask where, Ints a, Ints b) {
  return each_part<Ints>([&](auto i) { return part::select(where.part[i], a.part[i], b.part[i]); });
}
/// The sum modulo 2^32.
inline Ints operator+(Ints a, Ints b) {
  return each_part<Ints>([&](auto i) { return part::add(a.part[i], b.part[i]); });
}
inline Ints operator^(Ints a, Ints b) {
  return each_part<Ints>([&](auto i) { return part::exclusive_or(a.part[i], b.part[i]); });
}
template <int by> inline Ints shift_left(Ints a) {
  return each_part<Ints>([&](auto i) { return part::shift_left<by>(a.part[i]); });
}
/// A logical shift: zeros enter from the left.
template <int by> inline Ints shift_right(Ints a) {
  return each_part<Ints>([&](auto i) { return part::shift_right<by>(a.part[i]); });
}
template <int by> inline Ints rotate(Ints a) {
  return each_part<Ints>([&](auto i) { return part::rotate<by>(a.part[i]); });
}
/// Converts floats whose values are integers.
inline Ints to_ints(Floats a) {
  return each_part<Ints>([&](auto i) { return part::to_ints(a.part[i]); });
}
inline Floats to_floats(Ints a) {
  return each_part<Floats>([&](auto i) { return part::to_floats(a.part[i]); });
}
inline Ints bits_of(Floats a) {
  return each_part<Ints>([&](auto i) { return part::bits_of(a.part[i]); });
}
inline Floats from_bits(Ints a) {
  return each_part<Floats>([&](auto i) { return part::from_bits(a.part[i]); });
}

/// The floats at these indices.
inline Floats gather(const float* from, Ints at) {
  return each_part<Floats>([&](auto i) { return part::gather(from, at.part[i]); });
}

/// Stores the lowest byte of each lane, 16 bytes in total.
inline void store_bytes(int8_t* at, Ints a) { part::store_bytes(at, a.part); }

/// Loads 32 floats, and separates those at even indices from those at odd indices.
inline void load_alternate(const float* at, Floats& even, Floats& odd) {
  part::load_alternate(at, even.part, odd.part);
}

/// The numbers 0 to 15.
inline Ints lane_numbers() {
  alignas(64) static const int32_t numbers[lanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load(numbers);
}

/// The sum of all lanes: adds lanes i and i + 8, then i and i + 4, i + 2, and i + 1.
inline float sum_of_lanes(Floats a) {
  float lane[lanes];
  store(lane, a);
  for (int half = lanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  return lane[0];
}

}  // namespace lenet
