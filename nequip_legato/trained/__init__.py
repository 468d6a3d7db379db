"""A trained model, and the frames that it was trained on."""
