"""Many runs: seeds, sweeps and the atlas, and what their numbers say."""
