"""How fast this machine extracts, and where the time goes."""
