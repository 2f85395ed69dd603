//! Which lines a server refused, where it says only how many and why. Pure.

/// Those of the lines `sent` that are refused: `number` of them, because of `why`. Where that
/// cannot be told, all of them: to write a line again changes nothing.
pub(super) fn suspects(why: &str, number: u64, sent: &str) -> String {
    let found = match conflict(why) {
        Some(conflict) => sent
            .split_inclusive('\n')
            .filter(|line| conflict.is_in(line))
            .collect(),
        None if why.contains("retention policy") => oldest(number, sent),
        None => Vec::new(),
    };
    if found.is_empty() || (found.len() as u64) < number {
        return sent.to_owned();
    }
    found.concat()
}

/// A field with a value of another type than it has.
struct Conflict<'a> {
    field: &'a str,
    measurement: &'a str,
    value_type: &'a str,
}

/// `field type conflict: input field "f" on measurement "m" is type float, already exists as ..`.
fn conflict(why: &str) -> Option<Conflict<'_>> {
    let (_, rest) = why.split_once("field type conflict: input field \"")?;
    let (field, rest) = rest.split_once("\" on measurement \"")?;
    let (measurement, rest) = rest.split_once("\" is type ")?;
    let (value_type, _) = rest.split_once(',')?;
    Some(Conflict {
        field,
        measurement,
        value_type,
    })
}

impl Conflict<'_> {
    fn is_in(&self, line: &str) -> bool {
        let rest = line.strip_prefix(self.measurement);
        let Some(rest) = rest.filter(|rest| rest.starts_with([',', ' '])) else {
            return false;
        };
        let name = format!("{}=", self.field);
        rest.match_indices(&name).any(|(at, _)| {
            let before = rest.get(..at).and_then(|before| before.chars().next_back());
            let value = rest.get(at + name.len()..).unwrap_or_default();
            matches!(before, Some(' ' | ',')) && value_type(value) == self.value_type
        })
    }
}

/// The type of the value that `text` begins with, as InfluxDB calls it.
fn value_type(text: &str) -> &'static str {
    let value = text.split([',', ' ', '\n']).next().unwrap_or_default();
    match value.as_bytes() {
        [b'"', ..] => "string",
        [b't' | b'T' | b'f' | b'F', ..] => "boolean",
        [.., b'i'] => "integer",
        [.., b'u'] => "unsigned",
        _ => "float",
    }
}

/// The lines with the lowest times.
fn oldest(number: u64, sent: &str) -> Vec<&str> {
    let time = |line: &str| {
        let last = line.trim_end().rsplit(' ').next();
        last.and_then(|time| time.parse::<i64>().ok())
    };
    let mut lines: Vec<&str> = sent.split_inclusive('\n').collect();
    lines.sort_by_key(|line| time(line));
    lines.truncate(usize::try_from(number).unwrap_or(usize::MAX));
    lines
}

#[cfg(test)]
mod tests {
    use super::suspects;

    fn check(why: &str, number: u64, expect: &str) {
        let sent = "flow,q=a n=1i 9\nflow,q=b n=1.5 3\nflow,q=c m=2i,n=2.5 5\nflown n=1.5 4\n\
                    flow,q=d n=\"a n=1.5\" 2\n";
        assert_eq!(
            suspects(why, number, sent),
            expect.replace('|', "\n"),
            "{why}"
        );
    }

    #[test]
    fn those_that_the_reason_speaks_of_are_found() {
        let why = "field type conflict: input field \"n\" on measurement \"flow\" is type float, \
                   already exists as type integer";
        check(
            why,
            2,
            "flow,q=b n=1.5 3|flow,q=c m=2i,n=2.5 5|flow,q=d n=\"a n=1.5\" 2|",
        );
        let why = why.replace("float", "string");
        check(&why, 1, "flow,q=d n=\"a n=1.5\" 2|");
        check(
            "points beyond retention policy",
            2,
            "flow,q=d n=\"a n=1.5\" 2|flow,q=b n=1.5 3|",
        );
    }

    #[test]
    fn where_it_cannot_be_told_all_are() {
        let all = "flow,q=a n=1i 9|flow,q=b n=1.5 3|flow,q=c m=2i,n=2.5 5|flown n=1.5 4|\
                   flow,q=d n=\"a n=1.5\" 2|";
        check("max-values-per-tag limit exceeded (100000/100000)", 1, all);
        let why = "field type conflict: input field \"n\" on measurement \"flow\" is type string, \
                   already exists as type integer";
        check(why, 2, all);
    }
}
