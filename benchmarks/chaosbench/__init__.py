"""The parts of the chaos bench: the vendors and their faults, the traffic, what was seen of it, and the invariants."""
