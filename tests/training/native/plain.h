// LeNet-5 (LeCun et al. 1998, section II.B) as one writes it down: loops over single numbers, in double precision.
//
// Nothing here is fast. It says what the kernels compute, and compare.cpp checks that they do. A gradient is that of the
// loss; where a function is handed a gradient to add to, it says so.
#pragma once
#include <math.h>

#include "options.h"

namespace plain {

/// z[m][y][x] = bias[m] + sum over c, ky, kx of weight[m][c][ky][kx] * in[c][y + ky][x + kx].
template <int maps, int channels, int side>
void convolution(const double (&in)[channels][side][side], const double (&weight)[maps][channels][5][5],
                 const double (&bias)[maps], double (&z)[maps][side - 4][side - 4]) {
  for (int m = 0; m < maps; ++m)
    for (int y = 0; y < side - 4; ++y)
      for (int x = 0; x < side - 4; ++x) {
        z[m][y][x] = bias[m];
        for (int c = 0; c < channels; ++c)
          for (int ky = 0; ky < 5; ++ky)
            for (int kx = 0; kx < 5; ++kx) z[m][y][x] += weight[m][c][ky][kx] * in[c][y + ky][x + kx];
      }
}

/// Adds to all three gradients.
template <int maps, int channels, int side>
void convolution_backward(const double (&in)[channels][side][side], const double (&weight)[maps][channels][5][5],
                          const double (&z_gradient)[maps][side - 4][side - 4],
                          double (&weight_gradient)[maps][channels][5][5], double (&bias_gradient)[maps],
                          double (&in_gradient)[channels][side][side]) {
  for (int m = 0; m < maps; ++m)
    for (int y = 0; y < side - 4; ++y)
      for (int x = 0; x < side - 4; ++x) {
        bias_gradient[m] += z_gradient[m][y][x];
        for (int c = 0; c < channels; ++c)
          for (int ky = 0; ky < 5; ++ky)
            for (int kx = 0; kx < 5; ++kx) {
              weight_gradient[m][c][ky][kx] += z_gradient[m][y][x] * in[c][y + ky][x + kx];
              in_gradient[c][y + ky][x + kx] += z_gradient[m][y][x] * weight[m][c][ky][kx];
            }
      }
}

/// The largest of each 2 x 2, and which of them it was (0 to 3, row by row); of equals the first.
template <int maps, int side>
void max_pool(const double (&in)[maps][2 * side][2 * side], double (&out)[maps][side][side],
              int (&chosen)[maps][side][side]) {
  for (int m = 0; m < maps; ++m)
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x) {
        chosen[m][y][x] = 0;
        for (int i = 0; i < 4; ++i) {
          const double candidate = in[m][2 * y + i / 2][2 * x + i % 2];
          if (i == 0 || candidate > out[m][y][x]) out[m][y][x] = candidate, chosen[m][y][x] = i;
        }
      }
}

/// Hands each gradient to the one that was chosen; the others have none.
template <int maps, int side>
void max_pool_backward(const double (&out_gradient)[maps][side][side], const int (&chosen)[maps][side][side],
                       double (&in_gradient)[maps][2 * side][2 * side]) {
  for (int m = 0; m < maps; ++m)
    for (int y = 0; y < 2 * side; ++y)
      for (int x = 0; x < 2 * side; ++x) {
        const bool mine = chosen[m][y / 2][x / 2] == y % 2 * 2 + x % 2;
        in_gradient[m][y][x] = mine ? out_gradient[m][y / 2][x / 2] : 0;
      }
}

/// out[j] = bias[j] + sum over i of weight[j][i] * in[i].
template <int outputs, int inputs>
void dense(const double (&in)[inputs], const double (&weight)[outputs][inputs], const double (&bias)[outputs],
           double (&out)[outputs]) {
  for (int j = 0; j < outputs; ++j) {
    out[j] = bias[j];
    for (int i = 0; i < inputs; ++i) out[j] += weight[j][i] * in[i];
  }
}

/// Adds to all three gradients.
template <int outputs, int inputs>
void dense_backward(const double (&in)[inputs], const double (&weight)[outputs][inputs],
                    const double (&out_gradient)[outputs], double (&weight_gradient)[outputs][inputs],
                    double (&bias_gradient)[outputs], double (&in_gradient)[inputs]) {
  for (int j = 0; j < outputs; ++j) {
    bias_gradient[j] += out_gradient[j];
    for (int i = 0; i < inputs; ++i) {
      weight_gradient[j][i] += out_gradient[j] * in[i];
      in_gradient[i] += out_gradient[j] * weight[j][i];
    }
  }
}

struct Activated {
  double value, slope;
};

/// parameter: leaky ReLU's and PReLU's slope, ELU's alpha, RReLU's slope of this number.
inline Activated activation(lenet::Activation which, double parameter, double z) {
  const double scale = 1.0507009873554805, alpha = 1.6732632423543772;  // SELU's (Klambauer et al. 2017)
  switch (which) {
    case lenet::Activation::relu: return z > 0 ? Activated{z, 1} : Activated{0, 0};
    case lenet::Activation::elu: return z > 0 ? Activated{z, 1} : Activated{parameter * expm1(z), parameter * exp(z)};
    case lenet::Activation::selu:
      return z > 0 ? Activated{scale * z, scale} : Activated{scale * alpha * expm1(z), scale * alpha * exp(z)};
    case lenet::Activation::tanh: return {tanh(z), 1 - tanh(z) * tanh(z)};
    case lenet::Activation::leaky_relu:
    case lenet::Activation::prelu:
    case lenet::Activation::rrelu: break;
  }
  return z > 0 ? Activated{z, 1} : Activated{parameter * z, parameter};
}

/// -sum over classes of target * log(softmax), where a share `smoothing` of the target is spread over all classes.
template <int classes>
double cross_entropy(const double (&logits)[classes], int label, double smoothing, double (&gradient)[classes]) {
  double total = 0, loss = 0;
  for (const double logit : logits) total += exp(logit);
  for (int c = 0; c < classes; ++c) {
    const double softmax = exp(logits[c]) / total, target = smoothing / classes + (c == label ? 1 - smoothing : 0);
    loss -= target * log(softmax);
    gradient[c] = softmax - target;
  }
  return loss;
}

/// One weight's step by the rules of torch.optim; `state` as in options.h.
inline void step(const lenet::Update& u, double g, double& weight, double (&state)[3]) {
  if (u.maximize) g = -g;
  if (u.decoupled) weight -= u.lr * u.weight_decay * weight;
  if (!u.decoupled) g += u.weight_decay * weight;
  switch (u.rule) {
    case lenet::Rule::sgd:
      state[0] = u.momentum * state[0] + u.fresh * g;
      weight -= u.lr * (u.nesterov ? g + u.momentum * state[0] : state[0]);
      return;
    case lenet::Rule::adam: {
      state[0] = u.beta1 * state[0] + (1 - u.beta1) * g;
      state[1] = u.beta2 * state[1] + (1 - u.beta2) * g * g;
      state[2] = fmax(state[2], state[1]);
      const double square = (u.amsgrad ? state[2] : state[1]) / u.correction2;
      weight -= u.lr * state[0] / u.correction1 / (sqrt(square) + u.eps);
      return;
    }
    case lenet::Rule::rmsprop:
      state[0] = u.alpha * state[0] + (1 - u.alpha) * g * g;
      state[2] = u.alpha * state[2] + (1 - u.alpha) * g;
      state[1] = u.momentum * state[1] + g / (sqrt(state[0] - (u.centered ? state[2] * state[2] : 0)) + u.eps);
      weight -= u.lr * state[1];
      return;
  }
}

struct Network {
  double conv1_weight[6][1][5][5], conv1_bias[6];
  double conv2_weight[16][6][5][5], conv2_bias[16];
  double fc1_weight[120][16 * 5 * 5], fc1_bias[120];
  double fc2_weight[84][120], fc2_bias[84];
  double fc3_weight[10][84], fc3_bias[10];
};

/// The values of a layer go in, those of the activation come out; `slopes` are kept for the way back.
inline void activate(lenet::Activation which, double parameter, double* values, double* slopes, int count) {
  for (int i = 0; i < count; ++i) {
    const Activated a = activation(which, parameter, values[i]);
    values[i] = a.value;
    slopes[i] = a.slope;
  }
}

inline void multiply(double* gradients, const double* slopes, int count) {
  for (int i = 0; i < count; ++i) gradients[i] *= slopes[i];
}

/// Maps as one row of numbers, which is how fc1 sees them.
template <int maps, int side> auto flat(double (&all)[maps][side][side]) -> double (&)[maps * side * side] {
  return reinterpret_cast<double (&)[maps * side * side]>(all);
}

/// The loss of an image; adds to the gradient of all parameters.
inline double train(const Network& net, lenet::Activation act, double parameter, const double (&image)[1][32][32],
                    int label, double smoothing, Network& gradient) {
  static double c1[6][28][28], c1_slopes[6][28][28], s2[6][14][14], c3[16][10][10], c3_slopes[16][10][10], s4[16][5][5];
  double h1[120], h1_slopes[120], h2[84], h2_slopes[84], logits[10];
  int chosen2[6][14][14], chosen4[16][5][5];
  convolution(image, net.conv1_weight, net.conv1_bias, c1);
  activate(act, parameter, c1[0][0], c1_slopes[0][0], 6 * 28 * 28);
  max_pool(c1, s2, chosen2);
  convolution(s2, net.conv2_weight, net.conv2_bias, c3);
  activate(act, parameter, c3[0][0], c3_slopes[0][0], 16 * 10 * 10);
  max_pool(c3, s4, chosen4);
  dense(flat(s4), net.fc1_weight, net.fc1_bias, h1);
  activate(act, parameter, h1, h1_slopes, 120);
  dense(h1, net.fc2_weight, net.fc2_bias, h2);
  activate(act, parameter, h2, h2_slopes, 84);
  dense(h2, net.fc3_weight, net.fc3_bias, logits);

  double logits_gradient[10], h2_gradient[84] = {}, h1_gradient[120] = {}, s4_gradient[16][5][5] = {};
  double c3_gradient[16][10][10], s2_gradient[6][14][14] = {}, c1_gradient[6][28][28], image_gradient[1][32][32] = {};
  const double loss = cross_entropy(logits, label, smoothing, logits_gradient);
  dense_backward(h2, net.fc3_weight, logits_gradient, gradient.fc3_weight, gradient.fc3_bias, h2_gradient);
  multiply(h2_gradient, h2_slopes, 84);
  dense_backward(h1, net.fc2_weight, h2_gradient, gradient.fc2_weight, gradient.fc2_bias, h1_gradient);
  multiply(h1_gradient, h1_slopes, 120);
  dense_backward(flat(s4), net.fc1_weight, h1_gradient, gradient.fc1_weight, gradient.fc1_bias, flat(s4_gradient));
  max_pool_backward(s4_gradient, chosen4, c3_gradient);
  multiply(c3_gradient[0][0], c3_slopes[0][0], 16 * 10 * 10);
  convolution_backward(s2, net.conv2_weight, c3_gradient, gradient.conv2_weight, gradient.conv2_bias, s2_gradient);
  max_pool_backward(s2_gradient, chosen2, c1_gradient);
  multiply(c1_gradient[0][0], c1_slopes[0][0], 6 * 28 * 28);
  convolution_backward(image, net.conv1_weight, c1_gradient, gradient.conv1_weight, gradient.conv1_bias,
                       image_gradient);
  return loss;
}

}  // namespace plain
