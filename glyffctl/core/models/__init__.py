"""A trained model: its settings, its file, and drawing with it."""
