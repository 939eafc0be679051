"""Pictures and data sets in."""
