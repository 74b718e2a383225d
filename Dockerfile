# The image of ./scripts/package, for those who have Docker: docker build --tag signetd .
# A static binary, CA certificates and a user, and nothing else: it runs with --read-only and --cap-drop=ALL.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
WORKDIR /src
COPY . .
# The target and registry folders outlive the build, so that the next one compiles our crates only.
RUN --mount=type=cache,target=/src/target --mount=type=cache,target=/usr/local/cargo/registry \
    SOURCE_DATE_EPOCH=0 ./scripts/package --only signetd && python3 scripts/lib/pack.py unpack dist/signetd-*.oci.tar /image

FROM scratch
COPY --from=build /image /
COPY --from=build --chown=65532:65532 /image/var/lib/signet /var/lib/signet
USER 65532:65532
WORKDIR /var/lib/signet
EXPOSE 8443 8080 8081 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/signetd"]
