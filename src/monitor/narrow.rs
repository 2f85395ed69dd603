//! What of the selection the broker itself can apply, so that it does not tell what nobody reads.
//!
//! Input: the patterns of the configuration. Output: names of virtual hosts, which every version
//! takes, and a regular expression of names of queues, which 4.3 and later take and others ignore.
//! Both may let in more than the patterns do, never less: the answer is selected from again.

use crate::config::Selection;

/// Longest regular expression that is asked with.
const LONGEST: usize = 2000;

/// Virtual hosts that can be asked for: none if one of the names stands for several.
pub(super) fn vhosts(selection: &Selection) -> Vec<String> {
    let names = &selection.include_vhosts;
    if names.iter().any(|name| name.contains(['*', '?'])) {
        return Vec::new();
    }
    names.clone()
}

/// The queues that can be asked for; none if all of them are wanted.
pub(super) fn queues(selection: &Selection) -> Option<String> {
    let (include, exclude) = (&selection.include_queues, &selection.exclude_queues);
    // Whether the broker takes a name as signs or as bytes does not matter in ASCII.
    let all = include.iter().chain(exclude);
    if all.clone().any(|pattern| !pattern.is_ascii()) {
        return None;
    }
    let wants_all = include.iter().any(|pattern| pattern == "*");
    if wants_all && exclude.is_empty() {
        return None;
    }
    // One sign is up to four bytes: at least one of them where it is left out, at most four where
    // it is let in.
    let of = |patterns: &[String], one: &str| {
        let patterns: Vec<String> = patterns.iter().map(|pattern| regex(pattern, one)).collect();
        patterns.join("|")
    };
    let but = match of(exclude, ".") {
        but if but.is_empty() => but,
        but => format!("(?!(?:{but})$)"),
    };
    let expression = format!("^{but}(?:{})$", of(include, ".{1,4}"));
    (expression.len() <= LONGEST).then_some(expression)
}

/// A pattern in which `*` is any text and `?` any one sign, as a regular expression.
fn regex(pattern: &str, one: &str) -> String {
    let mut expression = String::with_capacity(pattern.len() + 8);
    for sign in pattern.chars() {
        match sign {
            '*' => expression.push_str(".*"),
            '?' => expression.push_str(one),
            _ if sign.is_ascii_alphanumeric() || sign == '_' => expression.push(sign),
            _ => expression.extend(['\\', sign]),
        }
    }
    expression
}

#[cfg(test)]
mod tests {
    use super::{queues, vhosts};
    use crate::config::Selection;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn check(include: &[&str], exclude: &[&str], expect: Option<&str>) {
        let selection = Selection {
            include_queues: words(include),
            exclude_queues: words(exclude),
            ..Selection::default()
        };
        assert_eq!(queues(&selection).as_deref(), expect);
    }

    #[test]
    fn queues_are_asked_for_by_an_expression_unless_all_are_wanted() {
        check(&["*"], &[], None);
        check(
            &["orders.*", "a?b"],
            &[],
            Some(r"^(?:orders\..*|a.{1,4}b)$"),
        );
        check(
            &["*"],
            &["tmp-*", "x?(1)"],
            Some(r"^(?!(?:tmp\-.*|x.\(1\))$)(?:.*)$"),
        );
        check(&["\u{fc}ber*"], &[], None);
        check(&[&"x".repeat(3000)], &[], None);
    }

    #[test]
    fn virtual_hosts_are_asked_for_by_name() {
        let check = |names: &[&str], expect: &[&str]| {
            let selection = Selection {
                include_vhosts: words(names),
                ..Selection::default()
            };
            assert_eq!(vhosts(&selection), expect);
        };
        check(&["/", "a b"], &["/", "a b"]);
        check(&["/", "a*"], &[]);
    }
}
