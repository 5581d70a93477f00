"""From measured results to the tables that a reader compares."""
