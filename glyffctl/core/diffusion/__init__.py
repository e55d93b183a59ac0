"""The mathematics of diffusion: schedules, the denoiser, guidance, samplers."""
