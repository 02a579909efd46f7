// What compare.cpp compares with: pairs of numbers, and a network that both sides have.
#pragma once
#include <stdio.h>

#include "made_up.h"
#include "network.h"
#include "plain.h"

inline bool all_right = true;

/// Sees pairs of numbers; says at its end how far they were apart. (Of several the last one made says it first.)
class Comparison {
 public:
  explicit Comparison(const char* name) : name_(name) {}
  ~Comparison() {
    const bool right = largest_ > 0 && error_ <= 1e-5 * largest_;  // false where one is NaN
    printf("%-24s %.1e%s\n", name_, error_ / largest_, right ? "" : " WRONG");
    all_right = all_right && right;
  }
  void see(double found, double expected) {
    const double error = fabs(found - expected);
    if (!(error <= error_)) error_ = error;
    if (fabs(expected) > largest_) largest_ = fabs(expected);
  }

 private:
  const char* name_;
  double error_ = 0, largest_ = 0;
};

/// Floats, so that both sides begin with the same numbers.
template <class Numbers> void make_up(Numbers& numbers, float bound) {
  double* each = reinterpret_cast<double*>(&numbers);
  for (size_t i = 0; i < sizeof numbers / sizeof *each; ++i) each[i] = made_up() * bound;
}

constexpr const char* names[] = {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "weight 0", "bias 0",
                                 "weight 1",     "bias 1",     "weight 2",     "bias 2",     "weight 3", "bias 3",
                                 "weight 4",     "bias 4",     "weight 5",     "bias 5",     "weight 6", "bias 6",
                                 "weight 7",     "bias 7"};

/// Calls `body` with the name of each parameter's layer, the parameter, and its place in the kernels' array.
template <class Body> void each_parameter(plain::Network& net, Body body) {
  using namespace lenet;
  for (int m = 0; convolutional && m < plain::maps1; ++m) {
    body(names[1], net.conv1_bias[m], conv1_bias + m);
    for (int t = 0; t < taps; ++t)
      body(names[0], net.conv1_weight[m][0][t / kernel][t % kernel], conv1_weight + m * taps + t);
  }
  for (int m = 0; convolutional && m < plain::maps2; ++m) {
    body(names[3], net.conv2_bias[m], conv2_bias + m);
    for (int c = 0; c < plain::maps1; ++c)
      for (int t = 0; t < taps; ++t)
        body(names[2], net.conv2_weight[m][c][t / kernel][t % kernel],
             conv2_weight + (t * lenet::maps1 + c) * lenet::maps2 + m);
  }
  for (int l = 0; l < layers; ++l)
    for (int j = 0; j < plain::outputs(l); ++j) {
      body(names[5 + 2 * l], net.bias[plain::outputs_before(l) + j], bias_of(l) + j);
      for (int i = 0; i < plain::inputs(l); ++i)
        body(names[4 + 2 * l], net.weight[plain::weights_before(l) + j * plain::inputs(l) + i],
             weight_of(l) + i * row_of(l) + j);
    }
}

/// A network, as both sides want it.
struct Made {
  plain::Network* plain = room<plain::Network>(1);
  float* kernels = room<float>(lenet::parameters);
  Made() {
    make_up(*plain, 0.1f);
    each_parameter(*plain, [&](const char*, double& value, int at) { kernels[at] = static_cast<float>(value); });
  }
  ~Made() { free(plain), free(kernels); }
};
