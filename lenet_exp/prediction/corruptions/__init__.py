"""The 15 corruptions of MNIST-C, made from their published definitions (Mu and Gilmer 2019)."""
