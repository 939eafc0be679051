"""How photos are ranked for sketches, and how their pictures are read."""
