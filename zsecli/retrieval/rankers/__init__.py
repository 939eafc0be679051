"""Scoring rules: how the photos of a gallery are ranked for a sketch. One module a rule."""
