"""What the tests are made of: exact bytes on both sides of a real gateway."""
