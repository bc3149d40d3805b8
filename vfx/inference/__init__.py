"""A network as a run uses it: transforms, fused kernels, threads and devices."""
