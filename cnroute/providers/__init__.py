"""The built-in vendor dialects. They use only what a stranger's plugin can import."""
