// Arguments of the kernels: options, batches, and optimizers. All fields have 8 bytes. library.py mirrors them.
#pragma once
#include <stdint.h>

#include "network.h"

namespace lenet {

enum class Activation : int64_t { relu, leaky_relu, elu, selu, tanh, prelu, rrelu };
enum class Rule : int64_t { sgd, adam, rmsprop };

struct Options {
  Activation activation;
  double alpha;               // alpha of ELU, slope of leaky ReLU, or lower bound of RReLU
  double upper;               // upper bound of RReLU
  int64_t pool_first;         // whether to pool before the activation
  int64_t training;           // whether to apply dropout and random slopes
  double dropout_rate;        // after the hidden linear layers
  double label_smoothing;
  int64_t key1, key2;         // key of the step's random numbers
  int64_t threads;
};

struct Batch {
  const float* images;        // (n, side, side)
  const int64_t* labels;      // (n,)
  const int64_t* index;       // (count,): indices of the batch's images
  int64_t count;
};

struct Outcome {
  double loss;                // mean loss
  int64_t hits;
};

/// An optimizer, with the coefficients for one step; see optimizers.h.
struct Update {
  Rule rule;
  double lr;
  double weight_decay;
  int64_t decoupled;          // whether weight decay is decoupled from the gradient
  int64_t maximize;
  double momentum;            // sgd, rmsprop
  double fresh;               // sgd: weight of the gradient in the momentum, 1 - dampening (1 in the first step)
  int64_t nesterov;
  double beta1, beta2;        // adam
  double correction1, correction2;  // adam: 1 - beta^step
  int64_t amsgrad;
  double alpha;               // rmsprop
  int64_t centered;
  double eps;
  double clip_norm;           // 0: no limit
  double average_decay;       // decay of the moving average of the weights
  float* state[3];            // sgd: momentum; adam: exp_avg, exp_avg_sq, max_exp_avg_sq; rmsprop: square_avg,
                              // momentum_buffer, grad_avg; null if unused
  float* average;             // null: no average
};

// An image's random numbers in a step (see random.h) are drawn for each activation, and then for each dropout mask: in
// LeNet-5, draws 0 to 3 are for act1 to act4, and draws 4 and 5 for the dropout after fc1 and fc2.
constexpr int blocks_of(int draw) {
  // Two blocks for the four phases of each vector; those of conv1 are drawn for multiples of six maps.
  if (convolutional && draw == 0) return round_up(maps1, 6) * side2 * 2;
  if (convolutional && draw == 1) return flat / lanes * 2;
  const int layer = (draw < activations ? draw : draw - hidden) - (activations - hidden);
  return (row_of(layer) / lanes + 1) / 2;
}
/// Returns the first block of a draw's random numbers.
constexpr int first_block(int draw) { return draw == 0 ? 0 : first_block(draw - 1) + blocks_of(draw - 1); }

}  // namespace lenet
