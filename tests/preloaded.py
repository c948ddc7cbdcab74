"""What every forked process has before it begins: imports, and kernels loaded from numba's cache."""

import app.server  # noqa: F401
import tests.audit.check_log
import tests.audit.conftest
import tests.audit.crash_child  # noqa: F401
from explainers.warm import warm_up

for _ in warm_up():
    pass
