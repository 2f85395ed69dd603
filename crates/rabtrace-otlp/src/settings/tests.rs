use super::*;

fn resolve(
    builder: &ExporterBuilder,
    environment: &[(&str, &str)],
) -> Result<Settings, BuildError> {
    Settings::resolve(builder, &|name| {
        let found = environment.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn of(environment: &[(&str, &str)]) -> Settings {
    resolve(&ExporterBuilder::default(), environment).unwrap()
}

fn error(environment: &[(&str, &str)]) -> String {
    resolve(&ExporterBuilder::default(), environment)
        .unwrap_err()
        .to_string()
}

const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const TRACES_COMPRESSION: &str = "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION";
const COMPRESSION: &str = "OTEL_EXPORTER_OTLP_COMPRESSION";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

#[test]
fn defaults() {
    let settings = of(&[]);
    assert_eq!(settings.endpoint, "http://localhost:4318/v1/traces");
    assert_eq!(settings.timeout, Duration::from_secs(10));
    assert_eq!(settings.compression, None);
    assert!(settings.headers.is_empty());
    assert_eq!(
        of(&[(ENDPOINT, ""), (TIMEOUT, ""), (PROTOCOL, "")]).endpoint,
        settings.endpoint
    );
}

#[test]
fn the_endpoint_of_all_signals_gets_the_path_and_that_of_traces_stays() {
    let check = |environment: &[(&str, &str)], expected: &str| {
        assert_eq!(of(environment).endpoint, expected);
    };
    check(&[(ENDPOINT, "http://a:1")], "http://a:1/v1/traces");
    check(&[(ENDPOINT, "http://a:1/")], "http://a:1/v1/traces");
    check(&[(ENDPOINT, "https://a/otlp/")], "https://a/otlp/v1/traces");
    check(
        &[(ENDPOINT, "http://a"), (TRACES_ENDPOINT, "http://b/in")],
        "http://b/in",
    );
    check(
        &[(ENDPOINT, "http://a"), (TRACES_ENDPOINT, "")],
        "http://a/v1/traces",
    );
}

#[test]
fn the_builder_wins_but_for_headers() {
    let headers = [("a", "1"), ("b", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let builder = ExporterBuilder::default()
        .with_endpoint("http://built:1/here")
        .with_timeout(Duration::from_secs(3))
        .with_compression(Compression::Gzip)
        .with_protocol(Protocol::HttpBinary)
        .with_headers(headers.into());
    let environment = [
        (TRACES_ENDPOINT, "http://other"),
        (TRACES_TIMEOUT, "9"),
        (TRACES_COMPRESSION, "none"),
        (TRACES_PROTOCOL, "grpc"),
        (TRACES_HEADERS, "b=3,c=4"),
        (HEADERS, "d=5"),
    ];
    let settings = resolve(&builder, &environment).unwrap();
    assert_eq!(settings.endpoint, "http://built:1/here");
    assert_eq!(settings.timeout, Duration::from_secs(3));
    assert_eq!(settings.compression, Some(Compression::Gzip));
    let mut headers: Vec<_> = settings
        .headers
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    assert_eq!(headers, ["a=1", "b=3", "c=4"]);
}

#[test]
fn timeouts_are_milliseconds_and_bad_ones_are_left_out() {
    assert_eq!(of(&[(TIMEOUT, "250")]).timeout, Duration::from_millis(250));
    let both = [(TRACES_TIMEOUT, "100"), (TIMEOUT, "250")];
    assert_eq!(of(&both).timeout, Duration::from_millis(100));
    let bad = [(TRACES_TIMEOUT, "1s"), (TIMEOUT, "250")];
    assert_eq!(of(&bad).timeout, Duration::from_millis(250));
}

#[test]
fn compressions() {
    assert_eq!(
        of(&[(COMPRESSION, "GZIP")]).compression,
        Some(Compression::Gzip)
    );
    let off_for_traces = [(TRACES_COMPRESSION, "none"), (COMPRESSION, "gzip")];
    assert_eq!(of(&off_for_traces).compression, None);
    let unknown = [(TRACES_COMPRESSION, "zstd"), (COMPRESSION, "gzip")];
    assert_eq!(of(&unknown).compression, Some(Compression::Gzip));
}

#[test]
fn other_protocols_are_refused_with_what_to_do() {
    let text = error(&[(PROTOCOL, "grpc")]);
    assert!(
        text.starts_with("OTEL_EXPORTER_OTLP_PROTOCOL: protocol \"grpc\""),
        "{text}"
    );
    assert!(text.contains("=http/protobuf"), "{text}");
    assert!(error(&[(TRACES_PROTOCOL, "http/json")]).contains("http/json"));
    of(&[(TRACES_PROTOCOL, "http/protobuf"), (PROTOCOL, "grpc")]);
}

#[test]
fn endpoints_that_are_none_are_refused_without_their_secrets() {
    for bad in [
        "localhost:4318",
        "ftp://user:hunter2@a/",
        "http://",
        "http://user:hunter2@a b/",
        "/v1",
    ] {
        let text = error(&[(TRACES_ENDPOINT, bad)]);
        assert!(text.starts_with(TRACES_ENDPOINT), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn what_is_shown_of_an_endpoint_has_no_secret() {
    let settings = of(&[(
        TRACES_ENDPOINT,
        "https://user:hunter2@a.example:8443/in?key=hunter2",
    )]);
    assert_eq!(shown(&settings.endpoint), "https://a.example:8443/in");
}
