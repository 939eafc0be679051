"""What every stage runs on: words on stderr, files, locks, threads and processes."""
