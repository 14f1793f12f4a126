"""How good the answers are: metrics, calibration, what a run records, several runs together, the paper's figures."""
