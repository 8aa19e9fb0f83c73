"""Storage: verified images and volumes."""
