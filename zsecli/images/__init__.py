"""Pictures: how their files are read, within a budget of memory."""
