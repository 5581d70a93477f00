"""The demo: a digit detector that this project trains itself, and the scenes that it learns from."""
