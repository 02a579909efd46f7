// The kernels' interface in C, which engine.py calls.
#include "augment.h"
#include "batch.h"
#include "optimizers.h"

using namespace lenet;

#pragma GCC visibility push(default)
extern "C" {

/// Floats of an array of parameters, gradients or states.
int64_t lenet_parameters() { return parameters; }

/// Bytes of memory that `lenet_gradient` and `lenet_evaluate` need for a batch of so many images; aligned to 64 bytes.
int64_t lenet_memory(int64_t images, int64_t threads) { return Work::bytes(images, threads); }

/// Loss and hits of a batch, and the gradient of the mean loss.
void lenet_gradient(const Options* options, const Batch* batch, const float* weights, float* gradient, char* memory,
                    Outcome* outcome) {
  *outcome = batch_gradient(*options, *batch, weights, gradient, memory);
}

/// Clips, lets the optimizer do its step, and moves the average.
void lenet_update(const Update* how, float* weights, const float* gradient) { update(*how, weights, gradient); }

/// Loss, hits and predicted classes (count,) of a batch.
void lenet_evaluate(const Options* options, const Batch* batch, const float* weights, int64_t* predictions, char* memory,
                 Outcome* outcome) {
  *outcome = evaluate(*options, *batch, weights, predictions, memory);
}

/// New images (count, 32, 32) in place of a batch's.
void lenet_augment(const Augment* how, const Batch* batch, float* to) { augment(*how, *batch, to); }

/// exp, e^x - 1, tanh (0 to 2), log (3), or sine and cosine of so many turns (4, 5) of `count` floats, a multiple of
/// 16: for the tests.
void lenet_function(int64_t which, const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += lanes) {
    const Floats a = load(x + i);
    Floats sine, cosine;
    sine_and_cosine(a, sine, cosine);
    if (which > 3) {
      store(y + i, which == 4 ? sine : cosine);
      continue;
    }
    store(y + i, which == 0 ? exp(a) : which == 1 ? exp_minus_1(a) : which == 2 ? tanh(a) : log(a));
  }
}

/// `count` counters' worth of Threefry-2x32 with a key, a multiple of 16: for the tests.
void lenet_random(int32_t key1, int32_t key2, const int32_t* first, const int32_t* second, int32_t* out1,
                  int32_t* out2, int64_t count) {
  for (int64_t i = 0; i < count; i += lanes) {
    const Pair bits = threefry({key1, key2}, load(first + i), load(second + i));
    store(out1 + i, bits.first);
    store(out2 + i, bits.second);
  }
}
}
#pragma GCC visibility pop
