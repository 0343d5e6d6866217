"""The course of a call: one generator that yields effects and knows no socket, no clock, no asyncio."""
