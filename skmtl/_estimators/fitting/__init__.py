"""From parameters and data to a trained net."""
