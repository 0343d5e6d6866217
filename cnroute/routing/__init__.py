"""Everything that decides: plans, policies, the fallback table, health. Pure; no sockets, no vendors."""
