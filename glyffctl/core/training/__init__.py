"""Training: objectives and the table of them, optimizers, averages, processes."""

from glyffctl.core.training import denoising  # noqa: F401 (adds itself to the table)
