"""The native engine: LeNet-5's entire training step as C++ kernels, with bit-identical results on every CPU."""
