"""Arrays in, numbers out: Fourier space, theory and measures."""
