"""The Brown corpus of American English (Francis and Kucera 1964)."""
