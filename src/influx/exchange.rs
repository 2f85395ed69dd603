//! One request and its answer, whole.

use std::time::Instant;

use super::failure::Trouble;
use super::response::Answer;
use super::server::shown;
use crate::config;

/// Most bytes of an answer that are read.
const ANSWER_LIMIT: usize = 8 << 20;

/// Sends `request` and reads the answer, at most 8 MiB of its body, within `influx.timeout`.
///
/// # Errors
/// [`Trouble::Passing`] when there is no answer: no connection, a broken one, or too slow a one.
pub(super) async fn exchange(
    config: &config::Influx,
    request: reqwest::RequestBuilder,
) -> Result<Answer, Trouble> {
    let began = Instant::now();
    let answer = match request.timeout(config.timeout).send().await {
        Ok(response) => read(response).await,
        Err(error) => Err(error),
    };
    answer.map_err(|error| {
        let why = if error.is_timeout() {
            format!("no answer within {:.1} s", began.elapsed().as_secs_f64())
        } else {
            deepest(&error)
        };
        Trouble::Passing {
            why: format!("{}: {why}", shown(config)),
            after: None,
        }
    })
}

async fn read(mut response: reqwest::Response) -> Result<Answer, reqwest::Error> {
    let header = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let mut answer = Answer {
        status: response.status().as_u16(),
        retry_after: header("retry-after"),
        date: header("date"),
        version: header("x-influxdb-version"),
        body: String::new(),
    };
    let mut body = Vec::new();
    while body.len() < ANSWER_LIMIT
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Ok(answer)
}

/// The innermost cause: the outer ones repeat the URL, with its login.
fn deepest(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    if deepest.downcast_ref::<reqwest::Error>().is_some() {
        return "the request failed".to_owned();
    }
    deepest.to_string()
}
