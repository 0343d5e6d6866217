"""The contract of transports: checks against a raw server on loopback (`cnroute.testing.TransportContract`)."""
