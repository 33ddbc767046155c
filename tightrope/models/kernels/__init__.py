"""Passes over memory that torch takes several times, written in C for bfloat16 on a CPU.

A small model's step is half products, half passes over what lies between them: torch reads and writes a norm's rows
seven times, a weight's master, moments and gradient a dozen. Each of these is one loop here. A compiler that is on the
machine builds them at first use (`build.py`); without one everything is computed with torch, slower, and rounded in
other places.

Products stay torch's, but for attention's: those are so small that to prepare each takes longer than to compute it.
With a processor that multiplies matrices in registers (AMX) they are made here, between the passes (`tiles.h`).

Each `*.c` has a module of its name that calls it, on tensors it can take; whoever calls that asks `usable` first.
"""
