"""PyTorch re-implementations of the model families, with the official parameter names.

They exist to make ONNX exports that look like exports of the official code, and to be an independent statement of what
each network computes. They follow the architecture, not the source, of the official repositories.
"""
