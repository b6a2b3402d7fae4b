"""What finished runs left, readable without training code."""
