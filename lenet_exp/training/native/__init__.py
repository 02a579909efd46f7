"""The native engine: entire training steps as C++ kernels, with bit-identical results on all
supported CPUs.
"""
