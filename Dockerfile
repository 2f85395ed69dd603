FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev \
    && cargo rustc --release --locked -p rabtrace --bin rabtrace -- -C target-feature=+crt-static \
    && mkdir /data

# The binary is static: the image holds nothing else but certificates and the user.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /src/target/release/rabtrace /rabtrace
# A named volume takes the owner of what it is mounted over.
COPY --from=build --chown=nonroot:nonroot /data /data
ENV RABTRACE_STORE_FOLDER=/data
VOLUME /data
EXPOSE 4317 4318 9469
ENTRYPOINT ["/rabtrace"]
CMD ["agent"]
