# Grounds as an image: no compiler, no package manager's cache, no root, no shell on the way in.
#
#   docker build --tag grounds .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --publish 8080:8080 \
#     --volume grounds-data:/data --volume "$PWD/var/models:/models:ro" \
#     --volume "$PWD/var/suppliers:/suppliers:ro" grounds
#
# docs/operations.md says more.

FROM node:24-bookworm-slim AS assets

WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev
COPY app app
RUN npm run build


FROM python:3.11-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1

WORKDIR /build
RUN python -m venv --without-pip /opt/venv

# The dependencies first: they change less often than the code, and each has its hash in the file.
COPY requirements.lock ./
RUN python -m pip --python /opt/venv/bin/python install --require-hashes --requirement requirements.lock

COPY pyproject.toml README.md ./
COPY app app
COPY --from=assets /build/app/web/assets app/web/assets
COPY models models
COPY explainers explainers
COPY audit audit
# The wheel and not the source: one copy of each package, and no tests beside it.
RUN python -m pip wheel --no-deps --wheel-dir dist . \
 && python -m pip --python /opt/venv/bin/python install --no-deps dist/*.whl \
 && /opt/venv/bin/python -m compileall -q /opt/venv

# From another folder, or the source would stand before the installed copy. Compiling takes a minute
# of processor time, which no start should pay.
WORKDIR /
RUN NUMBA_CACHE_DIR=/opt/compiled /opt/venv/bin/python -c \
    "from explainers.warm import warm_up; print(*warm_up(), sep='\n')"


FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="Grounds" \
      org.opencontainers.image.description="Explainable decision support for public bodies"

# A fixed number, so that a volume's owner can be set before the first start.
RUN groupadd --system --gid 10001 grounds \
 && useradd --system --uid 10001 --gid grounds --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin grounds \
 && install --directory --mode=0700 --owner=grounds --group=grounds /data \
 && install --directory /models /suppliers

COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/compiled /opt/compiled
COPY deploy/container_start.py /opt/container_start.py

# GROUNDS_HOST: inside a container the outside can reach no other address; what is let through is
# decided where the port is published. Anywhere else the default stays 127.0.0.1.
# ORT_DISABLE_TELEMETRY: onnxruntime's official builds report their use to its makers otherwise.
# NUMBA_CACHE_DIR: numba refuses to start where it cannot write, even if all it needs is there.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GROUNDS_DATA_DIR=/data \
    GROUNDS_MODELS_DIR=/models \
    GROUNDS_SUPPLIERS_DIR=/suppliers \
    GROUNDS_HOST=0.0.0.0 \
    GROUNDS_PORT=8080 \
    NUMBA_CACHE_DIR=/tmp/compiled \
    ORT_DISABLE_TELEMETRY=1

USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080
STOPSIGNAL SIGTERM

# The first minutes do not count as failures: on a processor unlike the one of the build, the
# kernels are compiled anew.
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"GROUNDS_PORT\"]}/health/ready', timeout=4)"]

ENTRYPOINT ["python", "/opt/container_start.py"]
CMD ["serve"]
