"""Sources of images: reading, checking, decoding, splitting."""
