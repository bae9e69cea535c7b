"""Runs in the background, in worker processes and on a cluster."""
