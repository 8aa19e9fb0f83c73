"""What tests of this directory may ask for."""

from passing_on import two

__all__ = ["two"]
