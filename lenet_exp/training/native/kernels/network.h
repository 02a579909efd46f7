// The shape of a network, and the positions of its parameters.
//
// A network is a LeNet (LeCun et al. 1998, section II.B), or only its linear layers. Its shape is a constant of the
// compilation: -DLENET_SHAPE=... replaces LeNet-5's. Channels are padded with maps whose weights are zero. They remain
// zero, because the values and the gradients of a padded map are zero. Rows are padded to whole vectors in the same way.
//
// Layers have the same names as in lenet5.py. s2 and s4 are the paper's names for the pooled outputs of conv1 and
// conv2. Linear layers are numbered from 0, activations from 0 in the order of their layers.
#pragma once
#include <stdint.h>

#include "vector.h"

namespace lenet {

#ifndef LENET_SHAPE
#define LENET_SHAPE 32, {5, 6, 16, false}, {120, 84, 10}
#endif

constexpr int most_layers = 8;
struct Convolutions {  // all 0: the network has only linear layers
  int kernel, channels1, channels2;
  bool average;  // average pooling instead of maximum pooling
};
struct Shape {
  int side;                // height and width of an image
  Convolutions convolutions;
  int units[most_layers];  // outputs of each linear layer; the last ones are the classes
};
constexpr Shape shape{LENET_SHAPE};

constexpr int round_up(int n, int multiple = lanes) { return (n + multiple - 1) / multiple * multiple; }
constexpr int common_divisor(int a, int b) { return b == 0 ? a : common_divisor(b, a % b); }
constexpr int larger_of(int a, int b) { return a > b ? a : b; }
constexpr int count_layers() {
  int count = 0;
  while (count < most_layers && shape.units[count] > 0) ++count;
  return count;
}

constexpr bool convolutional = shape.convolutions.kernel > 0, average = shape.convolutions.average;
constexpr int layers = count_layers(), hidden = layers - 1, activations = hidden + (convolutional ? 2 : 0);
constexpr int side = shape.side, pixels = side * side;
// Without convolutions, the sizes from here to `width2` belong to code that is compiled, but never called.
constexpr int kernel = convolutional ? shape.convolutions.kernel : 1, taps = kernel * kernel;
// conv1 processes 1, 2, or 3 maps at once, and conv2's forward pass three or six maps of s2.
constexpr int maps_at_once = shape.convolutions.channels1 <= 3 ? 3 : 6;
constexpr int maps1 = round_up(convolutional ? shape.convolutions.channels1 : 1, maps_at_once);
constexpr int maps2 = round_up(convolutional ? shape.convolutions.channels2 : 1), blocks2 = maps2 / lanes;
constexpr int side2 = (side - kernel + 1) / 2, side4 = (side2 - kernel + 1) / 2;  // of s2 and s4
constexpr int width2 = 2 * side4;      // width of conv2's maps before pooling
constexpr int places4 = side4 * side4;
constexpr int phases = average ? 4 : 1;  // values of a window that have a gradient

// One row of a map's kernel in conv2 (in LeNet-5: 5 columns of 6 maps of s2) is padded to pairs of vectors. conv2's
// gradients are computed panel by panel: as many columns of all rows as registers allow.
constexpr int kernel_row = round_up(kernel * maps1, 2 * lanes);
constexpr int panel_vectors = part::registers / parts >= 32 ? 2 : 1, panel = panel_vectors * lanes;
constexpr int panels = kernel_row / panel;

static_assert(side <= 2 * lanes && pixels % lanes == 0, "a row is two vectors, an image whole vectors");
static_assert(kernel <= 8 && side2 <= lanes, "a kernel's row is an octet; a row of s2 is a vector");
static_assert(side4 > 0, "the kernels fit in the image");

// The linear layers: inputs, and outputs padded to whole vectors.
constexpr int flat = convolutional ? maps2 * places4 : pixels;
constexpr int classes = shape.units[layers - 1];
constexpr int inputs_of(int layer) { return layer == 0 ? flat : shape.units[layer - 1]; }
constexpr int row_of(int layer) { return round_up(shape.units[layer]); }
constexpr int input_row_of(int layer) { return round_up(inputs_of(layer)); }
/// Returns the position of a layer's outputs in an array of the outputs of all layers.
constexpr int output_at(int layer) { return layer == 0 ? 0 : output_at(layer - 1) + row_of(layer - 1); }
constexpr int class_row = row_of(layers - 1);

// Parameters, gradients, and optimizer states are arrays of `parameters` floats.
constexpr int conv1_weight = 0;                                     // [map][ky][kx]
constexpr int conv1_bias = conv1_weight + round_up(taps * maps1);
constexpr int conv2_weight = conv1_bias + round_up(maps1);                    // [ky][kx][map of s2][map]
constexpr int conv2_bias = conv2_weight + taps * maps1 * maps2;
constexpr int conv_parameters = convolutional ? conv2_bias + maps2 : 0;
/// [input][unit]; the inputs of a LeNet's first linear layer are [map of s4][y][x].
constexpr int weight_of(int layer) {
  return layer == 0 ? conv_parameters : weight_of(layer - 1) + (inputs_of(layer - 1) + 1) * row_of(layer - 1);
}
constexpr int bias_of(int layer) { return weight_of(layer) + inputs_of(layer) * row_of(layer); }
constexpr int slopes = weight_of(layers);  // PReLU's slope of each activation
constexpr int parameters = slopes + round_up(activations);

// conv1's maps: [map][y][x], each row padded to a vector.
constexpr int planar2 = maps1 * side2 * lanes;
// s2: [y][x][map]. conv2's gradients read whole vectors that can start at its last pixels.
// conv1's bias gradient reads whole periods, after which the maps of the lanes repeat.
constexpr int period2 = maps1 / common_divisor(maps1, lanes) * lanes;
constexpr int size2 = side2 * side2 * maps1, vectors2 = (size2 + lanes - 1) / lanes;
constexpr int padded2 =
    lanes + larger_of(round_up(size2, period2), round_up(size2 + kernel_row - kernel * maps1));

}  // namespace lenet
