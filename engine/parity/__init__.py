"""Recorded cases of the published code, run again with ours and compared.

Works below the scene: on tensors, token ids and files as they were recorded, whatever a studio would make of them.
"""
