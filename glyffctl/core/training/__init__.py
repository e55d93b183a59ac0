"""Training: objectives, optimizers, averages, processes."""
