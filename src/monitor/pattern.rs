//! Names with `*` and `?`, as the configuration has them.

/// Whether a name fits a pattern in which `*` is any text and `?` any one sign.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // What stands behind the last `*`, and what of the name it has not taken.
    let mut star: Option<(&str, &str)> = None;
    loop {
        let mut signs = pattern.chars();
        match (signs.next(), name.chars().next()) {
            (Some('*'), _) => {
                pattern = signs.as_str();
                if pattern.is_empty() {
                    return true;
                }
                star = Some((pattern, name));
            }
            (None, None) => return true,
            (Some(wanted), Some(sign)) if wanted == '?' || wanted == sign => {
                (pattern, name) = (signs.as_str(), behind(name));
            }
            _ => {
                // It takes one sign more, as long as there is one.
                let Some((behind_star, left)) = star.filter(|(_, left)| !left.is_empty()) else {
                    return false;
                };
                star = Some((behind_star, behind(left)));
                (pattern, name) = (behind_star, behind(left));
            }
        }
    }
}

/// A name without its first sign.
fn behind(name: &str) -> &str {
    let mut signs = name.chars();
    signs.next();
    signs.as_str()
}

#[cfg(test)]
mod tests {
    use super::fits;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for (pattern, name, expect) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*", "a", true),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("a*b*c", "axbxbxc", true),
            ("a?c", "a\u{1f600}c", true),
            ("a?c", "ac", false),
            ("amq.gen-*", "amq.gen-x/y", true),
            ("*.dead", "orders.dead", true),
        ] {
            assert_eq!(fits(pattern, name), expect, "{pattern:?} {name:?}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_against_any_name_ends(pattern in "[ab*?]{0,12}", name in "[ab]{0,24}") {
            let _ = fits(&pattern, &name);
            prop_assert!(fits(&name, &name));
        }
    }
}
