//! The example file, made from the table of keys.

use super::keys::Kind;
use super::table::KEYS;

/// The example file: every key with its documentation and default, commented out.
#[must_use]
pub fn example_toml() -> String {
    let mut text = String::from(
        "# rabtrace: every key, with its default. Flags win over the environment, the environment\n\
         # over this file. A variable NAME that holds a secret may be given as NAME_FILE instead.\n",
    );
    let mut section = "";
    for key in KEYS {
        let (of, name) = key.path.split_once('.').unwrap_or(("", key.path));
        if of != section {
            text.push_str(&format!("\n[{of}]\n"));
            section = of;
        } else {
            text.push('\n');
        }
        for line in key.doc.lines() {
            text.push_str(&format!("# {line}\n"));
        }
        if !key.env.is_empty() {
            text.push_str(&format!("# environment: {}\n", key.env.join(", ")));
        }
        match key.kind {
            Kind::Text => text.push_str(&format!("# {name} = \"{}\"\n", key.default)),
            Kind::Integer | Kind::Boolean => {
                text.push_str(&format!("# {name} = {}\n", key.default))
            }
        }
    }
    text
}
