"""Models of diffusers, and exports for other programs."""
