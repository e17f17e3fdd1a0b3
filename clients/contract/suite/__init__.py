"""The contract suite: a real collector, a client's driver, and what the log says afterwards."""
