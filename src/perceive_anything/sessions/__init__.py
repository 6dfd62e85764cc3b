"""Sessions: a picture that is encoded once and asked many times."""
