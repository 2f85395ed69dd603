//! What lapin offers, read from its source, against what is known of it here: a new version of
//! lapin that adds, renames or drops something fails, with what to do.
//!
//! The same calls are compiled against lapin and against this crate, by path, where `Deref` does
//! not help: what is said to be traced is a method of ours, and has lapin's signature.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at the first surprise"
)]

#[path = "support/source.rs"]
mod source;
#[path = "support/surface.rs"]
mod surface;

use std::collections::BTreeMap;
use std::fs;

use Kind::{Control, Internal, Traced};

/// What becomes of something of lapin's.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// It publishes, delivers or settles, or hands out what does: ours has its own.
    Traced,
    /// It asks the broker for something else: lapin's, through `Deref`.
    Control,
    /// It stays in this process: lapin's, through `Deref`, or repeated.
    Internal,
}

type Table = &'static [(&'static str, Kind)];

const CHANNEL: Table = &[
    ("access_request", Control),
    ("basic_ack", Traced),
    ("basic_cancel", Control),
    ("basic_consume", Traced),
    ("basic_get", Traced),
    ("basic_nack", Traced),
    ("basic_publish", Traced),
    ("basic_qos", Control),
    ("basic_recover", Traced),
    ("basic_recover_async", Traced),
    ("basic_reject", Traced),
    ("channel_flow", Control),
    ("close", Control),
    ("confirm_select", Control),
    ("exchange_bind", Control),
    ("exchange_declare", Control),
    ("exchange_delete", Control),
    ("exchange_unbind", Control),
    ("id", Internal),
    ("queue_bind", Control),
    ("queue_declare", Control),
    ("queue_delete", Control),
    ("queue_purge", Control),
    ("queue_unbind", Control),
    ("status", Internal),
    ("tx_commit", Traced),
    ("tx_rollback", Traced),
    ("tx_select", Traced),
    ("wait_for_confirms", Traced),
    ("wait_for_recovery", Internal),
];

const CONNECTION: Table = &[
    ("close", Control),
    ("configuration", Internal),
    ("connect", Traced),
    ("connect_uri", Traced),
    ("connect_uri_with_config", Traced),
    ("connect_uri_with_runtime", Traced),
    ("connect_with_config", Traced),
    ("connect_with_runtime", Traced),
    ("connector", Traced),
    ("create_channel", Traced),
    ("events_listener", Internal),
    // Takes the connection itself, which `Deref` cannot give away.
    ("run", Traced),
    ("status", Internal),
    ("update_secret", Control),
];

const BUILDER: Table = &[
    ("connect", Traced),
    ("new_with_runtime", Traced),
    ("with_properties", Traced),
    ("with_tls_config", Traced),
    ("with_uri", Traced),
    ("with_uri_str", Traced),
];

// Nothing of ours derefs to lapin's acker, consumer and delivery: all of it is repeated.
const ACKER: Table = &[
    ("ack", Traced),
    ("nack", Traced),
    ("poisoned", Traced),
    ("reject", Traced),
    ("usable", Traced),
];
const CONSUMER: Table = &[("queue", Traced), ("set_delegate", Traced), ("tag", Traced)];
const CONFIRMATION: Table = &[
    ("is_ack", Traced),
    ("is_nack", Traced),
    ("take_message", Traced),
];

fn read(file: &str) -> String {
    let path = source::lapin_source().join("src").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of the blocks that `begins` picks by their first line.
fn blocks(text: &str, begins: impl Fn(&str) -> bool) -> Vec<&str> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line == "}" {
            inside = false;
        } else if inside {
            found.push(line);
        } else if line.ends_with('{') && begins(line) {
            inside = true;
        }
    }
    found
}

/// The name in `    pub async fn name(` or `    pub fn name<`.
fn public_method(line: &str) -> Option<&str> {
    let words = line.strip_prefix("    pub ")?;
    let (qualifiers, rest) = words.split_once("fn ")?;
    let known = ["async", "const", "unsafe", "extern", "\"C\""];
    if !qualifiers
        .split_whitespace()
        .all(|word| known.contains(&word))
    {
        return None;
    }
    rest.split(['(', '<']).next()
}

/// Public methods of the type's own `impl` blocks.
fn methods(files: &[&str], of: &str) -> Vec<String> {
    let mut names = Vec::new();
    for file in files {
        let text = read(file);
        let own = |line: &str| {
            let header = line.trim_end_matches('{').trim_end();
            let rest = header.strip_prefix("impl").unwrap_or_default();
            let plain = rest.trim_start() == of;
            let generic = rest.starts_with('<')
                && rest.contains(&format!("> {of}"))
                && !rest.contains(" for ");
            plain || generic
        };
        let lines = blocks(&text, own);
        names.extend(
            lines
                .into_iter()
                .filter_map(public_method)
                .map(str::to_owned),
        );
    }
    names.sort();
    names
}

/// Names that only one of two lists has.
fn difference(lapin: &[String], known: &[&str]) -> (Vec<String>, Vec<String>) {
    let new = lapin.iter().filter(|name| !known.contains(&name.as_str()));
    let gone = known
        .iter()
        .filter(|name| !lapin.iter().any(|l| l == *name));
    (
        new.cloned().collect(),
        gone.map(|name| (*name).to_owned()).collect(),
    )
}

fn check(what: &str, lapin: &[String], known: &[&str]) {
    let (new, gone) = difference(lapin, known);
    assert!(
        new.is_empty() && gone.is_empty(),
        "lapin's {what} changed.\n  new: {new:?}\n  gone: {gone:?}\n\
         What is new and publishes, delivers or settles needs an own one on this crate's type, with \
         a span, a line `Traced` in the table here and a call in tests/support/surface.rs; what \
         does not is `Control` if it goes to the broker and `Internal` if not. What is gone goes \
         from all three."
    );
}

fn check_methods(files: &[&str], of: &str, table: Table, compiled: &[&str]) {
    let known: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
    check(&format!("`{of}`"), &methods(files, of), &known);
    let traced = table.iter().filter(|(_, kind)| *kind == Traced);
    let traced: Vec<&str> = traced.map(|(name, _)| *name).collect();
    let mut compiled = compiled.to_vec();
    compiled.sort_unstable();
    assert_eq!(
        traced, compiled,
        "`{of}`: the table and tests/support/surface.rs differ"
    );
}

#[test]
fn every_method_of_the_channel_is_known() {
    let files = ["channel.rs", "generated/channel.rs"];
    check_methods(&files, "Channel", CHANNEL, surface::ours::CHANNEL);
}

#[test]
fn every_method_of_the_connection_is_known() {
    let files = ["connection.rs"];
    check_methods(&files, "Connection", CONNECTION, surface::ours::CONNECTION);
    let (files, of) = (["connection_builder.rs"], "ConnectionBuilder<RK>");
    check_methods(&files, of, BUILDER, surface::ours::BUILDER);
    check_methods(
        &files,
        "DefaultConnectionBuilder",
        &[("new", Traced)],
        &["new"],
    );
}

#[test]
fn every_method_of_what_a_channel_hands_out_is_known() {
    check_methods(&["acker.rs"], "Acker", ACKER, surface::ours::ACKER);
    check_methods(
        &["consumer.rs"],
        "Consumer",
        CONSUMER,
        surface::ours::CONSUMER,
    );
    let confirm = ["publisher_confirm.rs"];
    check_methods(&confirm, "PublisherConfirm", &[], &[]);
    check_methods(
        &confirm,
        "Confirmation",
        CONFIRMATION,
        surface::ours::CONFIRMATION,
    );
    let message = ["message.rs"];
    check_methods(&message, "Delivery", &[("mock", Traced)], &["mock"]);
    check_methods(&message, "BasicGetMessage", &[], &[]);
    check_methods(
        &message,
        "BasicReturnMessage",
        &[("error", Traced)],
        &["error"],
    );
}

/// What stands between the braces of a public item, comments and attributes aside.
fn members(file: &str, item: &str) -> Vec<String> {
    let text = read(file);
    let lines = blocks(&text, |line| {
        let after = line.strip_prefix(item);
        after.is_some_and(|rest| rest.starts_with([' ', ':', '<']))
    });
    let lines = lines
        .into_iter()
        .filter_map(|line| line.strip_prefix("    "));
    let own = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()));
    own.map(|line| line.trim_end_matches(',').to_owned())
        .collect()
}

#[test]
fn every_field_and_variant_is_known() {
    let delivery = [
        "pub delivery_tag: DeliveryTag",
        "pub exchange: ShortString",
        "pub routing_key: ShortString",
        "pub redelivered: bool",
        "pub properties: BasicProperties",
        "pub data: Vec<u8>",
        "pub acker: Acker",
    ];
    check(
        "`Delivery`",
        &members("message.rs", "pub struct Delivery"),
        &delivery,
    );
    let get = ["pub delivery: Delivery", "pub message_count: MessageCount"];
    let found = members("message.rs", "pub struct BasicGetMessage");
    check("`BasicGetMessage`", &found, &get);
    let returned = [
        "pub delivery: Delivery",
        "pub reply_code: ReplyCode",
        "pub reply_text: ShortString",
    ];
    let found = members("message.rs", "pub struct BasicReturnMessage");
    check("`BasicReturnMessage`", &found, &returned);
    let confirmation = [
        "Ack(Option<BasicReturnMessage>)",
        "Nack(Option<BasicReturnMessage>)",
        "NotRequested",
    ];
    let found = members("publisher_confirm.rs", "pub enum Confirmation");
    check("`Confirmation`", &found, &confirmation);
}

/// The names of a trait's methods.
fn trait_methods(file: &str, item: &str) -> Vec<String> {
    let lines = members(file, item);
    let heads = lines.iter().filter_map(|line| {
        let rest = line.strip_prefix("async ").unwrap_or(line);
        rest.strip_prefix("fn ")?.split(['(', '<']).next()
    });
    heads.map(str::to_owned).collect()
}

#[test]
fn every_method_of_the_traits_is_known() {
    let delegate = trait_methods("consumer.rs", "pub trait ConsumerDelegate");
    let known = ["on_new_delivery", "drop_prefetched_messages"];
    check("`ConsumerDelegate`", &delegate, &known);
    let connect = trait_methods("connection.rs", "pub trait Connect");
    check("`Connect`", &connect, &["connect", "connect_with_config"]);
}

/// Names that lapin's root exports, and whether `traced` has its own.
const EXPORTS: &[(&str, bool)] = &[
    ("Acker", true),
    ("AsyncTcpStream", false),
    ("BasicProperties", false),
    ("Channel", true),
    ("ChannelQos", false),
    ("ChannelState", false),
    ("ChannelStatus", false),
    ("Configuration", false),
    ("Confirmation", true),
    ("Connect", true),
    ("Connection", true),
    ("ConnectionBuilder", true),
    ("ConnectionProperties", false),
    ("ConnectionState", false),
    ("ConnectionStatus", false),
    ("Consumer", true),
    ("ConsumerDelegate", true),
    ("DefaultConnectionBuilder", true),
    ("Error", false),
    ("ErrorKind", false),
    ("Event", false),
    ("ExchangeKind", false),
    ("PublisherConfirm", true),
    ("Queue", false),
    ("Result", false),
    ("auth", false),
    ("message", true),
    ("options", false),
    ("protocol", false),
    ("runtime", false),
    ("tcp", false),
    ("types", false),
    ("uri", false),
];

/// The names that a `use` tree brings in; `module` is what `self` in it means.
fn names(tree: &str, module: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((path, group)) = tree.split_once('{') else {
        let name = tree.rsplit([':', ' ']).next().unwrap_or_default();
        let name = if name == "self" { module } else { name };
        found.extend((!name.is_empty()).then(|| name.to_owned()));
        return;
    };
    let module = path
        .trim_end_matches("::")
        .rsplit("::")
        .next()
        .unwrap_or_default();
    let group = group.strip_suffix('}').unwrap_or(group);
    let (mut depth, mut begin) = (0, 0);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names(&group[begin..at], module, found);
                begin = at + 1;
            }
            _ => {}
        }
    }
    names(&group[begin..], module, found);
}

/// What a file exports by `pub use` and `pub mod`, below `from`.
fn exports(text: &str, from: &str) -> Vec<String> {
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("//"))
        .collect();
    let mut found = Vec::new();
    for statement in code.join(" ").split(';') {
        if let Some((_, name)) = statement.split_once("pub mod ") {
            found.push(name.to_owned());
        } else if let Some((_, tree)) = statement.split_once(&format!("pub use {from}")) {
            names(tree, "", &mut found);
        }
    }
    found.sort();
    found
}

#[test]
fn every_name_of_the_root_is_known() {
    let known: Vec<&str> = EXPORTS.iter().map(|(name, _)| *name).collect();
    check("root", &exports(&read("lib.rs"), ""), &known);
    let own = EXPORTS.iter().filter(|(_, own)| *own);
    let own: Vec<&str> = own.map(|(name, _)| *name).collect();
    // Those come before the glob.
    let shadows = exports(include_str!("../src/traced.rs"), "crate::");
    assert_eq!(
        own, shadows,
        "src/traced.rs has other names of its own than the table"
    );
}

/// Both halves of the tables name each thing once.
#[test]
fn tables_name_each_thing_once() {
    for table in [CHANNEL, CONNECTION, BUILDER, ACKER, CONSUMER, CONFIRMATION] {
        let unique: BTreeMap<_, _> = table.iter().map(|(name, kind)| (*name, kind)).collect();
        assert_eq!(unique.len(), table.len());
    }
}
