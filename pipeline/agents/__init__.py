"""The Stable-Baselines3 side: archives, spaces, policies, rollouts. Runs inside the torch toolchain."""
