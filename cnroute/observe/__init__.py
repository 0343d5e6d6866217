"""What goes out of a call: the log."""
