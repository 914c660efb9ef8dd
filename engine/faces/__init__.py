"""Finding faces in photographs: where they are, how a face is cropped for the model, and which way it looks.

Only `worker` and what it imports load the detector, and it runs in a process of its own; everybody else needs the
standard library alone.
"""
