"""Which operations of a spec move into the graph of an artifact, and how: the spec says what, this says where."""
