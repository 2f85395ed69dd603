//! Names of spans that live as long as the process, so that a span does not copy its name.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Names that are kept at most; what comes beyond them is copied into each span.
const LIMIT: usize = 4_096;

static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);

/// The same text, for as long as the process lives where there is room.
pub(crate) fn name(text: String) -> Cow<'static, str> {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(text.as_str()) {
        return Cow::Borrowed(known);
    }
    if names.len() >= LIMIT {
        return Cow::Owned(text);
    }
    let kept: &'static str = Box::leak(text.into_boxed_str());
    names.insert(kept);
    Cow::Borrowed(kept)
}
