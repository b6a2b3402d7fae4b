"""Families of what happens to pictures in the world, one file each, for training that is to be robust.

Each function alters pictures, floats (N, C, S, S) in [0, 1], by ``draws``, uniform numbers in [0, 1) (N, as many as it
needs), ``field``, normal numbers (N, 1, S, S), and ``strength`` (N, 1), from nothing at 0 to what is just legible at 1.
Every picture has its own numbers. The functions are ours and share no code with ``evaluation.corruptions`` or a public
benchmark, so that what is measured there was not trained.
"""
