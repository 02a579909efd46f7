// The shapes of a LeNet (LeCun et al. 1998, section II.B) and the positions of its parameters.
//
// The shape is a constant of the compilation: -DLENET_SHAPE=... replaces LeNet-5's. Channels are padded with maps whose
// weights are zero. They remain zero, because the values and the gradients of a padded map are zero.
//
// Layers have the same names as in lenet5.py. s2 and s4 are the paper's names for the pooled outputs of conv1 and
// conv2. Rows are padded to whole vectors with zeros, which remain zero because their gradients are zero.
#pragma once
#include <stdint.h>

#include "vector.h"

namespace lenet {

#ifndef LENET_SHAPE
#define LENET_SHAPE 5, 6, 16, 120, 84, 10
#endif

struct Shape {
  int kernel, channels1, channels2, units1, units2, classes;
};
constexpr Shape shape{LENET_SHAPE};

constexpr int round_up(int n, int multiple = lanes) { return (n + multiple - 1) / multiple * multiple; }
constexpr int common_divisor(int a, int b) { return b == 0 ? a : common_divisor(b, a % b); }
constexpr int larger_of(int a, int b) { return a > b ? a : b; }

constexpr int side = 32, pixels = side * side;
constexpr int kernel = shape.kernel, taps = kernel * kernel;
constexpr int maps_at_once = 6;        // conv1 processes 2 or 3 maps at once, and conv2 six maps of s2
constexpr int maps1 = round_up(shape.channels1, maps_at_once), side2 = (side - kernel + 1) / 2;  // s2
constexpr int maps2 = round_up(shape.channels2), side4 = (side2 - kernel + 1) / 2;              // s4
constexpr int blocks2 = maps2 / lanes;
constexpr int width2 = 2 * side4;      // width of conv2's maps before pooling
constexpr int places4 = side4 * side4, flat = maps2 * places4;
constexpr int units1 = shape.units1, units2 = shape.units2, classes = shape.classes;   // fc1, fc2, fc3
constexpr int row1 = round_up(units1), row2 = round_up(units2), row3 = round_up(classes);

// One row of a map's kernel in conv2 (in LeNet-5: 5 columns of 6 maps of s2) is padded to pairs of vectors.
constexpr int kernel_row = round_up(kernel * maps1, 2 * lanes);

static_assert(kernel <= 8 && side2 <= lanes, "a kernel's row is an octet; a row of s2 is a vector");
static_assert(side4 > 0, "the kernels fit in the image");

// Parameters, gradients, and optimizer states are arrays of `parameters` floats.
constexpr int conv1_weight = 0;                                     // [map][ky][kx]
constexpr int conv1_bias = conv1_weight + round_up(taps * maps1);
constexpr int conv2_weight = conv1_bias + round_up(maps1);                    // [ky][kx][map of s2][map]
constexpr int conv2_bias = conv2_weight + taps * maps1 * maps2;
constexpr int fc1_weight = conv2_bias + maps2;                      // [map of s4][y][x][unit]
constexpr int fc1_bias = fc1_weight + flat * row1;
constexpr int fc2_weight = fc1_bias + row1;                         // [unit of fc1][unit]
constexpr int fc2_bias = fc2_weight + units1 * row2;
constexpr int fc3_weight = fc2_bias + row2;                         // [unit of fc2][class]
constexpr int fc3_bias = fc3_weight + units2 * row3;
constexpr int slopes = fc3_bias + row3;                             // PReLU's slopes, for act1 to act4
constexpr int parameters = slopes + lanes;

// conv1's maps: [map][y][x], each row padded to a vector.
constexpr int planar2 = maps1 * side2 * lanes;
// s2: [y][x][map]. conv2's gradients read whole vectors that can start at its last pixels.
// conv1's bias gradient reads whole periods, after which the maps of the lanes repeat.
constexpr int period2 = maps1 / common_divisor(maps1, lanes) * lanes;
constexpr int size2 = side2 * side2 * maps1, vectors2 = (size2 + lanes - 1) / lanes;
constexpr int padded2 =
    lanes + larger_of(round_up(size2, period2), round_up(size2 + kernel_row - kernel * maps1));

}  // namespace lenet
