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

/// Activates the four phases of each window, and pools them. The positions of maxima are written to `chosen`.
template <int width, class Function>
inline void pool_activated(Function function, const float* unpooled, float* value, float* kept, int8_t* chosen,
                           int size) {
  if constexpr (average) return activate_and_average(function, unpooled, value, kept, size);
  activate_and_pool<width>(function, unpooled, value, kept, chosen, size);
}

/// Computes conv1 to s4, image by image.
inline void convolutions_forward(const Options& options, const Batch& batch, const float* parameters, Range range,
                                 Piece& work, Dense* dense) {
  clear_margins(work);
  for (int n = 0; n < range.images; ++n) {
    const Noise noise = noise_of(options, range.first + n);
    const int64_t following = n + 1 < range.images ? n + 1 : n;
    const float* next = batch.images + batch.index[range.first + following] * pixels;
    part_columns(batch.images + batch.index[range.first + n] * pixels, work);
    if (options.pool_first) {
      conv1_forward<true>(work, parameters, next, work.planar, work.chosen1[n]);
      interleave(work.planar, work.s2[n]);
      with_activation(options, parameters, 0, noise, [&](const auto& function) {
        activate(function, work.s2[n], work.s2[n], work.kept1[n], vectors2);
      });
    } else {
      conv1_forward<false>(work, parameters, next, work.unpooled, nullptr);
      with_activation(options, parameters, 0, noise, [&](const auto& function) {
        pool_activated<side>(function, work.unpooled, work.planar, work.planar_kept, work.chosen1[n], planar2);
      });
      interleave(work.planar, work.s2[n]);
      for (int q = 0; q < phases; ++q) interleave(work.planar_kept + q * planar2, work.kept1[n] + q * padded2);
    }
    float* s4 = dense[n].input;
    if (options.pool_first) {
      conv2_forward<true>(work.s2[n], parameters, s4, work.chosen2[n]);
      with_activation(options, parameters, 1, noise, [&](const auto& function) {
        activate(function, s4, s4, work.kept2[n], flat / lanes);
      });
    } else {
      conv2_forward<false>(work.s2[n], parameters, work.unpooled, nullptr);
      with_activation(options, parameters, 1, noise, [&](const auto& function) {
        pool_activated<width2>(function, work.unpooled, s4, work.kept2[n], work.chosen2[n], flat);
      });
    }
  }
}

/// Copies the images of a network without convolutions.
inline void copy_images(const Batch& batch, Range range, Dense* dense) {
  for (int n = 0; n < range.images; ++n)
    memcpy(dense[n].input, batch.images + batch.index[range.first + n] * pixels, pixels * sizeof(float));
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

/// Computes the linear layers, up to the logits.
inline void dense_forward(const Options& options, const float* parameters, Range range, Piece& work, Dense* dense) {
  const bool drops = options.training && options.dropout_rate > 0;
  unrolled<layers>([&](auto layer) {
    constexpr int at = output_at(layer), vectors = row_of(layer) / lanes;
    Product product{dense->input_of(layer), parameters + weight_of(layer), nullptr, parameters + bias_of(layer),
                    range.images, 1, inputs_of(layer), 0, 1, 0, row_of(layer), dense_row, false};
    if constexpr (layer == 0 && convolutional) {  // the weights' rows are [map][place], but s4 is [place][map]
      product.outer = maps2, product.inner = places4;
      product.a_outer = 1, product.a_inner = maps2;
      product.b_outer = places4 * row_of(layer), product.b_inner = row_of(layer);
    }
    if constexpr (layer == hidden) {
      product.c = work.logits[0], product.c_row = class_row;
      multiply<vectors, dense_row>(product);
    } else {
      product.c = dense->outputs + at;
      multiply<vectors, dense_row>(product);
      for (int n = 0; n < range.images; ++n) {
        const Noise noise = noise_of(options, range.first + n);
        float* output = dense[n].outputs + at;
        with_activation(options, parameters, activations - hidden + layer, noise, [&](const auto& function) {
          activate(function, output, output, work.kept[n] + at, vectors);
        });
        if (drops) drop_out(options, noise, first_block(activations + layer), output, work.dropout[n] + at, vectors);
      }
    }
  });
}

inline void multiply_by(const float* factors, float* gradient, int size) {
  for (int i = 0; i < size; i += lanes) store(gradient + i, load(gradient + i) * load(factors + i));
}

using SlopeSums = Floats[larger_of(activations, 1)];

/// Computes the gradients of the outputs of the hidden layers, and that of s4.
inline void dense_backward(const Options& options, const Weights& weights, int rows, Piece& work, Dense* dense,
                           SlopeSums& slope_sums) {
  const bool drops = options.training && options.dropout_rate > 0;
  const float* slope = weights.parameters + slopes;
  unrolled<layers>([&](auto i) {
    constexpr int layer = hidden - i, size = input_row_of(layer);
    Product product{dense->gradients + output_at(layer), weights.transposed + transposed_at(layer), nullptr, nullptr,
                    rows, 1, shape.units[layer], 0, 1, 0, size, dense_row, false};
    if constexpr (layer > 0) {
      constexpr int before = layer - 1, at = output_at(before), number = activations - hidden + before;
      product.c = dense->gradients + at;
      multiply<size / lanes, dense_row>(product);
      for (int n = 0; n < rows; ++n) {
        float* gradient = dense[n].gradients + at;
        if (drops) multiply_by(work.dropout[n] + at, gradient, size);
        activation_gradient(options, slope[number], work.kept[n] + at, gradient, size / lanes, slope_sums[number]);
      }
    } else if constexpr (convolutional) {
      product.c = work.s4_gradient[0], product.c_row = phases * flat;
      multiply<size / lanes, dense_row>(product);
      for (int n = 0; n < rows; ++n) {
        if constexpr (average) spread_average(work.s4_gradient[n], flat);
        activation_gradient(options, slope[1], work.kept2[n], work.s4_gradient[n], phases * flat / lanes,
                            slope_sums[1]);
      }
    }
  });
}

/// Computes the gradients of conv2 and conv1, image by image.
inline void convolutions_backward(const Options& options, const Batch& batch, const Weights& weights, Range range,
                                  Piece& work, Sums& sums, SlopeSums& slope_sums) {
  Bias1 bias1;
  Floats bias2[blocks2];
  for (Floats& b : bias1) b = broadcast(0.0f);
  for (Floats& b : bias2) b = broadcast(0.0f);
  for (int n = 0; n < range.images; ++n) {
    const float* g = work.s4_gradient[n];
    for (int place = 0; place < phases * places4; ++place)
      unrolled<blocks2>([&](auto b) { bias2[b] = bias2[b] + load(g + place * maps2 + b * lanes); });
    spread_rows(work.s2[n], work);
    conv2_weight_gradient(work, g, work.chosen2[n], sums);
  }
  for (int n = 0; n < range.images; ++n) {
    conv2_input_gradient(weights, work.s4_gradient[n], work.chosen2[n], work.s2_gradient);
    if constexpr (average) spread_average(work.s2_gradient, padded2);
    activation_gradient(options, weights.parameters[slopes], work.kept1[n], work.s2_gradient,
                        average ? phases * padded2 / lanes : vectors2, slope_sums[0]);  // with the phases' padding
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
  if constexpr (convolutional) convolutions_forward(options, batch, parameters, range, work, dense);
  if constexpr (!convolutional) copy_images(batch, range, dense);
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
  if constexpr (convolutional) convolutions_forward(options, batch, weights.parameters, range, work, dense);
  if constexpr (!convolutional) copy_images(batch, range, dense);
  dense_forward(options, weights.parameters, range, work, dense);
  int64_t labels[piece_images] = {};
  float gradient[piece_images][class_row];
  for (int n = 0; n < range.images; ++n) labels[n] = batch.labels[batch.index[range.first + n]];
  cross_entropy(work.logits, labels, range.images, options.label_smoothing, batch.count, sums, gradient, nullptr);
  for (int n = 0; n < range.images; ++n)
    for (int i = 0; i < class_row; i += lanes)
      store(dense[n].gradients + output_at(hidden) + i, load(gradient[n] + i));
  SlopeSums slope_sums;
  for (Floats& s : slope_sums) s = broadcast(0.0f);
  dense_backward(options, weights, range.images, work, dense, slope_sums);
  if constexpr (convolutional) convolutions_backward(options, batch, weights, range, work, sums, slope_sums);
  for (int i = 0; i < activations; ++i) sums.slopes[i] = sum_of_lanes(slope_sums[i]);
}

}  // namespace lenet
