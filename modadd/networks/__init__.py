"""What is trained: networks, their step and their optimiser."""
