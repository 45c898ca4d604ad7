"""Tweets and sentences of movie reviews, rated by people (Hutto and Gilbert 2014)."""
