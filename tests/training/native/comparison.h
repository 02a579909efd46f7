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

/// Calls `body` with each parameter and its place in the kernels' array.
template <class Body> void each_parameter(plain::Network& net, Body body) {
  using namespace lenet;
  for (int m = 0; m < 6; ++m) {
    body("conv1.bias", net.conv1_bias[m], conv1_bias + m);
    for (int t = 0; t < 25; ++t)
      body("conv1.weight", net.conv1_weight[m][0][t / 5][t % 5], conv1_weight + m * 25 + t);
  }
  for (int m = 0; m < 16; ++m) {
    body("conv2.bias", net.conv2_bias[m], conv2_bias + m);
    for (int c = 0; c < 6; ++c)
      for (int t = 0; t < 25; ++t)
        body("conv2.weight", net.conv2_weight[m][c][t / 5][t % 5], conv2_weight + (t * 6 + c) * 16 + m);
  }
  const auto layer = [&](const char* weight_name, auto& weight, int at, const char* bias_name, auto& bias, int bias_at,
                         int row) {
    for (auto& b : bias) body(bias_name, b, bias_at + static_cast<int>(&b - bias));
    for (auto& of_output : weight)
      for (auto& w : of_output)
        body(weight_name, w, at + static_cast<int>((&w - of_output) * row + (&of_output - weight)));
  };
  layer("fc1.weight", net.fc1_weight, fc1_weight, "fc1.bias", net.fc1_bias, fc1_bias, row1);
  layer("fc2.weight", net.fc2_weight, fc2_weight, "fc2.bias", net.fc2_bias, fc2_bias, row2);
  layer("fc3.weight", net.fc3_weight, fc3_weight, "fc3.bias", net.fc3_bias, fc3_bias, row3);
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
