"""Models that turn pictures into features: one face, the network and the baselines."""
