"""A Triton model repository: its configs, how it is read, written as a whole, and checked."""
