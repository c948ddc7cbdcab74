"""Machine-learning models: ONNX bundles, their cards, typed schemas and the session that scores.

Knows ONNX and onnxruntime; knows nothing of HTTP, explanations or logs.
"""
