"""Figures of what core computes, in one style (`style`)."""
