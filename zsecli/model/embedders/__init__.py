"""Models that turn pictures into features: the network and the baselines, behind one interface."""
