"""Models of today as their own projects export them, each with what its project makes of some photos."""
