# Stands for apache/kafka: the same Kafka, user, folders and names of scripts, out of the jars of tests/rig/pom.xml.
FROM debian:trixie-slim
# The package wants to link its manual pages, whose folder slim images lack.
RUN mkdir -p /usr/share/man/man1 \
    && apt-get update -q && apt-get install -q -y --no-install-recommends openjdk-21-jre-headless \
    && rm -rf /var/lib/apt/lists/*
COPY libs /opt/kafka/libs
RUN useradd -u 1000 -U -m appuser \
    && mkdir -p /opt/kafka/bin /opt/kafka/config /var/lib/kafka/data /etc/kafka/secrets /mnt/shared/config \
    && printf '#!/bin/bash\nexec java -cp "/opt/kafka/libs/*" kafka.tools.StorageTool "$@"\n' \
       >/opt/kafka/bin/kafka-storage.sh \
    && printf '#!/bin/bash\nexec java $KAFKA_HEAP_OPTS -cp "/opt/kafka/libs/*" kafka.Kafka "$@"\n' \
       >/opt/kafka/bin/kafka-server-start.sh \
    && chmod 755 /opt/kafka/bin/* \
    && chown -R appuser /var/lib/kafka /etc/kafka
ENV JAVA_TOOL_OPTIONS="-Dorg.slf4j.simpleLogger.defaultLogLevel=warn -XX:+UseSerialGC"
VOLUME ["/etc/kafka/secrets", "/var/lib/kafka/data", "/mnt/shared/config"]
USER appuser
