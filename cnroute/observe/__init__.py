"""What goes out of a call: log events and records."""
