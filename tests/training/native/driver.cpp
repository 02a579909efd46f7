// Trains on made-up images with every activation and optimizer, and prints a digest of the weights of each: for
// sanitizers, which want a program of their own, and for other CPUs' code under an emulator.
//
//     driver [quick]
#include <stdio.h>

#include "engine.cpp"
#include "made_up.h"

namespace {

uint64_t digest(uint64_t before, const void* bytes, size_t size) {  // FNV-1a
  for (size_t i = 0; i < size; ++i) before = (before ^ static_cast<const unsigned char*>(bytes)[i]) * 1099511628211ull;
  return before;
}

void fill(float* weights, int from, int rows, int used, int row, float bound) {
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < used; ++j) weights[from + i * row + j] = made_up() * bound;
}

void fill_all(float* weights) {
  if (convolutional) {
    fill(weights, conv1_weight, 1, maps1 * taps, 0, 0.2f);
    fill(weights, conv1_bias, 1, maps1, 0, 0.2f);
    fill(weights, conv2_weight, 1, taps * maps1 * maps2, 0, 0.1f);
    fill(weights, conv2_bias, 1, maps2, 0, 0.1f);
  }
  for (int l = 0; l < layers; ++l)
    fill(weights, weight_of(l), inputs_of(l), shape.units[l], row_of(l), l == 0 ? 0.05f : 0.1f);
  for (int i = 0; i < activations; ++i) weights[slopes + i] = 0.25f;
}

uint64_t train(Options options, Update update, int64_t count, int steps) {
  seed = 1;
  const int64_t images = count + 3;
  float* pictures = room<float>(images * pixels);
  int64_t* labels = room<int64_t>(images);
  int64_t* index = room<int64_t>(count);
  for (int64_t i = 0; i < images * pixels; ++i) pictures[i] = made_up();
  for (int64_t i = 0; i < images; ++i) labels[i] = (i * 7) % classes;
  for (int64_t i = 0; i < count; ++i) index[i] = images - 1 - i;
  float *weights = room<float>(parameters), *gradient = room<float>(parameters), *average = room<float>(parameters);
  fill_all(weights);
  for (float*& state : update.state) state = room<float>(parameters);
  if (!update.amsgrad && update.rule == Rule::adam) { free(update.state[2]); update.state[2] = nullptr; }
  update.average = average;
  char* memory = room<char>(lenet_memory(count, options.threads));
  int64_t* predictions = room<int64_t>(count);
  const Batch batch{pictures, labels, index, count};
  uint64_t found = 1469598103934665603ull;
  for (int step = 0; step < steps; ++step) {
    Outcome outcome;
    options.key1 = step;
    lenet_gradient(&options, &batch, weights, gradient, memory, &outcome);
    lenet_update(&update, weights, gradient);
    found = digest(found, &outcome.loss, sizeof outcome.loss);
  }
  Options judging = options;
  judging.training = 0;
  Outcome outcome;
  lenet_evaluate(&judging, &batch, average, predictions, memory, &outcome);
  found = digest(found, weights, parameters * sizeof(float));
  found = digest(found, &outcome.loss, sizeof outcome.loss);
  found = digest(found, predictions, static_cast<size_t>(count) * sizeof(int64_t));
  for (float* state : update.state) free(state);
  free(pictures), free(labels), free(index), free(weights), free(gradient), free(average), free(memory);
  free(predictions);
  return found;
}

uint64_t change(int which, int64_t threads) {
  constexpr int64_t count = 37;
  seed = 1;
  float *pictures = room<float>(count * pixels), *changed = room<float>(count * pixels);
  int64_t* index = room<int64_t>(count);
  for (int64_t i = 0; i < count * pixels; ++i) pictures[i] = made_up();
  for (int64_t i = 0; i < count; ++i) index[i] = count - 1 - i;
  Augment how{};
  how.background = -1, how.sigma = 4, how.erase_size = which == 2 ? 32 : 12, how.key1 = which, how.key2 = -5, how.threads = threads;
  if (which != 2) how.flip = 0.5, how.erase = 0.5;
  how.shift = which == 0 ? 31 : 2;
  if (which == 1) how.rotate = 180, how.scale = 0.9, how.shear = 2, how.elastic = 16;
  if (which == 2) how.erase = 1, how.elastic = 1;
  const Batch batch{pictures, nullptr, index, count};
  lenet_augment(&how, &batch, changed);
  const uint64_t found = digest(1469598103934665603ull, changed, static_cast<size_t>(count) * pixels * sizeof(float));
  free(pictures), free(changed), free(index);
  return found;
}

}  // namespace

int main(int count, char**) {
  const bool quick = count > 1;
  const Rule rules[] = {Rule::sgd, Rule::adam, Rule::rmsprop};
  const int64_t sizes[] = {1, 5, 16, 33, 64, 257};
  for (int activation = 0; activation < 7; ++activation)
    for (int rule = 0; rule < 3; ++rule) {
      Options options{};
      options.activation = static_cast<Activation>(activation);
      options.alpha = activation == 6 ? 0.125 : activation == 1 ? 0.01 : 1;
      options.upper = 1.0 / 3;
      options.pool_first = activation < 5 && !average;
      options.training = 1;
      options.dropout_rate = rule == 0 ? 0 : 0.3;
      options.label_smoothing = rule == 1 ? 0.1 : 0;
      options.key2 = 77;
      options.threads = 1 + rule;
      Update update{};
      update.rule = rules[rule];
      update.lr = 0.01;
      update.weight_decay = 1e-3;
      update.decoupled = rule == 1;
      update.momentum = 0.9;
      update.fresh = 0.9;
      update.nesterov = activation % 2;
      update.beta1 = 0.9, update.beta2 = 0.999, update.correction1 = 0.1, update.correction2 = 0.001;
      update.amsgrad = activation % 2;
      update.alpha = 0.9;
      update.centered = 1;
      update.eps = 1e-3;
      update.clip_norm = rule == 2 ? 1 : 0;
      update.average_decay = 0.5;
      for (const int64_t size : sizes)
        if (!quick || size == 1 || (size == 33 && rule == activation % 3))
          printf("%016llx %d %d %d\n", static_cast<unsigned long long>(train(options, update, size, quick ? 2 : 3)),
                 activation, rule, static_cast<int>(size));
    }
  for (int which = 0; which < 3; ++which)
    printf("%016llx augmented %d\n", static_cast<unsigned long long>(change(which, 1 + which)), which);
  return 0;
}
