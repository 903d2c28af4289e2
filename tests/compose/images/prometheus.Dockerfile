# Stands for prom/prometheus: Debian's package of the same version, the official image's entry point and folders.
FROM debian:trixie-slim
RUN apt-get update -q && apt-get install -q -y --no-install-recommends prometheus busybox \
    && rm -rf /var/lib/apt/lists/* && ln -s "$(command -v busybox)" /usr/bin/wget \
    && mkdir -p /prometheus && chown 65534:65534 /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
