"""MiniMax: three dialects over one error scheme; each of `v2`, `pro` and `legacy` is a plugin of its own.

`codes` holds what all three answer when something went wrong, `base` what their requests share, `answers` what
their replies share, `frames` what their streams share.
"""
