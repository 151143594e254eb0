"""Who does the dear work of a command: this process, several on this machine, or a cluster."""
