"""The settings of a training run, each said once."""
