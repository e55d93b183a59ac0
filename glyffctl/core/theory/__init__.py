"""Diffusion in closed form, and claims about it, measured."""
