"""What won, by how much, and whether it is luck: runs grouped by configuration, compared over their seeds."""
