"""Layers, specs, checks and random numbers that all folders use."""
