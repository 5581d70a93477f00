"""Renders what a cluster needs to serve a repository; applies nothing."""
