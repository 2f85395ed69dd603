//! Values that are one of a few words: protocols, formats, levels.

use super::{LogFormat, Protocol, Statistics};

pub(super) fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "grpc" => Ok(Protocol::Grpc),
        "http/protobuf" => Ok(Protocol::HttpProtobuf),
        _ => Err(format!(
            "{text:?} is neither \"grpc\" nor \"http/protobuf\""
        )),
    }
}

pub(super) fn log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_filter = tracing_subscriber::EnvFilter::builder().parse(text).is_ok();
    // A single word that is no level would be taken as a module, and nothing else be logged.
    if is_filter && (!is_word || LEVELS.contains(&text.to_ascii_lowercase().as_str())) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is neither error, warn, info, debug nor a filter such as \
             \"info,rabtrace::monitor=debug\""
        ))
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is neither \"text\" nor \"json\"")),
    }
}

pub(super) fn statistics(text: &str) -> Result<Statistics, String> {
    match text {
        "auto" => Ok(Statistics::Auto),
        "never" => Ok(Statistics::Never),
        _ => Err(format!("{text:?} is neither \"auto\" nor \"never\"")),
    }
}
