"""Weights and pictures in, labels out."""
