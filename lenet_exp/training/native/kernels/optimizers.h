// SGD, Adam, AdamW, and RMSprop as in torch.optim, except that tiny numbers count as 0. A step can also clip the
// gradient and update a moving average.
//
// The caller computes coefficients in double precision. They are rounded here.
#pragma once
#include "functions.h"
#include "options.h"

namespace lenet {

/// Returns the norm of a gradient. Squares are summed in 16 lanes per block; blocks are summed in double precision.
inline double norm(const float* gradient) {
  constexpr int block = 32 * lanes;
  double total = 0;
  for (int from = 0; from < parameters; from += block) {
    Floats sums = broadcast(0.0f);
    for (int i = from; i < from + block && i < parameters; i += lanes) {
      const Floats g = load(gradient + i);
      sums = fma(g, g, sums);
    }
    total += static_cast<double>(sum_of_lanes(sums));
  }
  return __builtin_sqrt(total);
}

/// Replaces numbers below `least` by 0.
///
/// The gradient of a dead ReLU's weights is 0, so their averages shrink until they are subnormal. If such weights decay,
/// Adam also shrinks them, because it divides by the size of the gradient. A CPU can need a hundred times as long to
/// compute with subnormal numbers.
inline Floats zero_below(float least, Floats a) {
  const Floats zero = broadcast(0.0f), size = larger_or_nan(zero - a, a);
  return select(broadcast(least) > size, zero, a);
}
constexpr float least_gradient = 8.8817842e-16f;  // 2^-50, far below Adam's eps
constexpr float least_average = 7.8886091e-31f;   // 2^-100

/// Each optimizer is called with the position, gradient, and weights of a vector, and returns the new weights.
struct Sgd {
  float* momentum_buffer;
  Floats lr, momentum, fresh;
  bool nesterov;
  explicit Sgd(const Update& u)
      : momentum_buffer(u.state[0]), lr(broadcast(static_cast<float>(-u.lr))),
        momentum(broadcast(static_cast<float>(u.momentum))), fresh(broadcast(static_cast<float>(u.fresh))),
        nesterov(u.nesterov != 0) {}
  Floats operator()(int at, Floats g, Floats w) const {
    if (momentum_buffer) {
      const Floats buffer = zero_below(least_average, fma(momentum, load(momentum_buffer + at), fresh * g));
      store(momentum_buffer + at, buffer);
      g = nesterov ? fma(momentum, buffer, g) : buffer;
    }
    return fma(lr, g, w);
  }
};

struct Adam {
  float *exp_avg, *exp_avg_sq, *max_exp_avg_sq;
  Floats step, beta2, rest1, rest2, root_correction2, eps;
  explicit Adam(const Update& u)
      : exp_avg(u.state[0]), exp_avg_sq(u.state[1]), max_exp_avg_sq(u.state[2]),
        step(broadcast(static_cast<float>(-u.lr / u.correction1))), beta2(broadcast(static_cast<float>(u.beta2))),
        rest1(broadcast(static_cast<float>(1 - u.beta1))), rest2(broadcast(static_cast<float>(1 - u.beta2))),
        root_correction2(broadcast(static_cast<float>(__builtin_sqrt(u.correction2)))),
        eps(broadcast(static_cast<float>(u.eps))) {}
  Floats operator()(int at, Floats g, Floats w) const {
    g = zero_below(least_gradient, g);
    const Floats before = load(exp_avg + at), mean = zero_below(least_average, fma(rest1, g - before, before));
    Floats square = zero_below(least_average, fma(beta2, load(exp_avg_sq + at), rest2 * (g * g)));
    store(exp_avg + at, mean);
    store(exp_avg_sq + at, square);
    if (max_exp_avg_sq) {
      const Floats most = load(max_exp_avg_sq + at);
      square = select(square <= most, most, square);
      store(max_exp_avg_sq + at, square);
    }
    return fma(step, mean / (root(square) / root_correction2 + eps), w);
  }
};

struct RmsProp {
  float *square_avg, *momentum_buffer, *grad_avg;
  Floats lr, alpha, rest, momentum, eps;
  explicit RmsProp(const Update& u)
      : square_avg(u.state[0]), momentum_buffer(u.state[1]), grad_avg(u.state[2]),
        lr(broadcast(static_cast<float>(-u.lr))), alpha(broadcast(static_cast<float>(u.alpha))),
        rest(broadcast(static_cast<float>(1 - u.alpha))), momentum(broadcast(static_cast<float>(u.momentum))),
        eps(broadcast(static_cast<float>(u.eps))) {}
  Floats operator()(int at, Floats g, Floats w) const {
    const Floats zero = broadcast(0.0f);
    g = zero_below(least_gradient, g);
    Floats square = zero_below(least_average, fma(alpha, load(square_avg + at), rest * (g * g)));
    store(square_avg + at, square);
    if (grad_avg) {
      const Floats before = load(grad_avg + at), mean = zero_below(least_average, fma(rest, g - before, before));
      store(grad_avg + at, mean);
      square = fma(zero - mean, mean, square);
      square = select(square <= zero, zero, square);  // a variance; rounding could make it negative
    }
    Floats change = g / (root(square) + eps);
    if (momentum_buffer) {
      change = zero_below(least_average, fma(momentum, load(momentum_buffer + at), change));
      store(momentum_buffer + at, change);
    }
    return fma(lr, change, w);
  }
};

template <class Optimizer>
inline void update(const Optimizer& optimizer, const Update& u, float* weights, const float* gradient, double share) {
  const Floats factor = broadcast(static_cast<float>(u.maximize ? -share : share));
  const Floats decay = broadcast(static_cast<float>(u.weight_decay));
  const Floats kept = broadcast(static_cast<float>(1 - u.lr * u.weight_decay));
  const Floats towards = broadcast(static_cast<float>(1 - u.average_decay));
  const bool coupled = u.weight_decay != 0 && !u.decoupled, decoupled = u.weight_decay != 0 && u.decoupled;
  for (int at = 0; at < parameters; at += lanes) {
    Floats w = load(weights + at), g = load(gradient + at) * factor;
    if (coupled) g = fma(decay, w, g);
    if (decoupled) w = w * kept;
    w = optimizer(at, g, w);
    store(weights + at, w);
    if (u.average) {
      const Floats average = load(u.average + at);
      store(u.average + at, fma(towards, w - average, average));
    }
  }
}

inline void update(const Update& u, float* weights, const float* gradient) {
  double share = 1;
  if (u.clip_norm > 0) {
    const double wanted = u.clip_norm / (norm(gradient) + 1e-6);
    share = wanted > 1 ? 1 : wanted;
  }
  switch (u.rule) {
    case Rule::sgd: return update(Sgd(u), u, weights, gradient, share);
    case Rule::adam: return update(Adam(u), u, weights, gradient, share);
    case Rule::rmsprop: return update(RmsProp(u), u, weights, gradient, share);
  }
}

}  // namespace lenet
