"""What the reconciler costs, measured; run by `make bench`. No test is timed."""
