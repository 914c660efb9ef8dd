"""LumosX on diffusers: Wan's transformer plus relations between reference pictures, and the parts that sample with it."""
