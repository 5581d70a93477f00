"""Immutable releases of a repository in a store, and the one pointer that says which of them is current."""
