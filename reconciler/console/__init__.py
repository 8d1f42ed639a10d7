"""What the commands print for people: a few short tables, coloured on a terminal."""
