"""Checkpoints, and the loop that both trainings share: resumed by running the same command again, to the same result."""

import os
import time

import torch

SAVE_SECONDS = 150
SEED = 7


def run(file, parts, steps, step_once):
    """Trains from the last checkpoint to `steps`. `parts` maps names to what has state_dict and load_state_dict.

    Every step draws from a generator seeded by its number, so an interruption changes nothing but the time.
    """
    step, seconds = 0, 0.0
    if file.exists():
        saved = torch.load(file, weights_only=True)
        step, seconds = saved["step"], saved["cpu_seconds"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        print(f"resuming at step {step}, {seconds / 3600:.2f} CPU hours so far", flush=True)
    before, last_save, total, shown = time.process_time(), time.time(), 0.0, 0

    def save():
        spent = seconds + time.process_time() - before
        content = {name: part.state_dict() for name, part in parts.items()}
        partial = file.with_suffix(".partial")
        torch.save({"step": step, "steps": steps, "cpu_seconds": spent, **content}, partial)
        os.replace(partial, file)
        return spent

    while step < steps:
        torch.manual_seed(SEED * 1_000_003 + step)
        total += step_once(step)
        step, shown = step + 1, shown + 1
        if step % 100 == 0 or step == steps:
            spent = seconds + time.process_time() - before
            print(f"step {step} of {steps}: loss {total / shown:.5f}, {spent / 3600:.3f} CPU hours", flush=True)
            total, shown = 0.0, 0
        if time.time() - last_save > SAVE_SECONDS or step == steps:
            save()
            last_save = time.time()


def cpu_hours(file):
    return torch.load(file, weights_only=True, mmap=True)["cpu_seconds"] / 3600
