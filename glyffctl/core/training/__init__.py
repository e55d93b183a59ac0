"""Training: objectives and the table of them, optimizers, averages, processes."""

import glyffctl.core.training.denoising  # noqa: F401 (adds itself to the table)
