//! The service's name as the environment tells it, the way an SDK reads it.
//!
//! Source: OpenTelemetry's environment variable specification, `OTEL_SERVICE_NAME` and
//! `OTEL_RESOURCE_ATTRIBUTES`.

use percent_encoding::percent_decode_str;

/// From `OTEL_SERVICE_NAME`, else `OTEL_RESOURCE_ATTRIBUTES`, else the executable.
pub(crate) fn service_name(variable: impl Fn(&str) -> Option<String>) -> String {
    let stated = variable("OTEL_SERVICE_NAME").filter(|name| !name.is_empty());
    let resource = || {
        let attributes = variable("OTEL_RESOURCE_ATTRIBUTES")?;
        let mut pairs = attributes
            .split(',')
            .filter_map(|pair| pair.split_once('='));
        let (_, name) = pairs.find(|(key, _)| key.trim() == "service.name")?;
        let name = percent_decode_str(name.trim()).decode_utf8().ok()?;
        (!name.is_empty()).then(|| name.into_owned())
    };
    stated.or_else(resource).unwrap_or_else(unknown_service)
}

/// The name that an SDK gives to a service without one. Source: resource SDK specification, "SDK-provided
/// resource attributes".
fn unknown_service() -> String {
    let program = std::env::current_exe().ok();
    let name = program.as_ref().and_then(|path| path.file_name()?.to_str());
    name.map_or_else(
        || "unknown_service".to_owned(),
        |name| format!("unknown_service:{name}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expect: &str) {
        let name = service_name(|wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        });
        assert_eq!(name, expect, "{variables:?}");
    }

    #[test]
    fn the_service_name_comes_from_the_environment() {
        let resource = opentelemetry_sdk::Resource::builder().build();
        let of_the_sdk = resource.get(&"service.name".into()).unwrap();
        check(&[], &of_the_sdk.as_str());
        check(&[("OTEL_SERVICE_NAME", "")], &of_the_sdk.as_str());
        check(
            &[
                ("OTEL_SERVICE_NAME", "planner"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other"),
            ],
            "planner",
        );
        check(
            &[(
                "OTEL_RESOURCE_ATTRIBUTES",
                "a=b, service.name=my%20planner,c",
            )],
            "my planner",
        );
    }
}
