"""What the benchmarks share: running zse, timing, tables of docs, and the plain programs that zse is compared with."""
