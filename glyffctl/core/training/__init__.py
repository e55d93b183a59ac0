"""Training: objectives and the table of them, optimizers, averages, processes."""

import glyffctl.core.training.autoencoding
import glyffctl.core.training.classifying
import glyffctl.core.training.contrasting
import glyffctl.core.training.denoising
import glyffctl.core.training.distillation
import glyffctl.core.training.generating
import glyffctl.core.training.upscaling
