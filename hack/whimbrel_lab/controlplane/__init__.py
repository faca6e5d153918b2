"""Control planes of the lab: an API server in this process, or the real one."""
