"""Kernels for CUDA that read and write each number as seldom as the mathematics allows, in Triton."""
