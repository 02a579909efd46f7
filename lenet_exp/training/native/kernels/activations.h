// The seven activations. Each returns its value and `kept`, which the backward pass needs. `kept` is the derivative,
// except for PReLU, whose slope also has a gradient: `kept` is then the input.
//
// At 0, the derivative is that of the negative side, as in torch. For RReLU, it is that of the positive side. NaN stays
// NaN.
#pragma once
#include "functions.h"
#include "options.h"
#include "pooling.h"
#include "random.h"

namespace lenet {

struct Activated {
  Floats value, kept;
};

inline Mask at_most_0(Floats z) { return z <= broadcast(0.0f); }

struct Relu {
  Activated operator()(Floats z) const {
    const Floats zero = broadcast(0.0f);
    return {select(at_most_0(z), zero, z), select(at_most_0(z), zero, broadcast(1.0f))};
  }
};

/// Leaky ReLU, and RReLU outside training.
struct LeakyRelu {
  float slope;
  Activated operator()(Floats z) const {
    const Floats a = broadcast(slope);
    return {select(at_most_0(z), z * a, z), select(at_most_0(z), a, broadcast(1.0f))};
  }
};

/// ELU and SELU: scale * (z if z > 0 else alpha * (e^z - 1)).
struct Elu {
  float scale, alpha;
  Activated operator()(Floats z) const {
    const Mask negative = at_most_0(z);
    const Floats c = broadcast(scale), limit = broadcast(scale * alpha);
    const Floats below = limit * exp_minus_1(z);
    return {select(negative, below, c * z), select(negative, below + limit, c)};
  }
};

struct Tanh {
  Activated operator()(Floats z) const {
    const Floats y = tanh(z);
    return {y, fma(broadcast(0.0f) - y, y, broadcast(1.0f))};
  }
};

struct Prelu {
  float slope;
  Activated operator()(Floats z) const { return {select(at_most_0(z), z * broadcast(slope), z), z}; }
};

/// RReLU in training. The slope of each z is a uniform number scaled by `range` and shifted by `lower`.
struct Rrelu {
  float lower, range;
  Activated operator()(Floats z, Floats uniform) const {
    const Floats slope = fma(uniform, broadcast(range), broadcast(lower)), one = broadcast(1.0f);
    const Mask negative = broadcast(0.0f) > z;
    return {select(negative, z * slope, z), select(negative, slope, one)};
  }
};

/// Activates two vectors at a time, because random numbers come in pairs of vectors.
template <class Function> struct Plain {
  Function function;
  void operator()(Floats z1, Floats z2, int, Activated& a1, Activated& a2) const {
    a1 = function(z1);
    a2 = function(z2);
  }
};

struct Noisy {
  Rrelu function;
  Noise noise;
  int first;  // first block of random numbers
  void operator()(Floats z1, Floats z2, int block, Activated& a1, Activated& a2) const {
    Floats u1, u2;
    noise.draw(first + block, u1, u2);
    a1 = function(z1, u1);
    a2 = function(z2, u2);
  }
};

/// Calls `body` with the function of an activation.
template <class Body>
inline void with_activation(const Options& options, const float* parameters, int number, Noise noise, Body&& body) {
  const float alpha = static_cast<float>(options.alpha), upper = static_cast<float>(options.upper);
  switch (options.activation) {
    case Activation::relu: return body(Plain<Relu>{});
    case Activation::leaky_relu: return body(Plain<LeakyRelu>{{alpha}});
    case Activation::elu: return body(Plain<Elu>{{1.0f, alpha}});
    case Activation::selu: return body(Plain<Elu>{{1.0507009873554805f, 1.6732632423543772f}});
    case Activation::tanh: return body(Plain<Tanh>{});
    case Activation::prelu: return body(Plain<Prelu>{{parameters[slopes + number]}});
    case Activation::rrelu:
      if (!options.training) return body(Plain<LeakyRelu>{{static_cast<float>((options.alpha + options.upper) / 2)}});
      return body(Noisy{{alpha, upper - alpha}, noise, first_block(number)});
  }
}

/// Applies an activation to `vectors` vectors of z. `value` can be `z`. `function` is passed by value, so that stores
/// cannot alias it.
template <class Function>
inline void activate(Function function, const float* z, float* value, float* kept, int vectors) {
  for (int i = 0; i < vectors; i += 2) {
    // If the number of vectors is odd, the last vector is computed twice; the first result is stored last.
    const int first = i * lanes, second = (i + 1 < vectors ? i + 1 : i) * lanes;
    Activated a, b;
    function(load(z + first), load(z + second), i / 2, a, b);
    store(value + second, b.value);
    store(kept + second, b.kept);
    store(value + first, a.value);
    store(kept + first, a.kept);
  }
}

/// Applies an activation that is not monotone to the four phases of each window, and keeps the largest value.
/// width: see `place_of`.
template <int width, class Function>
inline void activate_and_pool(Function function, const float* unpooled, float* value, float* kept,
                              int8_t* chosen, int size) {
  for (int at = 0; at < size; at += lanes) {
    Activated a[4];
    for (int q = 0; q < 4; q += 2)
      function(load(unpooled + q * size + at), load(unpooled + (q + 1) * size + at), at / lanes * 2 + q / 2, a[q],
               a[q + 1]);
    Floats largest = a[0].value, of_largest = a[0].kept;
    Ints number = broadcast(0);
    for (int q = 1; q < 4; ++q) {
      const Mask better = larger(a[q].value, largest);
      largest = select(better, a[q].value, largest);
      of_largest = select(better, a[q].kept, of_largest);
      number = select(better, broadcast(place_of(q, width)), number);
    }
    store(value + at, largest);
    store(kept + at, of_largest);
    store_bytes(chosen + at, number);
  }
}

/// Applies an activation to the four phases of each window, and averages them. kept: [phase], `size` values each.
template <class Function>
inline void activate_and_average(Function function, const float* unpooled, float* value, float* kept, int size) {
  for (int at = 0; at < size; at += lanes) {
    Floats pairs[2];
    for (int q = 0; q < 4; q += 2) {
      Activated a, b;
      function(load(unpooled + q * size + at), load(unpooled + (q + 1) * size + at), at / lanes * 2 + q / 2, a, b);
      store(kept + q * size + at, a.kept);
      store(kept + (q + 1) * size + at, b.kept);
      pairs[q / 2] = a.value + b.value;
    }
    store(value + at, (pairs[0] + pairs[1]) * broadcast(0.25f));
  }
}

/// Distributes the gradients of averages to four phases: [phase], `size` values each. `gradient` begins with the input.
inline void spread_average(float* gradient, int size) {
  for (int at = 0; at < size; at += lanes) {
    const Floats quarter = load(gradient + at) * broadcast(0.25f);
    for (int q = 0; q < 4; ++q) store(gradient + q * size + at, quarter);
  }
}

/// Replaces the gradient of the output with that of the input. Adds the gradient of PReLU's slope to `slope_sums`.
inline void activation_gradient(const Options& options, float slope, const float* kept, float* gradient, int vectors,
                                Floats& slope_sums) {
  if (options.activation != Activation::prelu) {
    for (int i = 0; i < vectors * lanes; i += lanes) store(gradient + i, load(gradient + i) * load(kept + i));
    return;
  }
  for (int i = 0; i < vectors * lanes; i += lanes) {
    const Floats z = load(kept + i), g = load(gradient + i);
    slope_sums = fma(g, select(at_most_0(z), z, broadcast(0.0f)), slope_sums);
    store(gradient + i, select(at_most_0(z), g * broadcast(slope), g));
  }
}

}  // namespace lenet
