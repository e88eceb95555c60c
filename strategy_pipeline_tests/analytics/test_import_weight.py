"""What importing the analytics costs: libraries of a second's load are left for the first computation."""

import subprocess
import sys


def test_importing_features_loads_no_heavy_library():
    code = (
        "import sys; import strategy_pipeline.analytics.features; "
        "print(sorted({'polars_talib', 'numba', 'scipy', 'plotly', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
