"""The settings of a training run, each defined once."""
