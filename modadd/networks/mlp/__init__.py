"""The two-layer network of arXiv:2602.16849."""
