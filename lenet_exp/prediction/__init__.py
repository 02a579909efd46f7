"""What a trained model gets right, and what it sees in pictures of one's own."""
