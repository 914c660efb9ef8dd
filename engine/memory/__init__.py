"""Memory: what this machine has."""
