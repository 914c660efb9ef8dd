"""Figures: what a pass, a plan or a page costs on this machine, always compared within one run."""
