"""Optimizers by name: the catalog, what makes them, and weight files."""
