"""Everything that speaks to Triton: configuration, model repository, embedded server."""
