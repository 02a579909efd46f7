// Random augmentation of training images, with bit-identical results on every CPU.
//
// The distributions are the same as in training/augmentation.py. tests/training/native/test_augment.py compares the
// results with those of torch in double precision.
#pragma once
#include <string.h>

#include "batch.h"
#include "functions.h"
#include "random.h"

namespace lenet {

/// The ranges of the changes, and the key of one step's random numbers.
struct Augment {
  double shift, rotate, scale, shear, elastic, sigma, flip, erase;
  int64_t erase_size;
  double background;                    // value of a black pixel
  int64_t key1, key2;
  int64_t threads;
};

constexpr int row_of_pixels = round_up(side);
constexpr int control = lanes;          // number of control points along each axis of the `elastic` displacement field
constexpr int margin = 2, framed = side + 2 * margin;  // side of an image with the margin that bilinear lookups read

/// The random words of one image, in blocks of 32: block 0 is for the parameters, and blocks 1 to 16 for the field.
struct Words {
  uint32_t first[lanes], second[lanes];

  Words(Key key, int32_t image, int block) {
    const Pair bits = threefry(key, broadcast(image), broadcast(block * lanes) + lane_numbers());
    store(reinterpret_cast<int32_t*>(first), bits.first);
    store(reinterpret_cast<int32_t*>(second), bits.second);
  }
};
enum { angle_word, size_word, shear_word, x_word, y_word, flip_word };      // indices of block 0's first words
enum { erase_word, height_word, width_word, top_word, left_word };          // indices of block 0's second words

inline float part_of_one(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }        // [0, 1)
inline float to_either_side(uint32_t word) { return 2.0f * part_of_one(word) - 1.0f; }               // [-1, 1)
/// Returns an integer in [0, limit).
inline int whole(uint32_t word, int limit) {
  return static_cast<int>((static_cast<uint64_t>(word >> 8) * static_cast<uint64_t>(limit)) >> 24);
}

/// Weights of the control points at each pixel along an axis, with pixels as lanes: [control][side].
///
/// The squares of each pixel's weights sum to 1, which preserves the variance of noise.
struct Smooth {
  float of_pixel[side][control], of_point[control][row_of_pixels] = {};

  explicit Smooth(double sigma) {
    const Floats narrow = broadcast(static_cast<float>(-0.5 / (sigma * sigma)));
    constexpr float distance = static_cast<float>(side) / control;
    const Floats points = to_floats(lane_numbers()) * broadcast(distance) + broadcast(0.5f * distance - 0.5f);
    for (int pixel = 0; pixel < side; ++pixel) {
      const Floats away = points - broadcast(static_cast<float>(pixel));
      const Floats weights = exp(away * away * narrow);
      store(of_pixel[pixel], weights / root(broadcast(sum_of_lanes(weights * weights))));
      for (int point = 0; point < control; ++point) of_point[point][pixel] = of_pixel[pixel][point];
    }
  }
};

/// Draws smooth random displacements along x and y, each with variance 1 (Simard, Steinkraus, and Platt 2003).
inline void draw_field(const Smooth& smooth, Key key, int32_t image, float (&field)[2][side][row_of_pixels]) {
  Floats noise[2][control];
  for (int row = 0; row < control; ++row) {  // normal numbers (Box and Muller 1958)
    Floats radius, turns, sine, cosine;
    Noise{key, image}.draw(1 + row, radius, turns);
    radius = root(log(broadcast(1.0f) - radius) * broadcast(-2.0f));
    sine_and_cosine(turns, sine, cosine);
    noise[0][row] = radius * cosine;
    noise[1][row] = radius * sine;
  }
  for (int axis = 0; axis < 2; ++axis)
    for (int pixel = 0; pixel < side; ++pixel) {
      Floats column = broadcast(0.0f), left = column, right = column;
      for (int row = 0; row < control; ++row)
        column = fma(broadcast(smooth.of_pixel[pixel][row]), noise[axis][row], column);
      float weights[control];
      store(weights, column);
      for (int point = 0; point < control; ++point) {
        const Floats weight = broadcast(weights[point]);
        left = fma(weight, load(smooth.of_point[point]), left);
        right = fma(weight, load(smooth.of_point[point] + lanes), right);
      }
      store(field[axis][pixel], left);
      store(field[axis][pixel] + lanes, right);
    }
}

/// Source of each pixel of the new image: x = ax * X + bx * Y + cx, with X and Y measured from the image's center.
struct Affine {
  float ax, bx, cx, ay, by, cy;
};

inline Affine draw_affine(const Augment& how, const Words& words) {
  Floats sines, cosines;
  sine_and_cosine(broadcast(to_either_side(words.first[angle_word]) * static_cast<float>(how.rotate / 360.0)), sines,
                  cosines);
  float sine[lanes], cosine[lanes];
  store(sine, sines);
  store(cosine, cosines);
  const float size = 1.0f + to_either_side(words.first[size_word]) * static_cast<float>(how.scale);
  const float shear = to_either_side(words.first[shear_word]) * static_cast<float>(how.shear);
  const float s = sine[0] / size, c = cosine[0] / size, middle = 0.5f * (side - 1);
  return {c + shear * s, shear * c - s, middle + to_either_side(words.first[x_word]) * static_cast<float>(how.shift),
          s,             c,             middle + to_either_side(words.first[y_word]) * static_cast<float>(how.shift)};
}

/// Returns interpolated values at 16 positions (in pixels) of a framed image. Outside it, they are the background.
inline Floats bilinear(const float* frame, Floats x, Floats y) {
  const Floats first = broadcast(-1.0f), last = broadcast(static_cast<float>(side)), half = broadcast(0.5f);
  x = larger_or_nan(first, smaller_or_nan(last, x));
  y = larger_or_nan(first, smaller_or_nan(last, y));
  const Floats left = nearest(x - half), top = nearest(y - half);  // for integers, can be one less than the floor
  const Floats place = fma(top, broadcast(static_cast<float>(framed)), left) +
                       broadcast(static_cast<float>(margin * framed + margin));
  const Ints at = to_ints(place);
  const Floats across = x - left;
  const Floats a = gather(frame, at), b = gather(frame + 1, at);
  const Floats c = gather(frame + framed, at), d = gather(frame + framed + 1, at);
  const Floats upper = fma(across, b - a, a), lower = fma(across, d - c, c);
  return fma(y - top, lower - upper, upper);
}

inline void resample(const Augment& how, const Smooth& smooth, const Words& words, int32_t image, const float* from,
                     float* to) {
  float frame[framed * framed], field[2][side][row_of_pixels], row_of_result[row_of_pixels];
  for (float& pixel : frame) pixel = static_cast<float>(how.background);
  for (int y = 0; y < side; ++y)
    memcpy(frame + (y + margin) * framed + margin, from + y * side, side * sizeof(float));
  const Affine affine = draw_affine(how, words);
  const Key key{static_cast<int32_t>(how.key1), static_cast<int32_t>(how.key2)};
  if (how.elastic > 0) draw_field(smooth, key, image, field);
  // Two components with a variance of 1/2 each give a mean squared length of 1.
  const Floats length = broadcast(static_cast<float>(how.elastic) * 0.707106781f);
  const Floats middle = broadcast(0.5f * (side - 1));
  for (int row = 0; row < side; ++row) {
    const Floats across = broadcast(static_cast<float>(row)) - middle;
    const Floats from_x = fma(broadcast(affine.bx), across, broadcast(affine.cx));
    const Floats from_y = fma(broadcast(affine.by), across, broadcast(affine.cy));
    for (int column = 0; column < side; column += lanes) {
      const Floats along = to_floats(lane_numbers() + broadcast(column)) - middle;
      Floats x = fma(broadcast(affine.ax), along, from_x), y = fma(broadcast(affine.ay), along, from_y);
      if (how.elastic > 0) {
        x = fma(length, load(field[0][row] + column), x);
        y = fma(length, load(field[1][row] + column), y);
      }
      store(row_of_result + column, bilinear(frame, x, y));
    }
    memcpy(to + row * side, row_of_result, side * sizeof(float));
  }
}

/// Shifts an image by whole pixels. `x` and `y` are the source of the new image's first pixel.
inline void move(int x, int y, float background, const float* from, float* to) {
  for (int row = 0; row < side; ++row)
    for (int column = 0; column < side; ++column) {
      const bool inside = row + y >= 0 && row + y < side && column + x >= 0 && column + x < side;
      to[row * side + column] = inside ? from[(row + y) * side + column + x] : background;
    }
}

inline void mirror(float* image) {
  for (int row = 0; row < side; ++row)
    for (int column = 0; column < side / 2; ++column) {
      float &left = image[row * side + column], &right = image[row * side + side - 1 - column];
      const float kept = left;
      left = right;
      right = kept;
    }
}

/// Erases a random rectangle with sides of 1 to `longest` pixels (Zhong et al. 2020).
inline void erase(const Words& words, int longest, float background, float* image) {
  const int height = 1 + whole(words.second[height_word], longest), width = 1 + whole(words.second[width_word], longest);
  const int top = whole(words.second[top_word], side - height + 1);
  const int left = whole(words.second[left_word], side - width + 1);
  for (int row = top; row < top + height; ++row)
    for (int column = left; column < left + width; ++column) image[row * side + column] = background;
}

inline void augment_image(const Augment& how, const Smooth& smooth, int32_t image, const float* from, float* to) {
  const Words words({static_cast<int32_t>(how.key1), static_cast<int32_t>(how.key2)}, image, 0);
  const int shift = static_cast<int>(how.shift);
  const float background = static_cast<float>(how.background);
  if (how.rotate > 0 || how.scale > 0 || how.shear > 0 || how.elastic > 0)
    resample(how, smooth, words, image, from, to);
  else if (shift > 0)
    move(whole(words.first[x_word], 2 * shift + 1) - shift, whole(words.first[y_word], 2 * shift + 1) - shift,
         background, from, to);
  else
    memcpy(to, from, pixels * sizeof(float));
  if (part_of_one(words.first[flip_word]) < static_cast<float>(how.flip)) mirror(to);
  if (part_of_one(words.second[erase_word]) < static_cast<float>(how.erase))
    erase(words, how.erase_size < side ? static_cast<int>(how.erase_size) : side, background, to);
}

/// Writes augmented copies (count, side, side) of a batch's images.
inline void augment(const Augment& how, const Batch& batch, float* to) {
  const Smooth smooth(how.elastic > 0 ? how.sigma : 1.0);
  const auto piece = [&](int, int64_t number) {
    const Range range = piece_range(batch, number);
    for (int64_t i = range.first; i < range.first + range.images; ++i)
      augment_image(how, smooth, static_cast<int32_t>(i), batch.images + batch.index[i] * pixels, to + i * pixels);
  };
  Shared(static_cast<int>(how.threads), Work::piece_count(batch.count), piece);
}

}  // namespace lenet
