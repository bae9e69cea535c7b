"""The transformers: the one layer of arXiv:2301.05217, and the pre-LN one that learns other tasks too."""
