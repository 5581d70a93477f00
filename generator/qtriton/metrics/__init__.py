"""Accuracy, by the metric of each task, in points of 100."""
