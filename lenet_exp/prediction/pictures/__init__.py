"""Classification of a user's own pictures: finds the drawings and prepares them for a network."""
