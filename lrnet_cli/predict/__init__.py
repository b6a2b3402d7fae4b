"""Weights and images in, labels out."""
