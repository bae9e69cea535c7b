"""What is measured of a network at one moment."""
