"""Conversations between two people, turn by turn."""
