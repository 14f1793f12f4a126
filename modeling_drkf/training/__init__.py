"""What `DRKFTrainer` needs: arguments, callbacks, optimisation, sealed checkpoints, checks of what is trained."""
