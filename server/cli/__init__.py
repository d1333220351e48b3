"""`taskhouse …`: one file per noun, thin."""
