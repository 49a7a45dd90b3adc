# One image for the worker, the webhook, the migrations and the command line; and a second one for the
# sandbox (--target sandbox), whose HTTP client production does not need.

FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# Without pip: the environment that leaves this stage cannot install anything.
RUN python -m venv --without-pip /venv
COPY requirements.lock /build/
RUN python -m pip --python /venv/bin/python install --require-hashes -r /build/requirements.lock

FROM build AS build-sandbox
COPY devtools/sandbox/requirements.lock /build/sandbox.lock
RUN python -m pip --python /venv/bin/python install --require-hashes -r /build/sandbox.lock

FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS base
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN groupadd --gid 10001 signedfor \
    && useradd --system --uid 10001 --gid 10001 --no-create-home signedfor \
    && install -d -o signedfor -g signedfor -m 700 /var/lib/signedfor/ops
WORKDIR /app
COPY compose/signedfor compose/answers /usr/local/bin/
COPY starter.py worker.py ./
COPY activities activities
COPY ops ops
COPY signedfor signedfor
COPY webhook webhook
COPY workflows workflows

FROM base AS sandbox
COPY --from=build-sandbox /venv /venv
COPY devtools/__init__.py devtools/
COPY devtools/sandbox devtools/sandbox
USER 10001:10001
CMD ["python", "-m", "devtools.sandbox"]

FROM base AS app
COPY --from=build /venv /venv
USER 10001:10001
CMD ["python", "-m", "worker"]
