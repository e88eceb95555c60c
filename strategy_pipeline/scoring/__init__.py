"""From a detector's firing to a tradable signal or a stated reason against it (detectors.md section 7).

Frames in, frames out: what is read and written is the business of the layers below.
"""
