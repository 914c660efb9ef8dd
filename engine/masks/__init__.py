"""Cutting things out of pictures: gestures of a user become a mask.

Only `worker` and what it imports touch pixels, OpenCV or torch, and it runs in a process of its own; everybody else
talks to it through `process` and needs nothing heavy.
"""
