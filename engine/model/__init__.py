"""LumosX on diffusers: Wan's transformer plus relations between reference pictures, and what samples with it."""
