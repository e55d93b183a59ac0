"""Drawing with the bundled model without PyTorch: NumPy, and onnxruntime for the network's passes."""
