"""Other people's libraries on the same exchanges: a file for each, and the environments they live in."""
