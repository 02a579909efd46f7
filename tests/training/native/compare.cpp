// Compares each kernel with its plain loops (plain.h), and then a whole step. An error is a share of the largest of the
// numbers compared; 1e-5 is allowed.
#include "comparison.h"
#include "engine.cpp"

namespace {

/// Any of four, as if it had been the largest.
template <int maps, int side> void choose(int (&chosen)[maps][side][side]) {
  for (auto& map : chosen)
    for (auto& row : map)
      for (int& one : row) one = static_cast<int>((made_up() + 1) * 2);
}

/// The gradient of a window's phase, if it has one.
template <int maps, int side> bool passes(const int (&chosen)[maps][side][side], int m, int y, int x, int q) {
  return average || chosen[m][y][x] == q;
}

void conv1(const Made& net) {
  using plain::maps1, plain::side1;
  static double image[1][side][side], z[maps1][side1][side1];
  static double z_gradient[maps1][side1][side1], image_gradient[1][side][side];
  static double weight_gradient[maps1][1][kernel][kernel], bias_gradient[maps1];
  int chosen[maps1][side2][side2];
  make_up(image, 1);
  Piece& work = *room<Piece>(1);
  Sums& sums = *room<Sums>(1);
  float* pictures = room<float>(pixels);
  for (int i = 0; i < pixels; ++i) pictures[i] = static_cast<float>(image[0][i / side][i % side]);
  clear_margins(work);
  part_columns(pictures, work);
  plain::convolution(image, net.plain->conv1_weight, net.plain->conv1_bias, z);
  conv1_forward<false>(work, net.kernels, pictures, work.unpooled, nullptr);
  conv1_forward<true>(work, net.kernels, pictures, work.planar, work.chosen1[0]);
  interleave(work.planar, work.s2[0]);
  {
    Comparison place("conv1, chosen"), pooled("conv1, pooled"), unpooled("conv1");
    for (int m = 0; m < maps1; ++m)
      for (int y = 0; y < side2; ++y)
        for (int x = 0; x < side2; ++x) {
          const int at = (m * side2 + y) * lanes + x, place_in_map = work.chosen1[0][at];
          double largest = z[m][2 * y][2 * x];
          for (int q = 0; q < 4; ++q) {
            const double expected = z[m][2 * y + q / 2][2 * x + q % 2];
            largest = expected > largest ? expected : largest;
            unpooled.see(work.unpooled[q * planar2 + at], expected);
          }
          pooled.see(work.s2[0][(y * side2 + x) * lenet::maps1 + m], largest);
          place.see(z[m][2 * y + place_in_map / side][2 * x + place_in_map % side], largest);
        }
  }
  choose(chosen);
  for (int m = 0; m < maps1; ++m)
    for (int y = 0; y < side2; ++y)
      for (int x = 0; x < side2; ++x) {
        work.chosen1[0][(m * side2 + y) * lanes + x] = static_cast<int8_t>(place_of(chosen[m][y][x], side));
        for (int q = 0; q < 4; ++q)
          if (passes(chosen, m, y, x, q)) {
            const float g = made_up();
            z_gradient[m][2 * y + q / 2][2 * x + q % 2] = static_cast<double>(g);
            work.s2_gradient[(average ? q * padded2 : 0) + (y * side2 + x) * lenet::maps1 + m] = g;
          }
      }
  plain::convolution_backward(image, net.plain->conv1_weight, z_gradient, weight_gradient, bias_gradient,
                              image_gradient);
  conv1_weight_gradient(pictures, work.s2_gradient, work.chosen1[0], work, sums);
  Bias1 bias_sums;
  for (Floats& sum : bias_sums) sum = broadcast(0.0f);
  conv1_bias_gradient(work.s2_gradient, bias_sums);
  add_by_map(bias_sums, sums.conv1_bias);
  Comparison bias("conv1.bias's gradient"), weight("conv1.weight's gradient");
  for (int m = 0; m < maps1; ++m) {
    bias.see(sums.conv1_bias[m], bias_gradient[m]);
    for (int t = 0; t < taps; ++t)
      weight.see(sums.conv1_weight[m][t / kernel][t % kernel], weight_gradient[m][0][t / kernel][t % kernel]);
  }
  free(&work), free(&sums), free(pictures);
}

void conv2(const Made& net) {
  using plain::maps1, plain::maps2, plain::side3;
  static double s2[maps1][side2][side2], z[maps2][side3][side3], z_gradient[maps2][side3][side3];
  static double weight_gradient[maps2][maps1][kernel][kernel], bias_gradient[maps2], s2_gradient[maps1][side2][side2];
  int chosen[maps2][side4][side4];
  make_up(s2, 1);
  Piece& work = *room<Piece>(1);
  Sums& sums = *room<Sums>(1);
  Weights& weights = *room<Weights>(1);
  float* pooled_maps = room<float>(lenet::flat);
  const auto at_s2 = [](int m, int y, int x) { return (y * side2 + x) * lenet::maps1 + m; };
  for (int m = 0; m < maps1; ++m)
    for (int i = 0; i < side2 * side2; ++i)
      work.s2[0][at_s2(m, i / side2, i % side2)] = static_cast<float>(s2[m][i / side2][i % side2]);
  plain::convolution(s2, net.plain->conv2_weight, net.plain->conv2_bias, z);
  conv2_forward<false>(work.s2[0], net.kernels, work.unpooled, nullptr);
  conv2_forward<true>(work.s2[0], net.kernels, pooled_maps, work.chosen2[0]);
  choose(chosen);
  {
    Comparison place("conv2, chosen"), pooled("conv2, pooled"), unpooled("conv2");
    for (int m = 0; m < maps2; ++m)
      for (int y = 0; y < side4; ++y)
        for (int x = 0; x < side4; ++x) {
          const int at = (y * side4 + x) * lenet::maps2 + m, place_in_map = work.chosen2[0][at];
          double largest = z[m][2 * y][2 * x];
          for (int q = 0; q < 4; ++q) {
            const double expected = z[m][2 * y + q / 2][2 * x + q % 2];
            largest = expected > largest ? expected : largest;
            unpooled.see(work.unpooled[q * lenet::flat + at], expected);
            if (!passes(chosen, m, y, x, q)) continue;
            const float g = made_up();
            z_gradient[m][2 * y + q / 2][2 * x + q % 2] = static_cast<double>(g);
            work.s4_gradient[0][(average ? q * lenet::flat : 0) + at] = g;
          }
          pooled.see(pooled_maps[at], largest);
          place.see(z[m][2 * y + place_in_map / width2][2 * x + place_in_map % width2], largest);
          work.chosen2[0][at] = static_cast<int8_t>(place_of(chosen[m][y][x], width2));
        }
  }
  plain::convolution_backward(s2, net.plain->conv2_weight, z_gradient, weight_gradient, bias_gradient, s2_gradient);
  prepare(net.kernels, weights);
  spread_rows(work.s2[0], work);
  conv2_weight_gradient(work, work.s4_gradient[0], work.chosen2[0], sums);
  conv2_input_gradient(weights, work.s4_gradient[0], work.chosen2[0], work.s2_gradient);
  Comparison input("s2's gradient"), weight("conv2.weight's gradient");
  for (int c = 0; c < maps1; ++c) {
    for (int m = 0; m < maps2; ++m)
      for (int t = 0; t < taps; ++t)
        weight.see(sums.conv2_weight[m][t / kernel][t % kernel * lenet::maps1 + c],
                   weight_gradient[m][c][t / kernel][t % kernel]);
    for (int i = 0; i < side2 * side2; ++i)
      input.see(work.s2_gradient[at_s2(c, i / side2, i % side2)], s2_gradient[c][i / side2][i % side2]);
  }
  free(&work), free(&sums), free(&weights), free(pooled_maps);
}

/// Rows of 16 * vectors; 13 fill no block of rows.
template <int vectors> void product(const char* name) {
  constexpr int rows = 13, terms = 30, columns = vectors * lanes;
  static double in[rows][terms], weight[columns][terms], bias[columns], out[columns];
  make_up(in, 1), make_up(weight, 1), make_up(bias, 1);
  float *a = room<float>(rows * terms), *b = room<float>(terms * columns), *c = room<float>(rows * columns);
  float* start = room<float>(columns);
  for (int i = 0; i < rows * terms; ++i) a[i] = static_cast<float>(in[i / terms][i % terms]);
  for (int i = 0; i < terms * columns; ++i) b[i] = static_cast<float>(weight[i % columns][i / columns]);
  for (int i = 0; i < columns; ++i) start[i] = static_cast<float>(bias[i]);
  multiply<vectors, terms>({a, b, c, start, rows, 1, terms, 0, 1, 0, columns, columns, false});
  Comparison comparison(name);
  for (int n = 0; n < rows; ++n) {
    plain::dense(terms, columns, in[n], weight[0], bias, out);
    for (int j = 0; j < columns; ++j) comparison.see(c[n * columns + j], out[j]);
  }
  free(a), free(b), free(c), free(start);
}

void each_activation() {
  const char* names[] = {"relu", "leaky relu", "elu", "selu", "tanh", "prelu", "rrelu"};
  const double slope = 0.1875;
  for (int64_t which = 0; which < 7; ++which) {
    Options options{};
    options.activation = static_cast<Activation>(which);
    options.alpha = options.upper = slope;  // RReLU without noise
    options.training = 1;
    float z[64], value[64], kept[64], gradient[64], prelu[parameters + lanes];
    for (int i = 0; i < 64; ++i) z[i] = (made_up() - 0.25f) * 8, gradient[i] = 1;
    prelu[slopes] = static_cast<float>(slope);
    with_activation(options, prelu, 0, noise_of(options, 0),
                    [&](const auto& function) { activate(function, z, value, kept, 4); });
    Floats slope_sums = broadcast(0.0f);
    activation_gradient(options, static_cast<float>(slope), kept, gradient, 4, slope_sums);
    Comparison derivatives("  its derivative"), values(names[which]);
    for (int i = 0; i < 64; ++i) {
      const plain::Activated expected = plain::activation(options.activation, slope, static_cast<double>(z[i]));
      values.see(value[i], expected.value);
      derivatives.see(gradient[i], expected.slope);
    }
  }
}

void loss() {
  constexpr int images = 13;
  static double logits[images][classes];
  make_up(logits, 5);
  float of_kernels[piece_images][class_row] = {}, gradient[piece_images][class_row];
  int64_t labels[images];
  for (int n = 0; n < images; ++n) {
    labels[n] = n * 7 % classes;
    for (int c = 0; c < classes; ++c) of_kernels[n][c] = static_cast<float>(logits[n][c]);
  }
  Sums& sums = *room<Sums>(1);
  cross_entropy(of_kernels, labels, images, 0.1, images, sums, gradient, nullptr);
  double total = 0;
  Comparison slope("  its gradient"), value("cross-entropy");
  for (int n = 0; n < images; ++n) {
    double expected[classes];
    total += plain::cross_entropy(logits[n], static_cast<int>(labels[n]), 0.1, expected);
    for (int c = 0; c < classes; ++c) slope.see(gradient[n][c], expected[c] / images);
  }
  value.see(sums.loss, total);
  free(&sums);
}

void optimizers() {
  struct Case {
    const char* name;
    Rule rule;
    bool nesterov, amsgrad, centered, decoupled;
  };
  const Case cases[] = {{"sgd", Rule::sgd, false, false, false, false},
                        {"sgd, nesterov", Rule::sgd, true, false, false, false},
                        {"adam", Rule::adam, false, false, false, false},
                        {"adamw, amsgrad", Rule::adam, false, true, false, true},
                        {"rmsprop", Rule::rmsprop, false, false, false, false},
                        {"rmsprop, centered", Rule::rmsprop, false, false, true, false}};
  for (const Case& one : cases) {
    Update u{};
    u.rule = one.rule, u.nesterov = one.nesterov, u.amsgrad = one.amsgrad;
    u.centered = one.centered, u.decoupled = one.decoupled;
    u.lr = 0.05, u.weight_decay = 0.01, u.momentum = 0.5, u.alpha = 0.9, u.beta1 = 0.9, u.beta2 = 0.99, u.eps = 0.01;
    float *weights = room<float>(parameters), *gradient = room<float>(parameters);
    double(*states)[3] = room<double[3]>(parameters);
    double* expected = room<double>(parameters);
    for (int i = 0; i < parameters; ++i) expected[i] = weights[i] = made_up();
    for (float*& state : u.state) state = room<float>(parameters);
    if (!one.amsgrad && one.rule == Rule::adam) free(u.state[2]), u.state[2] = nullptr;
    if (!one.centered && one.rule == Rule::rmsprop) free(u.state[2]), u.state[2] = nullptr;
    for (int number = 1; number <= 3; ++number) {
      u.fresh = number == 1 ? 1 : 0.75;
      u.correction1 = 1 - pow(u.beta1, number), u.correction2 = 1 - pow(u.beta2, number);
      for (int i = 0; i < parameters; ++i) {
        gradient[i] = made_up();
        plain::step(u, static_cast<double>(gradient[i]), expected[i], states[i]);
      }
      update(u, weights, gradient);
    }
    Comparison comparison(one.name);
    for (int i = 0; i < parameters; ++i) comparison.see(weights[i], expected[i]);
    for (float* state : u.state) free(state);
    free(weights), free(gradient), free(states), free(expected);
  }
}

/// The gradients of a batch of a piece and a bit, by two threads.
void whole_step(const Made& net) {
  constexpr int images = 19;
  double(*image)[1][side][side] = room<double[1][side][side]>(images);
  plain::Network& expected = *room<plain::Network>(1);
  float *pictures = room<float>(images * pixels), *gradient = room<float>(parameters);
  int64_t labels[images], index[images];
  double total = 0;
  for (int n = 0; n < images; ++n) {
    make_up(image[n], 1);
    for (int i = 0; i < pixels; ++i) pictures[n * pixels + i] = static_cast<float>(image[n][0][i / side][i % side]);
    labels[n] = n * 7 % classes, index[n] = images - 1 - n;
    total += plain::train(*net.plain, Activation::selu, 0, image[n], static_cast<int>(labels[n]), 0.1, expected);
  }
  Options options{};
  options.activation = Activation::selu;
  options.pool_first = !average, options.training = 1, options.label_smoothing = 0.1, options.threads = 2;
  const Batch batch{pictures, labels, index, images};
  char* memory = room<char>(lenet_memory(images, options.threads));
  Outcome outcome;
  lenet_gradient(&options, &batch, net.kernels, gradient, memory, &outcome);
  Comparison("loss of a batch").see(outcome.loss, total / images);
  for (int i = convolutional ? 0 : 4; i < 4 + 2 * layers; i += 2) {  // a bias alone can have terms that cancel
    Comparison comparison(names[i]);
    each_parameter(expected, [&](const char* name, double& value, int at) {
      if (name == names[i] || name == names[i + 1]) comparison.see(gradient[at], value / images);
    });
  }
  free(image), free(&expected), free(pictures), free(gradient), free(memory);
}

}  // namespace

int main() {
  const Made net;
  if (convolutional) conv1(net), conv2(net);
  product<25>("product of 25 vectors");
  product<8>("product of 8 vectors");
  product<6>("product of 6 vectors");
  product<1>("product of 1 vector");
  each_activation();
  loss();
  optimizers();
  whole_step(net);
  return all_right ? 0 : 1;
}
