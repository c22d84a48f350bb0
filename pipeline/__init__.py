"""Slipway: trained Stable-Baselines3 policies into every place where they have to act."""
