"""Learning from watching: frames of runs without actions, a tokenizer of frames, a model of what comes next.

`frames.py` is the file format; `collect.py` and `video.py` fill it; `autoencode.py` and `foresee.py` learn from it, in
the loop of `loop.py`; `frames_command.py` and `command.py` are the command lines. The networks are in `vision/`, where
policies and rewards can use them.
"""
