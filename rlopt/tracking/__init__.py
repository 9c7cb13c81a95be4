"""Rows to Weights & Biases and TensorBoard."""
