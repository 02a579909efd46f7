"""Classifies a user's own pictures: finds the drawing in each picture, and prepares it for a network."""
