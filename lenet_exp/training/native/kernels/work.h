// The working memory for a step.
//
// Arrays are aligned to cache lines (64 bytes), because a load across two lines takes twice as long.
#pragma once
#include "network.h"

namespace lenet {

// A batch is split into pieces of this many images, independent of the number of threads.
constexpr int piece_images = 16;

/// Data that all pieces read: the parameters, and a reordered copy of some weights.
struct alignas(64) Weights {
  float conv2_by_map[maps2][kernel][kernel_row];  // [map][ky][kx * maps1 + map of s2], two zeros at the end
  float fc1_transposed[units1][flat];            // [unit][place][map]
  float fc2_transposed[units2][row1];
  float fc3_transposed[classes][row2];
  const float* parameters;
};

/// Values and gradients of one image, from which the gradients of the dense layers are computed.
struct alignas(64) Dense {
  float s4[flat], h1[row1], h2[row2];  // s4: [place][map]
  float h1_gradient[row1], h2_gradient[row2], logits_gradient[row3];
};

/// Loss, and gradients of the convolutions and PReLU's slopes, summed over a piece.
struct alignas(64) Sums {
  float conv1_weight[maps1][kernel][8];
  float conv1_bias[round_up(maps1)];
  float conv2_weight[maps2][kernel][kernel_row];
  float conv2_bias[maps2];
  float slopes[4];
  double loss;
  int64_t hits;
};

/// The working memory of one thread.
struct alignas(64) Piece {
  // Data of the current image.
  float image[pixels + lanes];              // conv1's gradient reads whole octets that can start at its last pixels
  float even[side][2 * lanes], odd[side][2 * lanes];  // its even and odd columns
  float phases[4 * planar2];              // a convolution's output before pooling
  float planar[planar2], planar_kept[planar2];  // conv1's output as [map][y][x]
  float s2_gradient[padded2];
  float rows[side2 * width2 * kernel_row];  // rows of s2's windows: [y][x]; see `spread_rows`
  // Data of all images of the piece.
  float s2[piece_images][padded2];        // [y][x][map]
  float kept1[piece_images][padded2];     // same layout as s2
  float kept2[piece_images][flat], kept3[piece_images][row1], kept4[piece_images][row2];
  int8_t chosen1[piece_images][planar2], chosen2[piece_images][flat];  // position of the largest of four values
  float dropout1[piece_images][row1], dropout2[piece_images][row2];    // factors
  float logits[piece_images][row3];
  float s4_gradient[piece_images][flat];
};

}  // namespace lenet
