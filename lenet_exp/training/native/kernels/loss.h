// Cross-entropy of the softmax with smoothed labels (Szegedy et al. 2016, section 7). The lanes are 16 images.
#pragma once
#include "functions.h"
#include "pooling.h"
#include "work.h"

namespace lenet {

struct Logits {  // logits of 16 images
  Floats of[classes], largest;
  Ints predicted;  // class of the largest logit; the first class in a tie
};

inline Logits by_class(const float (*logits)[class_row], int images) {
  Logits found;
  for (int c = 0; c < classes; ++c) {
    float lane[lanes];
    for (int n = 0; n < lanes; ++n) lane[n] = n < images ? logits[n][c] : 0;
    found.of[c] = load(lane);
  }
  found.largest = found.of[0];
  found.predicted = broadcast(0);
  for (int c = 1; c < classes; ++c) {
    const Mask better = larger(found.of[c], found.largest);
    found.largest = select(better, found.of[c], found.largest);
    found.predicted = select(better, broadcast(c), found.predicted);
  }
  return found;
}

/// Adds the loss and the hits of up to 16 images to `sums`. Writes the gradient of the mean loss of `batch` images to
/// `gradient` and the predicted classes to `predictions`, unless these are null.
inline void cross_entropy(const float (*logits)[class_row], const int64_t* labels, int images, double smoothing,
                          int64_t batch, Sums& sums, float (*gradient)[class_row], int32_t* predictions) {
  const Logits z = by_class(logits, images);
  Floats e[classes], total = broadcast(0.0f), sum = broadcast(0.0f);
  for (int c = 0; c < classes; ++c) {
    const Floats below = z.of[c] - z.largest;
    e[c] = exp(below);
    total = total + e[c];
    sum = sum + below;
  }
  float log_total[lanes], sum_below[lanes], largest[lanes];
  int32_t predicted[lanes];
  store(log_total, log(total));
  store(sum_below, sum);
  store(largest, z.largest);
  store(predicted, z.predicted);
  const float shared = static_cast<float>(smoothing / classes), own = static_cast<float>(1 - smoothing);
  for (int n = 0; n < images; ++n) {
    float loss = log_total[n] - own * (logits[n][labels[n]] - largest[n]);
    if (smoothing > 0) loss -= shared * sum_below[n];
    sums.loss += static_cast<double>(loss);
    sums.hits += predicted[n] == labels[n];
    if (predictions) predictions[n] = predicted[n];
  }
  if (!gradient) return;
  const float mean = static_cast<float>(1.0 / static_cast<double>(batch));
  for (int c = 0; c < classes; ++c) {
    float lane[lanes];
    store(lane, e[c] / total);
    for (int n = 0; n < images; ++n) gradient[n][c] = (lane[n] - (c == labels[n] ? own + shared : shared)) * mean;
  }
  for (int n = 0; n < images; ++n)
    for (int c = classes; c < class_row; ++c) gradient[n][c] = 0;
}

}  // namespace lenet
