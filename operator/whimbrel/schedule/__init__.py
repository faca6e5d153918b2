"""When a move may start. `outlook` says what would happen, `admit` what may happen at this instant."""
