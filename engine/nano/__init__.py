"""Nano: the built-in model. A world of paper dolls, the training that starts from nothing, and its measurement."""
