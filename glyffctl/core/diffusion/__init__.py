"""The mathematics of diffusion: schedules, the denoiser, guidance, samplers."""

import glyffctl.core.diffusion.ddpm_variance
import glyffctl.core.diffusion.langevin
