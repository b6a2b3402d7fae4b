"""Families of what happens to images in the world, one file each, for training that is to be robust.

Each function alters images, float32 (N, C, S, S) in [0, 1], by ``draws``, uniform numbers in [0, 1) (N, as many as it
needs), ``field``, normal numbers (N, 1, S, S) where it needs them, and ``strength`` (N, 1), from mild at 0 to what is
just legible at 1; ``families.alter`` fades the mildest to nothing. The result may leave [0, 1] a little. Every image
has its own numbers. The functions are ours and share no code with ``evaluation.corruption_types`` or any benchmark.
"""
