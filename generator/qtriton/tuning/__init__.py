"""How many instances and threads each step of a published ensemble should have: measured, modelled, confirmed."""
