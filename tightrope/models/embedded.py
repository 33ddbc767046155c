from pathlib import Path
def embedded_model_folder() -> Path:
    raise RuntimeError
