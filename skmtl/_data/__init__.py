"""X and y as training reads them."""
