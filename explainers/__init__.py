"""Shapley values of a served ONNX graph: which method, the arithmetic, and the proof it adds up."""
