"""The native engine: LeNet-5's whole training step as C++ kernels, with the same bits on every CPU."""
