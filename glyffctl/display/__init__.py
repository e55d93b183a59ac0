"""Terminal output: progress, messages and tables."""
