"""The strokes of Chinese characters, in the order of writing."""
