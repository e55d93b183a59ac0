"""What diffusion should do, in closed form, and claims held to it."""
