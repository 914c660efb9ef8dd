"""What makes pixels: a scene goes in, a clip comes out. Knows nothing of Gradio, browser tabs or users."""

__version__ = "0.1.0"
