"""The page: what the user touches. Never imports torch; Gradio lives in `shell` and `theme` only."""
