"""The functions of the corruption types, by what they imitate; ``evaluation.corruptions`` has the table of them.

Each takes floats (N, C, S, S) in [0, 1], on the CPU, and a strength, and returns the corrupted images, which may leave
that range. Lengths are shares of the side, for images of few pixels. torchvision does what it has an operation for,
unless that draws the same random numbers for all images of a batch.
"""
