"""The module in DropPath's place, and what goes on between the start of a branch and its end."""
