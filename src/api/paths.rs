//! The questions about paths. Their queries are read by hand: `filter` may be given several times.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;

use super::questions::{Answer, MAX_ROWS, Rows, ask, blocking};
use super::{Api, ApiError};
use crate::model::unix_nano;
use crate::store::{DiffAsked, PathDetail, PathRow, PathSort, PathsAsked, PathsDiff};

/// How far back, and how far the earlier span lies back, where it is not said.
const HOUR: Duration = Duration::from_secs(3600);
/// Rows where it is not said.
const ROWS: usize = 50;

type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// What the query of a question about paths says.
struct Asked {
    since: Duration,
    ago: Duration,
    limit: usize,
    sort: PathSort,
    filters: Vec<String>,
    path: Option<String>,
}

impl Asked {
    /// Reads a query that may have these `keys`.
    fn read(pairs: Pairs, keys: &[&str]) -> Result<Self, ApiError> {
        let fix = format!("the query takes {}", keys.join(", "));
        let refuse = |error: String| ApiError::new(StatusCode::BAD_REQUEST, error, fix.clone());
        let Query(pairs) = pairs.map_err(|error| refuse(error.body_text()))?;
        let mut asked = Self {
            since: HOUR,
            ago: HOUR,
            limit: ROWS,
            sort: PathSort::default(),
            filters: Vec::new(),
            path: None,
        };
        for (key, value) in pairs {
            if !keys.contains(&key.as_str()) {
                return Err(refuse(format!("there is no {key:?} in this query")));
            }
            asked
                .set(&key, value)
                .map_err(|expected| refuse(format!("{key} is {expected}")))?;
        }
        Ok(asked)
    }

    /// Takes a value; what it should be if it is not that.
    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        let number = || {
            value
                .parse::<u64>()
                .map_err(|_| "a whole number".to_owned())
        };
        match key {
            "since_seconds" => self.since = Duration::from_secs(number()?),
            "ago_seconds" => self.ago = Duration::from_secs(number()?),
            "limit" => self.limit = usize::try_from(number()?).unwrap_or(MAX_ROWS),
            "sort" => {
                let names = PathSort::ALL.map(PathSort::as_str);
                let expected = || format!("one of {}", names.join(", "));
                self.sort = PathSort::named(&value).ok_or_else(expected)?;
            }
            "filter" => self.filters.push(value),
            _ => self.path = Some(value),
        }
        Ok(())
    }

    /// Beginning and end of the span.
    fn span(&self, api: &Api) -> (i64, i64) {
        let now = unix_nano((api.setup.clock)());
        (now.saturating_sub(nanos(self.since)), now)
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Every path.
pub(super) async fn paths(State(api): State<Api>, pairs: Pairs) -> Answer<Rows<PathRow>> {
    let asked = Asked::read(pairs, &["since_seconds", "limit", "sort", "filter"])?;
    let (since_unix_nano, now_unix_nano) = asked.span(&api);
    let asked = PathsAsked {
        since_unix_nano,
        now_unix_nano,
        sort: asked.sort,
        filters: asked.filters,
        limit: asked.limit.min(MAX_ROWS),
    };
    ask(&api, move |reader| reader.paths_asked(&asked)).await
}

/// One path, hop by hop.
pub(super) async fn one(State(api): State<Api>, pairs: Pairs) -> Answer<PathDetail> {
    let asked = Asked::read(pairs, &["path", "since_seconds"])?;
    let (since, now) = asked.span(&api);
    let Some(path) = asked.path else {
        let fix = "say path=, a path's text, a part of it, or its hash";
        let error = "the query names no path";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, error, fix));
    };
    let wanted = path.clone();
    let found = blocking(&api, move |reader| reader.path(&wanted, since, now)).await?;
    let absent = || {
        let path: String = path.chars().take(200).collect();
        let error = format!("no path in this time fits {path:?}");
        ApiError::new(
            StatusCode::NOT_FOUND,
            error,
            "`rabtrace paths` lists them; --since looks farther back",
        )
    };
    found.map(Json).ok_or_else(absent)
}

/// What changed.
pub(super) async fn diff(State(api): State<Api>, pairs: Pairs) -> Answer<PathsDiff> {
    let asked = Asked::read(pairs, &["since_seconds", "ago_seconds", "filter"])?;
    let (since_unix_nano, now_unix_nano) = asked.span(&api);
    let asked = DiffAsked {
        since_unix_nano,
        now_unix_nano,
        earlier_nanos: nanos(asked.ago),
        filters: asked.filters,
    };
    blocking(&api, move |reader| reader.paths_diff(&asked))
        .await
        .map(Json)
}
