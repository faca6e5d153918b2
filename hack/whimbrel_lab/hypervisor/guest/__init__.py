"""The lab's own guest: its program, its image and its beats."""
