"""Data sets as people have them on disk: one reader for each shape."""
