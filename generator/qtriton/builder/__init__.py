"""The stages of a build: plain functions that take values and return values."""
