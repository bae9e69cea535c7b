"""Many runs: devices and cluster tasks that share them, seeds and sweeps, and what their numbers say."""
