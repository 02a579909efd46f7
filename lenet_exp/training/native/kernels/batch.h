// Computations on a batch with the requested number of threads: first its pieces, then the dense layers' gradients.
//
// The assignment of work to threads varies, but does not change the exact results. Each piece has its own output, each
// dense gradient is a single sum over the images in order, and the pieces' sums are added in order.
#pragma once
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "piece.h"

namespace lenet {

constexpr int most_threads = 1024;
constexpr int images_at_once = 256;  // images per partial sum of a dense gradient

/// The working memory for a batch, in one block that the caller provides.
struct Work {
  Weights* weights;
  Piece* pieces;   // one per thread
  Dense* dense;    // one per image
  Sums* sums;      // one per piece

  static int64_t piece_count(int64_t images) { return (images + piece_images - 1) / piece_images; }
  static int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }
  static int64_t bytes(int64_t images, int64_t threads) {
    return aligned(sizeof(Weights)) + aligned(threads * static_cast<int64_t>(sizeof(Piece))) +
           aligned(piece_count(images) * piece_images * static_cast<int64_t>(sizeof(Dense))) +
           aligned(piece_count(images) * static_cast<int64_t>(sizeof(Sums)));
  }
  Work(char* memory, int64_t images, int64_t threads) {
    weights = reinterpret_cast<Weights*>(memory);
    memory += aligned(sizeof(Weights));
    pieces = reinterpret_cast<Piece*>(memory);
    memory += aligned(threads * static_cast<int64_t>(sizeof(Piece)));
    dense = reinterpret_cast<Dense*>(memory);
    memory += aligned(piece_count(images) * piece_images * static_cast<int64_t>(sizeof(Dense)));
    sums = reinterpret_cast<Sums*>(memory);
  }
};

/// Calls `body(thread, number)` for each number below `count`, on this thread and other threads.
template <class Body> class Shared {
 public:
  Shared(int threads, int64_t count, const Body& body) : body_(body), count_(count) {
    if (threads > count) threads = static_cast<int>(count);
    Started started[most_threads];
    int running = 1;
    for (; running < threads; ++running) {
      started[running] = {this, running, {}};
      // If no more threads can be created, the existing threads do all the work.
      if (pthread_create(&started[running].id, nullptr, &Shared::begin, &started[running]) != 0) break;
    }
    work(0);
    for (int i = 1; i < running; ++i) pthread_join(started[i].id, nullptr);
  }

 private:
  struct Started {
    Shared* shared;
    int thread;
    pthread_t id;
  };
  static void* begin(void* started) {
    const Started* mine = static_cast<Started*>(started);
    mine->shared->work(mine->thread);
    return nullptr;
  }
  void work(int thread) {
    for (int64_t i = next(); i < count_; i = next()) body_(thread, i);
  }
  int64_t next() { return __atomic_fetch_add(&next_, 1, __ATOMIC_RELAXED); }

  const Body& body_;
  int64_t count_, next_ = 0;
};

inline Range piece_range(const Batch& batch, int64_t number) {
  const int64_t first = number * piece_images, left = batch.count - first;
  return {first, static_cast<int>(left < piece_images ? left : piece_images)};
}

inline void prepare(const float* parameters, Weights& weights) {
  weights.parameters = parameters;
  memset(weights.conv2_by_map, 0, sizeof weights.conv2_by_map);
  for (int tap = 0; tap < taps; ++tap)
    for (int c = 0; c < maps1; ++c)
      for (int map = 0; map < maps2; ++map)
        weights.conv2_by_map[(tap % kernel * maps1 + c) / panel][map][tap / kernel][(tap % kernel * maps1 + c) % panel] =
            parameters[conv2_weight + (tap * maps1 + c) * maps2 + map];
  for (int layer = convolutional ? 0 : 1; layer < layers; ++layer) {
    const float* from = parameters + weight_of(layer);
    float* to = weights.transposed + transposed_at(layer);
    const int units = shape.units[layer], row = row_of(layer), input_row = input_row_of(layer);
    if (layer == 0) {
      for (int place = 0; place < places4; ++place)
        transpose(from + place * row, maps2, units, places4 * row, to + place * maps2, input_row);
    } else {
      memset(to, 0, static_cast<size_t>(units) * input_row * sizeof(float));
      transpose(from, inputs_of(layer), units, row, to, input_row);
    }
  }
}

/// Computes the gradients of some rows of a dense layer's weights. Each row has `vectors` vectors.
///
/// input: input of the first row, followed by the inputs of the next rows. row: distance between rows of weights.
template <int vectors>
inline void dense_rows(const float* input, const float* output_gradient, int64_t images, float* into, long row,
                       int rows) {
  for (int64_t from = 0; from < images; from += images_at_once) {
    const int64_t left = images - from;
    multiply<vectors, 1>({input + from * dense_row, output_gradient + from * dense_row, into, nullptr, rows, 1,
                       static_cast<int>(left < images_at_once ? left : images_at_once), 0, dense_row, 0, dense_row,
                       row, from > 0});
  }
}

// A task computes some rows of one layer. In a LeNet's first linear layer, these rows belong to one place of s4.
constexpr int rows_per_task = 24;
constexpr int tasks_of(int layer) {
  return layer == 0 && convolutional ? places4 : (inputs_of(layer) + rows_per_task - 1) / rows_per_task;
}
constexpr int first_task(int layer) { return layer == 0 ? 0 : first_task(layer - 1) + tasks_of(layer - 1); }
constexpr int dense_tasks = first_task(layers);

inline void dense_gradient(int task, const Dense* dense, int64_t images, float* gradient) {
  unrolled<layers>([&](auto layer) {
    const int number = task - first_task(layer);
    if (number < 0 || number >= tasks_of(layer)) return;
    constexpr int row = row_of(layer);
    const float* output_gradient = dense->gradients + output_at(layer);
    float* into = gradient + weight_of(layer);
    if constexpr (layer == 0 && convolutional) {
      dense_rows<row / lanes>(dense->input + number * maps2, output_gradient, images, into + number * row,
                              places4 * row, maps2);
    } else {
      const int first = number * rows_per_task, left = inputs_of(layer) - first;
      dense_rows<row / lanes>(dense->input_of(layer) + first, output_gradient, images, into + first * row, row,
                              left < rows_per_task ? left : rows_per_task);
    }
  });
}

inline void dense_bias_gradients(const Dense* dense, int64_t images, float* gradient) {
  for (int layer = 0; layer < layers; ++layer)
    for (int i = 0; i < row_of(layer); i += lanes) {
      Floats sum = broadcast(0.0f);
      for (int64_t n = 0; n < images; ++n) sum = sum + load(dense[n].gradients + output_at(layer) + i);
      store(gradient + bias_of(layer) + i, sum);
    }
}

/// Adds the sums of all pieces to those of the first piece, and writes them to the gradient.
inline void add_pieces(Sums* sums, int64_t pieces, float* gradient) {
  Sums& all = sums[0];
  constexpr int floats = offsetof(Sums, loss) / sizeof(float);
  for (int64_t p = 1; p < pieces; ++p) {
    float* into = &all.conv1_weight[0][0][0];
    const float* from = &sums[p].conv1_weight[0][0][0];
    for (int i = 0; i < floats; ++i) into[i] += from[i];
    all.loss += sums[p].loss;
    all.hits += sums[p].hits;
  }
  for (int i = 0; i < activations; ++i) gradient[slopes + i] = all.slopes[i];
  if (!convolutional) return;
  for (int map = 0; map < maps1; ++map) {
    for (int tap = 0; tap < taps; ++tap)
      gradient[conv1_weight + map * taps + tap] = all.conv1_weight[map][tap / kernel][tap % kernel];
    gradient[conv1_bias + map] = all.conv1_bias[map];
  }
  for (int tap = 0; tap < taps; ++tap)
    for (int c = 0; c < maps1; ++c)
      for (int map = 0; map < maps2; ++map)
        gradient[conv2_weight + (tap * maps1 + c) * maps2 + map] =
            all.conv2_weight[map][tap / kernel][tap % kernel * maps1 + c];
  for (int i = 0; i < maps2; i += lanes) store(gradient + conv2_bias + i, load(all.conv2_bias + i));
}

/// Computes the gradient (`parameters` floats) of a batch's mean loss. Returns the loss and hits.
inline Outcome batch_gradient(const Options& options, const Batch& batch, const float* parameters_now, float* gradient,
                              char* memory) {
  const int threads = static_cast<int>(options.threads);
  const Work work(memory, batch.count, threads);
  const int64_t pieces = Work::piece_count(batch.count);
  prepare(parameters_now, *work.weights);
  // Only the padding is cleared, because everything else is written below.
  if (convolutional) memset(gradient, 0, conv2_weight * sizeof(float));
  memset(gradient + slopes, 0, (parameters - slopes) * sizeof(float));
  memset(work.sums, 0, static_cast<size_t>(pieces) * sizeof(Sums));
  const auto train = [&](int thread, int64_t p) {
    const Range range = piece_range(batch, p);
    train_piece(options, batch, *work.weights, range, work.pieces[thread], work.dense + range.first, work.sums[p]);
  };
  Shared(threads, pieces, train);
  const auto sum_dense = [&](int, int64_t task) {
    if (task == dense_tasks) return dense_bias_gradients(work.dense, batch.count, gradient);
    dense_gradient(static_cast<int>(task), work.dense, batch.count, gradient);
  };
  Shared(threads, dense_tasks + 1, sum_dense);
  add_pieces(work.sums, pieces, gradient);
  return {work.sums[0].loss / static_cast<double>(batch.count), work.sums[0].hits};
}

/// Returns the mean loss and hits of a batch, and writes the predicted classes (count,).
inline Outcome evaluate(const Options& options, const Batch& batch, const float* parameters_now, int64_t* predictions,
                     char* memory) {
  const int threads = static_cast<int>(options.threads);
  const Work work(memory, batch.count, threads);
  const int64_t pieces = Work::piece_count(batch.count);
  memset(work.sums, 0, static_cast<size_t>(pieces) * sizeof(Sums));
  const auto one = [&](int thread, int64_t p) {
    const Range range = piece_range(batch, p);
    evaluate_piece(options, batch, parameters_now, range, work.pieces[thread], work.dense + range.first, work.sums[p],
                predictions);
  };
  Shared(threads, pieces, one);
  Outcome outcome{0, 0};
  for (int64_t p = 0; p < pieces; ++p) {
    outcome.loss += work.sums[p].loss;
    outcome.hits += work.sums[p].hits;
  }
  outcome.loss /= static_cast<double>(batch.count);
  return outcome;
}

}  // namespace lenet
