"""The world nano is trained on: paper dolls drawn from code. Knows nothing of networks."""
