# Stands for redis: Debian's package with the official image's user and folder.
FROM debian:trixie-slim
RUN groupadd -g 999 redis && useradd -u 999 -g 999 redis \
    && apt-get update -q && apt-get install -q -y --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* && mkdir -p /data && chown redis:redis /data
VOLUME /data
WORKDIR /data
