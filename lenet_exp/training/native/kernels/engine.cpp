// The kernels' C interface, called by library.py.
#include "augment.h"
#include "batch.h"
#include "optimizers.h"

using namespace lenet;

#pragma GCC visibility push(default)
extern "C" {

/// Returns the number of floats in an array of parameters, gradients, or states.
int64_t lenet_parameters() { return parameters; }

/// Returns the bytes of memory that `lenet_gradient` and `lenet_evaluate` need for a batch; it must be aligned to 64
/// bytes.
int64_t lenet_memory(int64_t images, int64_t threads) { return Work::bytes(images, threads); }

/// Computes the loss and hits of a batch, and the gradient of the mean loss.
void lenet_gradient(const Options* options, const Batch* batch, const float* weights, float* gradient, char* memory,
                    Outcome* outcome) {
  *outcome = batch_gradient(*options, *batch, weights, gradient, memory);
}

/// Clips the gradient, executes the optimizer's step, and updates the average.
void lenet_update(const Update* how, float* weights, const float* gradient) { update(*how, weights, gradient); }

/// Computes the loss, hits, and predicted classes (count,) of a batch.
void lenet_evaluate(const Options* options, const Batch* batch, const float* weights, int64_t* predictions,
                    char* memory, Outcome* outcome) {
  *outcome = evaluate(*options, *batch, weights, predictions, memory);
}

/// Writes augmented copies (count, side, side) of a batch's images.
void lenet_augment(const Augment* how, const Batch* batch, float* to) { augment(*how, *batch, to); }

/// For the tests: computes exp, e^x - 1, or tanh (0 to 2), log (3), or the sine or cosine of x turns (4, 5) of `count`
/// floats; `count` must be a multiple of 16.
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

/// For the tests: computes Threefry-2x32 with a key for `count` counters; `count` must be a multiple of 16.
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
