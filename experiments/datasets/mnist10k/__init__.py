"""Ten thousand digits of MNIST (LeCun, Cortes and Burges)."""
