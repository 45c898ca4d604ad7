"""What the script `forecast` does to series: transformation, calendar, windows, scores."""
