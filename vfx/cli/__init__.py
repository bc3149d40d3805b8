"""What every command shares: overrides, config, help, logging, errors and exit codes."""
