# The image of `reconciler run`. Everything in it is locked with hashes: deploy/image/*.txt.
FROM python:3.13-slim AS build
WORKDIR /src
RUN apt-get update && apt-get install --yes --no-install-recommends binutils \
    && python -m venv /opt/build && python -m venv --without-pip /opt/reconciler
COPY deploy/image/build.txt deploy/image/requirements.txt ./
RUN /opt/build/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes -r build.txt \
    && /opt/build/bin/python -m pip --python /opt/reconciler/bin/python install --no-cache-dir \
        --disable-pip-version-check --no-compile --require-hashes --only-binary :all: \
        -r requirements.txt
# Remove what only debuggers, compilers and tests need: a third of the size.
RUN cd /opt/reconciler/lib/python3*/site-packages \
    && find . -name '*.so*' -exec strip --strip-unneeded {} + \
    && find . -type f -regex '.*\.\(c\|cpp\|h\|hpp\|pxd\|pyi\|pyx\|rs\)' -delete \
    && rm -rf temporalio/bridge/sdk-core alembic/testing mako/testing sqlalchemy/testing greenlet/tests \
        regex/tests \
    && find pygments/lexers -name '[a-z]*.py' ! -name python.py -delete
COPY pyproject.toml README.md LICENSE ./
COPY reconciler reconciler
COPY alembic alembic
RUN /opt/build/bin/python -m hatchling build -t wheel -d /wheel \
    && /opt/build/bin/python -m pip --python /opt/reconciler/bin/python install --no-cache-dir \
        --disable-pip-version-check --no-compile --no-deps --no-index /wheel/*.whl
# Compile what the commands load, and nothing else.
RUN cd / && /opt/reconciler/bin/python -c \
        "import reconciler.__main__, reconciler.console, reconciler.daemon.loop, reconciler.postgres.migrate.upgrade, reconciler.temporal.failures.codec_server" \
    && /opt/reconciler/bin/reconciler --version


FROM python:3.13-slim
ARG VERSION=unknown
LABEL org.opencontainers.image.title="reconciler" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.description="Repairs workflow rows in PostgreSQL that still say running after their Temporal workflow has ended." \
      org.opencontainers.image.licenses="MIT"
# A numeric id, so Kubernetes can verify that it is not root.
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent reconciler
COPY --from=build /opt/reconciler /opt/reconciler
# Nothing is written: the root file system can be read-only.
ENV PATH=/opt/reconciler/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    RECONCILER_LOG_FORMAT=json
# reconciler.toml and .env are read from here, if present.
WORKDIR /etc/reconciler
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# Liveness, not readiness: a container must not be restarted because a server is down.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["python", "-c", \
    "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('RECONCILER_HTTP_PORT', 8080)), timeout=4); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["reconciler"]
CMD ["run"]
