"""From a name or a path to tensors: catalog, downloads, readers and images."""
