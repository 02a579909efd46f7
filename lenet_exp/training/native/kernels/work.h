// The memory that a step works in. Arrays begin at lines of the cache (64 bytes): a load across two costs twice.
#pragma once
#include "network.h"

namespace lenet {

// A batch is cut into pieces of so many images, whatever the number of threads.
constexpr int piece_images = 16;

/// What all pieces read: the parameters, and some of the weights in another order.
struct alignas(64) Weights {
  float conv2_by_map[maps2][kernel][kernel_row];  // [map][ky][kx * maps1 + map of s2], two zeros at the end
  float fc1_transposed[units1][flat];            // [unit][place][map]
  float fc2_transposed[units2][row1];
  float fc3_transposed[classes][row2];
  const float* parameters;
};

/// What the dense layers' gradients are made of, of all images of a batch.
struct alignas(64) Dense {
  float s4[flat], h1[row1], h2[row2];  // s4: [place][map]
  float h1_gradient[row1], h2_gradient[row2], logits_gradient[row3];
};

/// The gradients of the convolutions and PReLU's slopes, summed over a piece, and its loss.
struct alignas(64) Sums {
  float conv1_weight[maps1][kernel][8];
  float conv1_bias[lanes];
  float conv2_weight[maps2][kernel][kernel_row];
  float conv2_bias[maps2];
  float slopes[4];
  double loss;
  int64_t hits;
};

/// One thread's.
struct alignas(64) Piece {
  // of the image in work
  float image[pixels + lanes];              // conv1's gradient reads whole octets that may begin at its last pixels
  float even[side][2 * lanes], odd[side][2 * lanes];  // its even and odd columns
  float phases[4 * planar2];              // a convolution before pooling
  float planar[planar2], planar_kept[planar2];  // conv1's as [map][y][x]
  float s2_gradient[padded2];
  float rows[side2 * width2 * kernel_row];  // of s2, as conv2's windows see them: [y][x]
  // of all images of the piece
  float s2[piece_images][padded2];        // [y][x][map]
  float kept1[piece_images][padded2];     // as s2
  float kept2[piece_images][flat], kept3[piece_images][row1], kept4[piece_images][row2];
  int8_t chosen1[piece_images][planar2], chosen2[piece_images][flat];  // where the largest of four lies
  float dropout1[piece_images][row1], dropout2[piece_images][row2];    // factors
  float logits[piece_images][row3];
  float s4_gradient[piece_images][flat];
};

}  // namespace lenet
