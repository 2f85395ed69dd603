//! Time per message against the scripted server, one side after the other.

use serde_json::{Map, Value};

use crate::modes::{MODES, Mode};
use crate::servers::{Servers, runtime};
use crate::side::{Client, SIDES};
use crate::turns::{self, Row, Took, Turn};

/// Messages of one turn.
const MESSAGES: u64 = 1_024;

/// Every side's figures, by `side/mode`.
pub(crate) fn run(servers: &Servers, rounds: usize) -> Value {
    let runtime = runtime();
    let mut report = Map::new();
    for (name, side) in SIDES {
        let row = |mode: &Mode| {
            let client = Client::new(&runtime, (&servers.peer, &servers.sink), *mode);
            let mut run = client.side(side).expect("the scripted server");
            let turn: Turn<'_> = Box::new(move || {
                let run = || run(MESSAGES).expect("the scripted server");
                vec![(name, Took::of(run, || client.flush()))]
            });
            Row::new(mode.name, turn)
        };
        let mut rows: Vec<Row<'_>> = MODES.iter().map(row).collect();
        turns::take(&mut rows, rounds);
        turns::report(&rows, (name, MESSAGES), &mut report);
    }
    Value::Object(report)
}
