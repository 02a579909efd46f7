// exp, tanh, log, sine, and cosine of 16 floats, with bit-identical results on every CPU.
//
// The results of C libraries differ between releases and CPUs.
//
// The polynomials are from Cephes (S. L. Moshier, netlib.org/cephes: expf, tanhf, logf, sinf, cosf).
// Errors are below 2 units in the last place.
#pragma once
#include "vector.h"

namespace lenet {

constexpr float lowest_exponent = -87.0f, highest_exponent = 88.0f;  // between these, e^x is a normal float

struct Exponential {  // e^x = scale * (1 + rest)
  Floats scale, rest;
};

/// Computes e^x for x clamped to [lowest_exponent, highest_exponent]; NaN stays NaN.
inline Exponential exponential(Floats x) {
  x = larger_or_nan(broadcast(lowest_exponent), smaller_or_nan(broadcast(highest_exponent), x));
  const Floats n = nearest(x * broadcast(1.44269504088896341f));
  Floats r = fma(n, broadcast(-0.693359375f), x);  // x - n log 2, in two steps
  r = fma(n, broadcast(2.12194440e-4f), r);
  Floats p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  return {from_bits(shift_left<23>(to_ints(n) + broadcast(127))), fma(r * r, p, r)};
}

inline Floats exp(Floats x) {
  const Exponential e = exponential(x);
  return fma(e.scale, e.rest, e.scale);
}

/// Computes e^x - 1, which is also accurate near 0.
inline Floats exp_minus_1(Floats x) {
  const Exponential e = exponential(x);
  return fma(e.scale, e.rest, e.scale - broadcast(1.0f));
}

inline Floats tanh(Floats x) {
  const Floats zero = broadcast(0.0f), one = broadcast(1.0f);
  const Floats size = select(x <= zero, zero - x, x);
  const Floats far = one - broadcast(2.0f) / (exp(size + size) + one);
  const Floats square = x * x;
  Floats p = broadcast(-5.70498872745e-3f);
  p = fma(p, square, broadcast(2.06390887954e-2f));
  p = fma(p, square, broadcast(-5.37397155531e-2f));
  p = fma(p, square, broadcast(1.33314422036e-1f));
  p = fma(p, square, broadcast(-3.33332819422e-1f));
  const Floats near = fma(p * square, x, x);
  return select(size <= broadcast(0.625f), near, select(x <= zero, zero - far, far));
}

/// Computes the logarithm of positive normal x; NaN stays NaN.
inline Floats log(Floats x) {
  const Floats one = broadcast(1.0f);
  // x = 2^e * m with m in [sqrt(1/2), sqrt(2)): the exponent is extracted after a shift by sqrt(1/2)'s fraction.
  const Ints shifted = bits_of(x) + broadcast(static_cast<int32_t>(0x3f800000 - 0x3f3504f3));
  const Ints exponent = shift_right<23>(shifted) + broadcast(-127);
  const Floats e = to_floats(exponent);
  const Ints minus_exponent = (exponent ^ broadcast(-1)) + broadcast(1);
  const Floats m = from_bits(bits_of(x) + shift_left<23>(minus_exponent)) - one;
  const Floats square = m * m;
  Floats p = broadcast(7.0376836292e-2f);
  p = fma(p, m, broadcast(-1.1514610310e-1f));
  p = fma(p, m, broadcast(1.1676998740e-1f));
  p = fma(p, m, broadcast(-1.2420140846e-1f));
  p = fma(p, m, broadcast(1.4249322787e-1f));
  p = fma(p, m, broadcast(-1.6668057665e-1f));
  p = fma(p, m, broadcast(2.0000714765e-1f));
  p = fma(p, m, broadcast(-2.4999993993e-1f));
  p = fma(p, m, broadcast(3.3333331174e-1f));
  Floats y = p * square * m;
  y = fma(e, broadcast(-2.12194440e-4f), y);
  y = fma(square, broadcast(-0.5f), y);
  y = fma(e, broadcast(0.693359375f), m + y);
  return select(not_a_number(x), x, y);
}

/// Computes sine and cosine of 2 pi * turns, for turns from -1/2 to slightly above 1.
inline void sine_and_cosine(Floats turns, Floats& sine, Floats& cosine) {
  const Floats quarters = nearest(turns * broadcast(4.0f)), zero = broadcast(0.0f);
  const Floats x = fma(quarters, broadcast(-0.25f), turns) * broadcast(6.28318530717958648f);  // within pi / 4 of 0
  const Floats square = x * x;
  Floats p = broadcast(-1.9515295891e-4f);
  p = fma(p, square, broadcast(8.3321608736e-3f));
  p = fma(p, square, broadcast(-1.6666654611e-1f));
  const Floats s = fma(p * square, x, x);
  p = broadcast(2.443315711809948e-5f);
  p = fma(p, square, broadcast(-1.388731625493765e-3f));
  p = fma(p, square, broadcast(4.166664568298827e-2f));
  const Floats c = fma(p * square, square, fma(square, broadcast(-0.5f), broadcast(1.0f)));
  const Floats which = to_floats(shift_right<30>(shift_left<30>(to_ints(quarters))));  // modulo 4
  const Mask one = which > broadcast(0.5f), two = which > broadcast(1.5f), three = which > broadcast(2.5f);
  sine = select(three, zero - c, select(two, zero - s, select(one, c, s)));
  cosine = select(three, s, select(two, zero - c, select(one, zero - s, c)));
}

}  // namespace lenet
