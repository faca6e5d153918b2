# The operator's image. Two stages: the second has neither pip's cache nor a build backend, and runs as nobody in
# particular with a read-only root.
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/whimbrel
COPY requirements.txt /src/
RUN /opt/whimbrel/bin/pip install --require-hashes --only-binary :all: -r /src/requirements.txt
# The project has no compiled part: its package is copied, its console scripts are two lines each.
COPY operator/whimbrel /src/whimbrel
RUN cp -r /src/whimbrel "$(/opt/whimbrel/bin/python -c 'import site; print(site.getsitepackages()[0])')/whimbrel" \
 && printf '#!/opt/whimbrel/bin/python\nimport sys\nfrom whimbrel.runtime.main import main\nsys.exit(main())\n' \
      > /opt/whimbrel/bin/whimbrel \
 && chmod 0755 /opt/whimbrel/bin/whimbrel \
 && /opt/whimbrel/bin/python -m compileall -q /opt/whimbrel/lib \
 && /opt/whimbrel/bin/pip uninstall --yes pip

FROM python:3.12-slim
LABEL org.opencontainers.image.title="whimbrel" \
      org.opencontainers.image.description="Live migration for KubeVirt with a plan, a quote and a receipt" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/whimbrel/bin:$PATH
COPY --from=build /opt/whimbrel /opt/whimbrel
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/opt/whimbrel/bin/whimbrel"]
