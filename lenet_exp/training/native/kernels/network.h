// LeNet-5's shapes (LeCun et al. 1998, section II.B) and the positions of its parameters.
//
// Layers have the same names as in lenet5.py. s2 and s4 are the paper's names for the pooled outputs of conv1 and
// conv2. Rows are padded to whole vectors with zeros, which remain zero because their gradients are zero.
#pragma once
#include <stdint.h>

#include "vector.h"

namespace lenet {

constexpr int side = 32, pixels = side * side;
constexpr int kernel = 5, taps = kernel * kernel;
constexpr int maps1 = 6, side2 = 14;   // s2: 6 maps of 14 x 14
constexpr int maps2 = 16, side4 = 5;   // s4: 16 maps of 5 x 5
constexpr int width2 = 2 * side4;      // width of conv2's maps before pooling
constexpr int places4 = side4 * side4, flat = maps2 * places4;
constexpr int units1 = 120, units2 = 84, classes = 10;   // fc1, fc2, fc3
constexpr int row1 = 128, row2 = 96, row3 = 16;          // padded numbers of units

// One row of a map's kernel in conv2 (5 columns of 6 maps of s2) is padded from 30 floats to two vectors.
constexpr int kernel_row = 2 * lanes;

static_assert(maps2 == lanes, "conv2's output channels are the lanes");

// Parameters, gradients, and optimizer states are arrays of `parameters` floats.
constexpr int conv1_weight = 0;                                     // [map][ky][kx]
constexpr int conv1_bias = conv1_weight + 160;
constexpr int conv2_weight = conv1_bias + lanes;                    // [ky][kx][map of s2][map]
constexpr int conv2_bias = conv2_weight + taps * maps1 * maps2;
constexpr int fc1_weight = conv2_bias + maps2;                      // [map of s4][y][x][unit]
constexpr int fc1_bias = fc1_weight + flat * row1;
constexpr int fc2_weight = fc1_bias + row1;                         // [unit of fc1][unit]
constexpr int fc2_bias = fc2_weight + units1 * row2;
constexpr int fc3_weight = fc2_bias + row2;                         // [unit of fc2][class]
constexpr int fc3_bias = fc3_weight + units2 * row3;
constexpr int slopes = fc3_bias + row3;                             // PReLU's slopes, for act1 to act4
constexpr int parameters = slopes + lanes;

// conv1's maps: [map][y][x], each row of 14 padded to 16.
constexpr int planar2 = maps1 * side2 * lanes;
// s2: [y][x][map]. conv2's gradients read whole vectors that can start at its last pixels.
constexpr int size2 = side2 * side2 * maps1, vectors2 = (size2 + lanes - 1) / lanes, padded2 = 76 * lanes;
static_assert(padded2 >= size2 + 2 * lanes - kernel * maps1, "room for the vectors of the last window");

}  // namespace lenet
