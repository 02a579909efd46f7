// The networks as one writes them down: loops over single numbers, in double precision, for the shape in network.h.
//
// Nothing here is fast. It says what the kernels compute, and compare.cpp checks that they do. A gradient is that of the
// loss; where a function is handed a gradient to add to, it says so.
#pragma once
#include <math.h>

#include "options.h"

namespace plain {

using lenet::classes, lenet::hidden, lenet::kernel, lenet::layers, lenet::pixels, lenet::side;
constexpr lenet::Convolutions convolutions = lenet::shape.convolutions;
constexpr int maps1 = lenet::convolutional ? convolutions.channels1 : 1;
constexpr int maps2 = lenet::convolutional ? convolutions.channels2 : 1;
constexpr int side1 = side - kernel + 1, side2 = side1 / 2, side3 = side2 - kernel + 1, side4 = side3 / 2;

constexpr int outputs(int layer) { return lenet::shape.units[layer]; }
constexpr int inputs(int layer) {
  return layer > 0 ? outputs(layer - 1) : lenet::convolutional ? maps2 * side4 * side4 : pixels;
}
constexpr int weights_before(int layer) {
  return layer == 0 ? 0 : weights_before(layer - 1) + outputs(layer - 1) * inputs(layer - 1);
}
constexpr int outputs_before(int layer) { return layer == 0 ? 0 : outputs_before(layer - 1) + outputs(layer - 1); }

/// z[m][y][x] = bias[m] + sum over c, ky, kx of weight[m][c][ky][kx] * in[c][y + ky][x + kx].
template <int maps, int channels, int wide, int side>
void convolution(const double (&in)[channels][wide][wide], const double (&weight)[maps][channels][kernel][kernel],
                 const double (&bias)[maps], double (&z)[maps][side][side]) {
  for (int m = 0; m < maps; ++m)
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x) {
        z[m][y][x] = bias[m];
        for (int c = 0; c < channels; ++c)
          for (int ky = 0; ky < kernel; ++ky)
            for (int kx = 0; kx < kernel; ++kx) z[m][y][x] += weight[m][c][ky][kx] * in[c][y + ky][x + kx];
      }
}

/// Adds to all three gradients.
template <int maps, int channels, int wide, int side>
void convolution_backward(const double (&in)[channels][wide][wide],
                          const double (&weight)[maps][channels][kernel][kernel],
                          const double (&z_gradient)[maps][side][side],
                          double (&weight_gradient)[maps][channels][kernel][kernel], double (&bias_gradient)[maps],
                          double (&in_gradient)[channels][wide][wide]) {
  for (int m = 0; m < maps; ++m)
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x) {
        bias_gradient[m] += z_gradient[m][y][x];
        for (int c = 0; c < channels; ++c)
          for (int ky = 0; ky < kernel; ++ky)
            for (int kx = 0; kx < kernel; ++kx) {
              weight_gradient[m][c][ky][kx] += z_gradient[m][y][x] * in[c][y + ky][x + kx];
              in_gradient[c][y + ky][x + kx] += z_gradient[m][y][x] * weight[m][c][ky][kx];
            }
      }
}

/// The largest of each 2 x 2, and which of them it was (0 to 3, row by row); of equals the first. Or their mean.
template <int maps, int wide, int side>
void pool(const double (&in)[maps][wide][wide], double (&out)[maps][side][side], int (&chosen)[maps][side][side]) {
  for (int m = 0; m < maps; ++m)
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x) {
        double sum = 0;
        chosen[m][y][x] = 0;
        for (int i = 0; i < 4; ++i) {
          const double candidate = in[m][2 * y + i / 2][2 * x + i % 2];
          sum += candidate;
          if (i == 0 || candidate > out[m][y][x]) out[m][y][x] = candidate, chosen[m][y][x] = i;
        }
        if (lenet::average) out[m][y][x] = sum / 4;
      }
}

/// Hands each gradient to the one that was chosen, or a quarter of it to each. `in_gradient` begins with zeros.
template <int maps, int wide, int side>
void pool_backward(const double (&out_gradient)[maps][side][side], const int (&chosen)[maps][side][side],
                   double (&in_gradient)[maps][wide][wide]) {
  for (int m = 0; m < maps; ++m)
    for (int y = 0; y < 2 * side; ++y)
      for (int x = 0; x < 2 * side; ++x) {
        const double g = out_gradient[m][y / 2][x / 2];
        const bool mine = chosen[m][y / 2][x / 2] == y % 2 * 2 + x % 2;
        in_gradient[m][y][x] = lenet::average ? g / 4 : mine ? g : 0;
      }
}

/// out[j] = bias[j] + sum over i of weight[j * inputs + i] * in[i].
inline void dense(int inputs, int outputs, const double* in, const double* weight, const double* bias, double* out) {
  for (int j = 0; j < outputs; ++j) {
    out[j] = bias[j];
    for (int i = 0; i < inputs; ++i) out[j] += weight[j * inputs + i] * in[i];
  }
}

/// Adds to all three gradients.
inline void dense_backward(int inputs, int outputs, const double* in, const double* weight, const double* out_gradient,
                           double* weight_gradient, double* bias_gradient, double* in_gradient) {
  for (int j = 0; j < outputs; ++j) {
    bias_gradient[j] += out_gradient[j];
    for (int i = 0; i < inputs; ++i) {
      weight_gradient[j * inputs + i] += out_gradient[j] * in[i];
      in_gradient[i] += out_gradient[j] * weight[j * inputs + i];
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
inline double cross_entropy(const double* logits, int label, double smoothing, double* gradient) {
  double total = 0, loss = 0;
  for (int c = 0; c < classes; ++c) total += exp(logits[c]);
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
  double conv1_weight[maps1][1][kernel][kernel], conv1_bias[maps1];
  double conv2_weight[maps2][maps1][kernel][kernel], conv2_bias[maps2];
  double weight[weights_before(layers)], bias[outputs_before(layers)];  // of the linear layers, one after another
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

/// The loss of an image; adds to the gradient of all parameters.
inline double train(const Network& net, lenet::Activation act, double parameter, const double (&image)[1][side][side],
                    int label, double smoothing, Network& gradient) {
  static double c1[maps1][side1][side1], c1_slopes[maps1][side1][side1], s2[maps1][side2][side2];
  static double c3[maps2][side3][side3], c3_slopes[maps2][side3][side3], s4[maps2][side4][side4];
  static double in[layers + 1][lenet::larger_of(pixels, 4096)], slopes[layers][4096];  // inputs of the linear layers
  int chosen2[maps1][side2][side2], chosen4[maps2][side4][side4];
  if (lenet::convolutional) {
    convolution(image, net.conv1_weight, net.conv1_bias, c1);
    activate(act, parameter, c1[0][0], c1_slopes[0][0], maps1 * side1 * side1);
    pool(c1, s2, chosen2);
    convolution(s2, net.conv2_weight, net.conv2_bias, c3);
    activate(act, parameter, c3[0][0], c3_slopes[0][0], maps2 * side3 * side3);
    pool(c3, s4, chosen4);
  }
  memcpy(in[0], lenet::convolutional ? s4[0][0] : image[0][0], inputs(0) * sizeof(double));
  for (int l = 0; l < layers; ++l) {
    dense(inputs(l), outputs(l), in[l], net.weight + weights_before(l), net.bias + outputs_before(l), in[l + 1]);
    if (l < hidden) activate(act, parameter, in[l + 1], slopes[l], outputs(l));
  }

  static double gradients[layers + 1][lenet::larger_of(pixels, 4096)];  // of the inputs of the linear layers
  memset(gradients, 0, sizeof gradients);
  const double loss = cross_entropy(in[layers], label, smoothing, gradients[layers]);
  for (int l = hidden; l >= 0; --l) {
    if (l < hidden) multiply(gradients[l + 1], slopes[l], outputs(l));
    dense_backward(inputs(l), outputs(l), in[l], net.weight + weights_before(l), gradients[l + 1],
                   gradient.weight + weights_before(l), gradient.bias + outputs_before(l), gradients[l]);
  }
  if (!lenet::convolutional) return loss;
  static double s4_gradient[maps2][side4][side4], c3_gradient[maps2][side3][side3], c1_gradient[maps1][side1][side1];
  double s2_gradient[maps1][side2][side2] = {}, image_gradient[1][side][side] = {};
  memcpy(s4_gradient, gradients[0], sizeof s4_gradient);
  pool_backward(s4_gradient, chosen4, c3_gradient);
  multiply(c3_gradient[0][0], c3_slopes[0][0], maps2 * side3 * side3);
  convolution_backward(s2, net.conv2_weight, c3_gradient, gradient.conv2_weight, gradient.conv2_bias, s2_gradient);
  pool_backward(s2_gradient, chosen2, c1_gradient);
  multiply(c1_gradient[0][0], c1_slopes[0][0], maps1 * side1 * side1);
  convolution_backward(image, net.conv1_weight, c1_gradient, gradient.conv1_weight, gradient.conv1_bias,
                       image_gradient);
  return loss;
}

}  // namespace plain
