"""Networks: what a denoiser asks, and their registry."""
