"""A fleet of replicas on a simulated clock, to compare who sends a request where."""
