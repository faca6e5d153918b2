"""One move: what phase it is in, by evidence; how an attempt ended; what in-flight work needs; the writes of a move.

Pure and stateless: everything is derived from the move, its migration, its instance and the time, so that a restart at
any instant continues where the last process stopped.
"""
