"""The native engine: LeNet-5's whole training step as kernels in C++, with the same bits on every CPU."""
