"""What every benchmark shares: a vendor, a yardstick, interleaved rounds, gates and a table."""
