"""Time series: airline passengers, daily prices, an electrocardiogram, sunspots and carbon dioxide."""
