"""Numbers about a trained network, with their uncertainty."""
