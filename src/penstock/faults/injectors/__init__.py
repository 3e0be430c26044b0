"""What breaks things for real: listeners that never accept, names that move, cables that are pulled. One noun a file."""
