"""The published figures in print: a Record in, matplotlib Figures and files out."""
