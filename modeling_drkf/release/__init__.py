"""What leaves the house: Hub revisions, cards with their licences, ONNX graphs."""
