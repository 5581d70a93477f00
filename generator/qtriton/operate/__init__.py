"""What starts from a published repository: measure it, ask it, profile its layers, build its engines."""
