"""Demo, benchmarks, soak test and doctor. May import everything but the command line."""
