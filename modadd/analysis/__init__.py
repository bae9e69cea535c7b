"""A record in, numbers out."""
