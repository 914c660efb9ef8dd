"""The page: what the user touches. Imports the engine's domain, never torch; Gradio lives in `shell` and `theme` only."""
