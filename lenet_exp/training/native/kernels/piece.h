// One piece of a batch: forward pass, loss, and backward pass.
#pragma once
#include "activations.h"
#include "convolution1.h"
#include "convolution2.h"
#include "dense.h"
#include "loss.h"

namespace lenet {

/// The position of a piece in its batch.
struct Range {
  int64_t first;
  int images;
};

inline Noise noise_of(const Options& options, int64_t image) {
  return {{static_cast<int32_t>(options.key1), static_cast<int32_t>(options.key2)}, static_cast<int32_t>(image)};
}

/// Computes conv1 to s4, image by image.
inline void convolutions_forward(const Options& options, const Batch& batch, const float* parameters, Range range,
                                 Piece& work, Dense* dense) {
  clear_margins(work);
  for (int n = 0; n < range.images; ++n) {
    const Noise noise = noise_of(options, range.first + n);
    const float* next = batch.images + batch.index[range.first + n + (n + 1 < range.images)] * pixels;
    part_columns(batch.images + batch.index[range.first + n] * pixels, work);
    if (options.pool_first) {
      conv1_forward<true>(work, parameters, next, work.planar, work.chosen1[n]);
      interleave(work.planar, work.s2[n]);
      with_activation(options, parameters, 0, noise, [&](const auto& function) {
        activate(function, work.s2[n], work.s2[n], work.kept1[n], vectors2);
      });
    } else {
      conv1_forward<false>(work, parameters, next, work.phases, nullptr);
      with_activation(options, parameters, 0, noise, [&](const auto& function) {
        activate_and_pool<side>(function, work.phases, work.planar, work.planar_kept, work.chosen1[n], planar2);
      });
      interleave(work.planar, work.s2[n]);
      interleave(work.planar_kept, work.kept1[n]);
    }
    float* s4 = dense[n].s4;
    if (options.pool_first) {
      conv2_forward<true>(work.s2[n], parameters, s4, work.chosen2[n]);
      with_activation(options, parameters, 1, noise, [&](const auto& function) {
        activate(function, s4, s4, work.kept2[n], flat / lanes);
      });
    } else {
      conv2_forward<false>(work.s2[n], parameters, work.phases, nullptr);
      with_activation(options, parameters, 1, noise, [&](const auto& function) {
        activate_and_pool<width2>(function, work.phases, s4, work.kept2[n], work.chosen2[n], flat);
      });
    }
  }
}

/// Multiplies each value by 0 with probability `dropout_rate`, or else by 1 / (1 - dropout_rate). Keeps the factors.
inline void drop_out(const Options& options, Noise noise, int block, float* h, float* factors, int vectors) {
  const Floats keep = broadcast(static_cast<float>(1 - options.dropout_rate));
  const Floats scale = broadcast(static_cast<float>(1 / (1 - options.dropout_rate))), zero = broadcast(0.0f);
  for (int i = 0; i < vectors; i += 2) {
    Floats u[2];
    noise.draw(block + i / 2, u[0], u[1]);
    for (int j = 0; j < 2 && i + j < vectors; ++j) {
      const Floats factor = select(keep > u[j], scale, zero);
      float* at = h + (i + j) * lanes;
      store(factors + (i + j) * lanes, factor);
      store(at, load(at) * factor);
    }
  }
}

constexpr long dense_row = sizeof(Dense) / sizeof(float);

/// Computes fc1 to the logits.
inline void dense_forward(const Options& options, const float* parameters, Range range, Piece& work, Dense* dense) {
  const bool drops = options.training && options.dropout_rate > 0;
  const int rows = range.images;
  // fc1's rows are [map][place], but s4 is [place][map].
  multiply<row1 / lanes>({dense->s4, parameters + fc1_weight, dense->h1, parameters + fc1_bias, rows, maps2, places4,
                          dense_row, 1, maps2, places4 * row1, row1, dense_row, false});
  for (int n = 0; n < rows; ++n) {
    const Noise noise = noise_of(options, range.first + n);
    with_activation(options, parameters, 2, noise, [&](const auto& function) {
      activate(function, dense[n].h1, dense[n].h1, work.kept3[n], row1 / lanes);
    });
    if (drops) drop_out(options, noise, dropout1_blocks, dense[n].h1, work.dropout1[n], row1 / lanes);
  }
  multiply<row2 / lanes>({dense->h1, parameters + fc2_weight, dense->h2, parameters + fc2_bias, rows, 1, units1,
                          dense_row, 0, 1, 0, row2, dense_row, false});
  for (int n = 0; n < rows; ++n) {
    const Noise noise = noise_of(options, range.first + n);
    with_activation(options, parameters, 3, noise, [&](const auto& function) {
      activate(function, dense[n].h2, dense[n].h2, work.kept4[n], row2 / lanes);
    });
    if (drops) drop_out(options, noise, dropout2_blocks, dense[n].h2, work.dropout2[n], row2 / lanes);
  }
  multiply<row3 / lanes>({dense->h2, parameters + fc3_weight, work.logits[0], parameters + fc3_bias, rows, 1, units2,
                          dense_row, 0, 1, 0, row3, row3, false});
}

inline void multiply_by(const float* factors, float* gradient, int size) {
  for (int i = 0; i < size; i += lanes) store(gradient + i, load(gradient + i) * load(factors + i));
}

/// Computes the gradients of h2, h1, and s4.
inline void dense_backward(const Options& options, const Weights& weights, int rows, Piece& work, Dense* dense,
                           Floats (&slope_sums)[4]) {
  const bool drops = options.training && options.dropout_rate > 0;
  const float* slope = weights.parameters + slopes;
  multiply<row2 / lanes>({dense->logits_gradient, weights.fc3_transposed[0], dense->h2_gradient, nullptr, rows, 1,
                          classes, dense_row, 0, 1, 0, row2, dense_row, false});
  for (int n = 0; n < rows; ++n) {
    if (drops) multiply_by(work.dropout2[n], dense[n].h2_gradient, row2);
    activation_gradient(options, slope[3], work.kept4[n], dense[n].h2_gradient, row2 / lanes, slope_sums[3]);
  }
  multiply<row1 / lanes>({dense->h2_gradient, weights.fc2_transposed[0], dense->h1_gradient, nullptr, rows, 1,
                          units2, dense_row, 0, 1, 0, row1, dense_row, false});
  for (int n = 0; n < rows; ++n) {
    if (drops) multiply_by(work.dropout1[n], dense[n].h1_gradient, row1);
    activation_gradient(options, slope[2], work.kept3[n], dense[n].h1_gradient, row1 / lanes, slope_sums[2]);
  }
  multiply<flat / lanes>({dense->h1_gradient, weights.fc1_transposed[0], work.s4_gradient[0], nullptr, rows, 1,
                          units1, dense_row, 0, 1, 0, flat, flat, false});
  for (int n = 0; n < rows; ++n)
    activation_gradient(options, slope[1], work.kept2[n], work.s4_gradient[n], flat / lanes, slope_sums[1]);
}

/// Computes the gradients of conv2 and conv1, image by image.
inline void convolutions_backward(const Options& options, const Batch& batch, const Weights& weights, Range range,
                                  Piece& work, Sums& sums, Floats (&slope_sums)[4]) {
  Bias1 bias1;
  Floats bias2[blocks2];
  for (Floats& b : bias1) b = broadcast(0.0f);
  for (Floats& b : bias2) b = broadcast(0.0f);
  for (int n = 0; n < range.images; ++n) {
    const float* g = work.s4_gradient[n];
    for (int place = 0; place < places4; ++place)
      unrolled<blocks2>([&](auto b) { bias2[b] = bias2[b] + load(g + place * maps2 + b * lanes); });
    spread_rows(work.s2[n], work.rows);
    conv2_weight_gradient(work.rows, g, work.chosen2[n], sums);
  }
  for (int n = 0; n < range.images; ++n) {
    conv2_input_gradient(weights, work.s4_gradient[n], work.chosen2[n], work.s2_gradient);
    activation_gradient(options, weights.parameters[slopes], work.kept1[n], work.s2_gradient, vectors2,
                        slope_sums[0]);
    conv1_bias_gradient(work.s2_gradient, bias1);
    conv1_weight_gradient(batch.images + batch.index[range.first + n] * pixels, work.s2_gradient, work.chosen1[n],
                          work, sums);
  }
  for (int b = 0; b < blocks2; ++b) store(sums.conv2_bias + b * lanes, bias2[b]);
  add_by_map(bias1, sums.conv1_bias);
}

/// Computes the loss and the predicted classes of a piece.
inline void evaluate_piece(const Options& options, const Batch& batch, const float* parameters, Range range,
                           Piece& work, Dense* dense, Sums& sums, int64_t* predictions) {
  convolutions_forward(options, batch, parameters, range, work, dense);
  dense_forward(options, parameters, range, work, dense);
  int64_t labels[piece_images] = {};
  int32_t predicted[piece_images];
  for (int n = 0; n < range.images; ++n) labels[n] = batch.labels[batch.index[range.first + n]];
  cross_entropy(work.logits, labels, range.images, 0, batch.count, sums, nullptr, predicted);
  for (int n = 0; n < range.images; ++n) predictions[range.first + n] = predicted[n];
}

/// Computes the loss and gradients of a piece for a training step. dense: entries of the piece's images.
inline void train_piece(const Options& options, const Batch& batch, const Weights& weights, Range range, Piece& work,
                        Dense* dense, Sums& sums) {
  convolutions_forward(options, batch, weights.parameters, range, work, dense);
  dense_forward(options, weights.parameters, range, work, dense);
  int64_t labels[piece_images] = {};
  float gradient[piece_images][row3];
  for (int n = 0; n < range.images; ++n) labels[n] = batch.labels[batch.index[range.first + n]];
  cross_entropy(work.logits, labels, range.images, options.label_smoothing, batch.count, sums, gradient, nullptr);
  for (int n = 0; n < range.images; ++n)
    for (int i = 0; i < row3; i += lanes) store(dense[n].logits_gradient + i, load(gradient[n] + i));
  Floats slope_sums[4];
  for (Floats& s : slope_sums) s = broadcast(0.0f);
  dense_backward(options, weights, range.images, work, dense, slope_sums);
  convolutions_backward(options, batch, weights, range, work, sums, slope_sums);
  for (int i = 0; i < 4; ++i) sums.slopes[i] = sum_of_lanes(slope_sums[i]);
}

}  // namespace lenet
