// The working memory for a step.
//
// Arrays are aligned to cache lines (64 bytes), because a load across two lines takes twice as long.
#pragma once
#include "network.h"

namespace lenet {

// A batch is split into pieces of this many images, independent of the number of threads.
constexpr int piece_images = 16;

/// Returns the position of a linear layer's weights in `Weights::transposed`.
constexpr int transposed_at(int layer) {
  return layer == 0 ? 0 : transposed_at(layer - 1) + shape.units[layer - 1] * input_row_of(layer - 1);
}

/// Data that all pieces read: the parameters, and a reordered copy of some weights.
struct alignas(64) Weights {
  float conv2_by_map[panels][maps2][kernel][panel];  // in all panels: [kx * maps1 + map of s2], with zeros at the end
  float transposed[transposed_at(layers)];       // of each linear layer: [unit][input]; in a LeNet's first
                                                 // layer, the inputs are [place][map]
  const float* parameters;
};

/// Values and gradients of one image, from which the gradients of the linear layers are computed.
struct alignas(64) Dense {
  float input[flat];                              // pixels, or s4: [place][map]
  float outputs[larger_of(output_at(hidden), lanes)];  // of the hidden layers
  float gradients[output_at(layers)];             // of the outputs of all layers

  const float* input_of(int layer) const { return layer == 0 ? input : outputs + output_at(layer - 1); }
};
constexpr long dense_row = sizeof(Dense) / sizeof(float);

/// Loss, and gradients of the convolutions and PReLU's slopes, summed over a piece.
struct alignas(64) Sums {
  float conv1_weight[maps1][kernel][8];
  float conv1_bias[round_up(maps1)];
  float conv2_weight[maps2][kernel][kernel_row];
  float conv2_bias[maps2];
  float slopes[lanes];
  double loss;
  int64_t hits;
};

/// The working memory of one thread.
struct alignas(64) Piece {
  // Data of the current image.
  float image[pixels + lanes];              // conv1's gradient reads whole octets that can start at its last pixels
  float even[side][2 * lanes], odd[side][2 * lanes];  // its even and odd columns
  // A convolution's output before pooling: conv1's as [phase][map][y][x], or conv2's as [phase][place][map].
  float unpooled[4 * larger_of(planar2, flat)];
  float planar[planar2], planar_kept[phases * planar2];  // conv1's output as [map][y][x]
  float s2_gradient[phases * padded2];
  float rows[panels * side2 * width2 * panel];  // rows of s2's windows: [panel][y][x]; see `spread_rows`
  // Data of all images of the piece.
  float s2[piece_images][padded2];        // [y][x][map]
  float kept1[piece_images][phases * padded2];  // [phase], each with the layout of s2
  float kept2[piece_images][phases * flat];
  float kept[piece_images][sizeof(Dense::outputs) / sizeof(float)];  // of the linear layers
  int8_t chosen1[piece_images][planar2], chosen2[piece_images][flat];  // position of the largest of four values
  float dropout[piece_images][sizeof(Dense::outputs) / sizeof(float)];  // factors
  float logits[piece_images][class_row];
  float s4_gradient[piece_images][phases * flat];
};

}  // namespace lenet
