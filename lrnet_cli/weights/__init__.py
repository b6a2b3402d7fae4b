"""Weight files in all their forms."""
