def greeting(whom):
    return f"Hello from {whom}."
